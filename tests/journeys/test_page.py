"""The playground in a real browser, with the real network: what people see, do and download."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.journeys.conftest import Server
from tests.journeys.playground import ROOT, Playground, chromium, opened
from tests.pictures import jpeg, photo, png, webp

pytestmark = pytest.mark.page
ASTRONAUT = ROOT / "docs/images/astronaut.jpg"
MAX_PIXELS = 2_000_000
OVERLOADED = (
    '{"type": "/problems/overloaded", "title": "Busy", "status": 503, "detail": "The server is busy."}'
)
UNAUTHORIZED = '{"type": "/problems/unauthorized", "status": 401, "detail": "An API key is required."}'


@pytest.fixture(scope="module")
def server_url(exported_models_dir: Path) -> Iterator[str]:
    """One server for all tests, which takes pictures of up to two megapixels."""
    environment = {
        "CUTOUT_MODELS_DIR": str(exported_models_dir),
        "CUTOUT_DEVICE": "cpu",
        "CUTOUT_LIMITS__PICTURE_PIXELS": str(MAX_PIXELS),
    }
    server = Server("--model", "u2netp", environment=environment)
    yield f"{server.url}/"
    server.process.kill()
    server.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def playground(browser: Browser, server_url: str) -> Iterator[Playground]:
    """The open page; a test fails if it logs an error or requests anything from another host."""
    opened_page = Playground(browser, server_url)
    yield opened_page.open()
    opened_page.close()
    assert opened_page.problems == []


@pytest.fixture
def five(tmp_path: Path) -> list[Path]:
    """Four pictures, two of them with the same stem, and a broken one."""
    whole = jpeg(photo(240, 320))
    contents = {
        "a red thing.jpg": whole,
        "same.png": png(photo(200, 200, seed=1)),
        "same.webp": webp(photo(220, 200, seed=2)),
        "broken.jpg": whole[: len(whole) // 2],
        "last.jpg": ASTRONAUT.read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def from_api(url: str, picture: Path, **options: str) -> bytes:
    with picture.open("rb") as file:
        response = httpx.post(f"{url}v1/cutout", files={"image": file}, data=options, timeout=60)
    assert response.status_code == 200, response.text
    return response.content


def test_a_dropped_picture_becomes_a_cutout(playground: Playground) -> None:
    transfer = playground.transfer(("one.jpg", ASTRONAUT.read_bytes()))
    playground.page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    expect(playground.page.locator("#drop-veil")).to_be_visible()
    playground.page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    playground.wait_for("one.jpg")

    expect(playground.page.locator("#drop-veil")).to_be_hidden()
    expect(playground.page.locator("#verdict")).to_have_text("A clear subject.")
    expect(playground.page.locator("#steps-list")).to_contain_text("Network")


def test_a_pasted_picture_becomes_a_cutout(playground: Playground) -> None:
    transfer = playground.transfer(("image.png", png(photo(120, 160))))
    playground.page.evaluate(
        "(data) => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))",
        transfer,
    )

    playground.wait_for("image.png")

    assert (120, 160) == playground.canvas("#after").shape[:2]


def test_a_queue_survives_a_broken_file_and_gives_one_zip(playground: Playground, five: list[Path]) -> None:
    playground.pick(*five)
    playground.wait_for("broken.jpg", "failed")
    expect(playground.page.locator("#queue li[data-state=done]")).to_have_count(4)
    refused = playground.refusals()
    name, content = playground.download("#zip")
    bundle = zipfile.ZipFile(io.BytesIO(content))
    names = bundle.namelist()

    assert refused == ["422"]
    expect(playground.row("broken.jpg")).to_contain_text("The picture's file is cut off.")
    expect(playground.row("broken.jpg").get_by_role("button", name="Try again")).to_be_visible()
    expect(playground.page.locator("#queue-count")).to_have_text("4 of 5 done, 1 failed")
    assert (name, bundle.testzip()) == ("cutouts.zip", None)
    assert names == ["a red thing-cutout.png", "same-cutout.png", "same-cutout-2.png", "last-cutout.png"]
    assert [opened(bundle.read(each)).shape[:2] for each in names] == [
        (240, 320),
        (200, 200),
        (220, 200),
        (512, 512),
    ]


def test_two_pictures_are_sent_at_a_time(playground: Playground, five: list[Path]) -> None:
    held: list[Route] = []
    playground.page.route("**/v1/cutout", lambda route: held.append(route))
    playground.pick(five[0], five[1], five[2], five[4])
    waiting = playground.page.locator("#queue li[data-state=waiting]")
    sent = playground.page.locator("#queue li[data-state=uploading], #queue li[data-state=working]")
    expect(sent).to_have_count(2)
    counts = [(len(held), waiting.count())]
    held[0].continue_()
    expect(playground.page.locator("#queue li[data-state=done]")).to_have_count(1)
    expect(sent).to_have_count(2)
    counts.append((len(held), waiting.count()))
    playground.page.unroute_all()  # lets the others continue
    expect(playground.page.locator("#queue li[data-state=done]")).to_have_count(4)

    assert counts == [(2, 2), (3, 1)]


def test_the_slider_uncovers_the_original(playground: Playground) -> None:
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    slider = playground.page.locator("#compare")
    expect(slider).to_be_visible()
    box = slider.bounding_box()
    assert box is not None
    playground.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    playground.page.mouse.down()
    playground.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=4)
    playground.page.mouse.up()
    expect(slider).to_have_attribute("aria-valuenow", "80")
    before, after = playground.canvas("#before"), playground.canvas("#after")

    assert np.array_equal(before[:, :, 3], np.full((512, 512), 255))
    assert after[5, 5, 3] == 0
    assert after[300, 250, 3] == 255


@pytest.mark.parametrize(
    ("controls", "options", "tolerance"),
    [
        ({}, {}, 0.6),
        ({"background": "colour"}, {"background": "#ffffff"}, 0.6),
        ({"background": "blur"}, {"background": "blur"}, 2.0),
        ({"crop": "true", "margin": "10px 5%"}, {"crop": "true", "margin": "10px 5%"}, 0.6),
        ({"scale": "50%", "position": "100% 0%"}, {"scale": "50%", "position": "100% 0%"}, 2.0),
        ({"shadow": "drop", "shadow_opacity": "80"}, {"shadow": "drop", "shadow_opacity": "80"}, 2.0),
        ({"threshold": "0.5", "clean": "0.02"}, {"threshold": "0.5", "clean": "0.02"}, 0.6),
    ],
)
def test_the_page_shows_what_the_api_returns(
    playground: Playground,
    server_url: str,
    controls: dict[str, str],
    options: dict[str, str],
    tolerance: float,
) -> None:
    """Mean difference of premultiplied levels, of 255: the page composes by itself."""
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    playground.choose(**controls)
    name, content = playground.download()
    playground.page.click("[data-view=cutout]")
    expect(playground.page.locator("#sheet")).to_have_attribute("data-view", "cutout")
    playground.wait_for("astronaut.jpg")
    shown = playground.canvas("#flat").astype(float)
    returned = opened(content).astype(float)

    assert (name, content) == ("astronaut-cutout.png", from_api(server_url, ASTRONAUT, **options))
    assert shown.shape == returned.shape
    difference = np.abs(shown * shown[:, :, 3:] - returned * returned[:, :, 3:]) / 255
    assert difference.mean() < tolerance


def test_a_preset_is_laid_out_by_the_page(playground: Playground) -> None:
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    playground.page.select_option("#preset", "square")
    playground.choose(background="colour", format="jpeg")
    expect(playground.page.locator("#code-note")).to_contain_text("The API has no canvas size")
    name, content = playground.download()
    pixels = opened(content)

    assert (name, pixels.shape) == ("astronaut-cutout.jpg", (2000, 2000, 4))
    assert pixels[10, 10].tolist() == [255, 255, 255, 255]


def test_a_busy_server_is_asked_again_after_the_time_it_names(playground: Playground) -> None:
    refusals = []

    def refuse_once(route: Route) -> None:
        if refusals:
            route.continue_()
            return
        refusals.append(route.request.url)
        headers = {"Retry-After": "2", "Content-Type": "application/problem+json"}
        route.fulfill(status=503, headers=headers, body=OVERLOADED)

    playground.page.route("**/v1/cutout", refuse_once)
    playground.pick(ASTRONAUT)
    expect(playground.row("astronaut.jpg")).to_contain_text("The server is busy: trying again in 1 s")
    playground.wait_for("astronaut.jpg")

    assert playground.refusals() == ["503"]


def test_a_picture_over_the_limit_is_shrunk_and_the_page_says_so(
    playground: Playground, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(jpeg(photo(1500, 2000)))
    playground.pick(large)
    playground.wait_for("large.jpg")
    shown = playground.canvas("#after")

    expect(playground.page.locator("#warnings")).to_contain_text("shrunk from 2000 × 1500")
    expect(playground.page.locator("#warnings")).to_contain_text("the limit is 2 megapixels")
    assert 0.98 * MAX_PIXELS < shown.shape[0] * shown.shape[1] <= MAX_PIXELS
    assert playground.refusals() == ["422"]


def test_the_page_asks_for_a_key_and_sends_it(playground: Playground) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "cutout_secret":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/problem+json", body=UNAUTHORIZED)

    playground.page.route("**/v1/*", guard)
    playground.page.reload()
    expect(playground.page.locator("#key-dialog")).to_be_visible()
    playground.page.fill("#key", "cutout_secret")
    playground.page.keyboard.press("Enter")
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    code = playground.page.locator("#code").inner_text()

    assert playground.page.evaluate("sessionStorage.getItem('cutout.key')") == "cutout_secret"
    assert "X-Api-Key: $CUTOUT_KEY" in code
    assert "cutout_secret" not in code
    assert set(playground.refusals()) == {"401"}


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_the_code_gives_the_bytes_of_the_download(
    playground: Playground, tmp_path: Path, language: str
) -> None:
    odd = tmp_path / 'it\'s "odd"; photo.jpg'
    odd.write_bytes(ASTRONAUT.read_bytes())
    playground.pick(odd)
    playground.wait_for("odd")
    playground.choose(background="colour", format="webp", crop="true", margin="5%")
    playground.page.click(f"#tab-{language}")
    code = playground.page.locator("#code").inner_text()
    _, content = playground.download()  # a browser changes such a name
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert [each.read_bytes() for each in tmp_path.glob("*-cutout.webp")] == [content]


def test_every_language_names_the_current_choice(playground: Playground) -> None:
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    playground.choose(format="webp", quality="55")
    codes = {}
    for tab in playground.page.get_by_role("tab").all():
        tab.click()
        codes[tab.inner_text()] = playground.page.locator("#code").inner_text()

    assert list(codes) == ["curl", "JavaScript", "Python", "Swift", "Kotlin", "PHP"]
    script = subprocess.run(
        ["node", "--check", "--input-type=module"], input=codes["JavaScript"], capture_output=True, text=True
    )
    assert script.returncode == 0, script.stderr
    for code in codes.values():
        assert re.search(r"quality.{1,8}55", code)
        assert "v1/cutout" in code
        assert "astronaut-cutout.webp" in code


def test_everything_works_by_keyboard(playground: Playground) -> None:
    page = playground.page
    playground.tab_to("[data-sample*=astronaut]")
    page.keyboard.press("Enter")
    playground.wait_for("astronaut.jpg")
    playground.tab_to("#compare")
    page.keyboard.press("End")
    expect(page.locator("#compare")).to_have_attribute("aria-valuenow", "100")
    page.keyboard.press("l")
    expect(page.locator("#loupe")).to_be_visible()
    page.keyboard.press("+")
    expect(page.locator("#viewport")).to_have_attribute("data-zoomed", "")
    playground.tab_to("[name=background]:checked")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#code")).to_contain_text("background=#ffffff")
    page.keyboard.press("Shift+Tab")
    with page.expect_download() as saved:
        playground.tab_to("#download")
        page.keyboard.press("Enter")

    assert saved.value.suggested_filename == "astronaut-cutout.png"


@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {
            "viewport": {"width": 360, "height": 740},
            "has_touch": True,
            "is_mobile": True,
            "device_scale_factor": 2,
        },
    ],
    ids=["light", "dark", "phone"],
)
def test_the_page_is_accessible(
    browser: Browser, server_url: str, context: dict[str, object], five: list[Path]
) -> None:
    playground = Playground(browser, server_url, **context).open()
    page = playground.page
    at_first = playground.violations()
    playground.pick(five[4], five[3])
    playground.wait_for("last.jpg")
    playground.wait_for("broken.jpg", "failed")
    page.click("summary")
    with_pictures = playground.violations()
    width = page.evaluate("document.documentElement.scrollWidth")
    page.click("#open-key")
    with_dialog = playground.violations()
    playground.close()

    assert at_first == with_pictures == with_dialog == []
    assert width <= page_width(context)


def page_width(context: dict[str, object]) -> int:
    viewport = context.get("viewport", {"width": 1440})
    assert isinstance(viewport, dict)
    return int(viewport["width"])
