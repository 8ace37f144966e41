"""The brushes of the playground: strokes go to the server, and every earlier result is kept."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import Server
from tests.journeys.playground import ROOT, Playground, chromium, opened

pytestmark = pytest.mark.page
ASTRONAUT = ROOT / "docs/images/astronaut.jpg"
FACE, FLAG = (265, 90), (40, 220)
"""Points (x, y) in the subject and in the background."""


@pytest.fixture(scope="module")
def corrected(exported_models_dir: Path) -> Iterator[Playground]:
    """The page with the cutout of the astronaut, whose helmet is at the right."""
    environment = {"CUTOUT_MODELS_DIR": str(exported_models_dir), "CUTOUT_DEVICE": "cpu"}
    server = Server("--model", "u2netp", environment=environment)
    with chromium() as browser:
        playground = with_astronaut(browser, f"{server.url}/")
        yield playground
        playground.close()
    server.process.kill()
    server.process.wait()


@pytest.fixture(autouse=True)
def no_errors(corrected: Playground) -> Iterator[None]:
    """Each test starts with the result of the network, and logs no error."""
    page = corrected.page
    while page.locator("#undo").is_enabled():
        page.click("#undo")
    page.click("[data-view=cutout]")
    yield
    assert corrected.problems == []


def with_astronaut(browser: Browser, url: str) -> Playground:
    playground = Playground(browser, url).open()
    playground.pick(ASTRONAUT)
    playground.wait_for("astronaut.jpg")
    return playground


def alpha_of(playground: Playground) -> NDArray[np.uint8]:
    """Return the alpha of the result that is shown."""
    playground.page.click("[data-view=mask]")
    expect(playground.page.locator("#sheet")).to_have_attribute("data-view", "mask")
    return playground.canvas("#flat")[:, :, 0]


def paint(playground: Playground, kind: str, point: tuple[int, int], *, key: str | None = None) -> None:
    """Paint a short stroke, and wait for the corrected result."""
    page = playground.page
    page.click(f"[data-brush={kind}]")
    expect(page.locator("#sheet")).to_have_attribute("data-view", "brush")
    box = page.locator("#ink").bounding_box()
    assert box is not None
    x, y = box["x"] + point[0] * box["width"] / 512, box["y"] + point[1] * box["height"] / 512
    if key is not None:
        page.keyboard.down(key)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 12, y + 4, steps=3)
    page.mouse.up()
    if key is not None:
        page.keyboard.up(key)
    expect(page.locator("#undo")).to_be_enabled()


def test_a_stroke_is_obeyed_and_undone_and_redone(corrected: Playground) -> None:
    page = corrected.page
    before = alpha_of(corrected)
    paint(corrected, "remove", FACE)
    removed = alpha_of(corrected)
    page.keyboard.press("Control+z")
    expect(page.locator("#undo")).to_be_disabled()
    undone = alpha_of(corrected)
    page.keyboard.press("Control+y")
    expect(page.locator("#redo")).to_be_disabled()
    redone = alpha_of(corrected)

    (x, y) = FACE
    assert before[y, x] > 250
    assert removed[y, x] == removed[y + 4, x + 12] == 0
    assert np.array_equal(undone, before)
    assert np.array_equal(redone, removed)


def test_alt_paints_with_the_other_brush(corrected: Playground) -> None:
    before = alpha_of(corrected)
    paint(corrected, "remove", FLAG, key="Alt")
    kept = alpha_of(corrected)

    assert before[FLAG[1], FLAG[0]] < 100
    assert kept[FLAG[1], FLAG[0]] == 255


def test_brackets_change_the_size_of_the_brush(corrected: Playground) -> None:
    page = corrected.page
    page.click("[data-brush=keep]")
    size = int(page.input_value("#brush-size"))
    page.keyboard.press("]")
    larger = int(page.input_value("#brush-size"))
    page.keyboard.press("[")
    page.keyboard.press("[")

    assert int(page.input_value("#brush-size")) < size < larger


def test_the_download_is_what_the_shown_call_returns(corrected: Playground) -> None:
    paint(corrected, "remove", FACE)
    shown = alpha_of(corrected)
    code = corrected.page.locator("#code").inner_text()
    corrected.choose(format="webp")
    name, content = corrected.download()
    corrected.page.click("#options [type=reset]")

    assert '--form-string \'strokes=[{"kind":"remove","width":' in code
    assert "-F 'mask=@\"mask.png\"'" in code
    assert name == "astronaut-cutout.webp"
    assert np.array_equal(opened(content)[:, :, 3], shown)


def test_a_stroke_can_be_painted_by_keys(corrected: Playground) -> None:
    page = corrected.page
    before = alpha_of(corrected)
    page.click("[data-brush=remove]")
    expect(page.locator("#sheet")).to_have_attribute("data-view", "brush")
    page.focus("#viewport")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Space")
    expect(page.locator("#undo")).to_be_enabled()
    after = alpha_of(corrected)

    width = int(page.input_value("#brush-size"))
    assert np.count_nonzero((before > 250) & (after == 0)) > width**2 / 2
