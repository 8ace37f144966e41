"""The examples of the documentation: each is run against a server, if this machine has what it needs."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.pictures import jpeg, photo
from tests.web.conftest import Live, serving, settings_with

pytestmark = pytest.mark.process
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(scope="module")
def live(models_dir: Path) -> Iterator[Live]:
    with serving(settings_with(models_dir)) as served:
        yield served


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(jpeg(photo(60, 80, number)))
    return folder


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, env=environment
    )


def url_of(live: Live) -> str:
    return f"http://127.0.0.1:{live.port}"


def is_cutout(path: Path) -> bool:
    return path.exists() and Image.open(io.BytesIO(path.read_bytes())).mode == "RGBA"


def test_the_loop_goes_through_a_folder_and_skips_what_exists(
    live: Live, photos: Path, tmp_path: Path
) -> None:
    command = (sys.executable, EXAMPLES / "loop.py", url_of(live), photos, tmp_path / "cutouts")
    first = run(*command)
    (photos / "broken.jpg").write_bytes(b"no picture")
    second = run(*command)

    assert (0, 3) == (first.returncode, len(first.stdout.splitlines())), first.stderr
    assert all(is_cutout(tmp_path / "cutouts" / f"{number}-cutout.png") for number in range(3))
    assert (1, "") == (second.returncode, second.stdout)
    assert "broken.jpg: This is not an accepted image type" in second.stderr


def test_batches_go_on_where_they_were(live: Live, photos: Path, tmp_path: Path) -> None:
    cutouts = tmp_path / "cutouts"
    cutouts.mkdir()
    (cutouts / "0-cutout.png").write_bytes(b"from an earlier run")
    (photos / "broken.jpg").write_bytes(b"no picture")
    (photos / "older").mkdir()
    done = run(sys.executable, EXAMPLES / "resume.py", url_of(live), photos, cutouts)

    assert done.returncode == 1
    assert "broken.jpg: This is not an accepted image type" in done.stderr
    assert is_cutout(cutouts / "1-cutout.png")
    assert (cutouts / "0-cutout.png").read_bytes() == b"from an earlier run"


def test_a_folder_goes_through_curl(live: Live, photos: Path, tmp_path: Path) -> None:
    need("sh", "curl", "zip", "unzip")
    done = run("sh", EXAMPLES / "batch.sh", f"{url_of(live)}/", photos, tmp_path / "cutouts")

    assert done.returncode == 0, done.stderr + done.stdout
    assert all(is_cutout(tmp_path / "cutouts" / f"{number}-cutout.png") for number in range(3))
    assert (tmp_path / "cutouts" / "report.json").exists()


def test_php_saves_a_cutout_or_says_why_not(live: Live, photos: Path, tmp_path: Path) -> None:
    need("php")
    if "curl" not in run("php", "-m").stdout.split():
        pytest.skip("PHP's curl extension is not on this machine")
    target = tmp_path / "cutout.png"
    done = run("php", EXAMPLES / "cutout.php", url_of(live), photos / "0.jpg", target)
    (photos / "broken.jpg").write_bytes(b"no picture")
    broken = run("php", EXAMPLES / "cutout.php", url_of(live), photos / "broken.jpg", tmp_path / "none.png")

    assert done.returncode == 0, done.stderr
    assert is_cutout(target)
    assert broken.returncode == 1
    assert "not an accepted image" in broken.stderr


@pytest.mark.whole
def test_the_android_example_compiles_and_saves_a_cutout(live: Live, photos: Path, tmp_path: Path) -> None:
    need("kotlinc", "java")
    archive, target = tmp_path / "upload.jar", tmp_path / "cutout.png"
    compiled = run("kotlinc", EXAMPLES / "Upload.kt", "-include-runtime", "-d", archive)
    assert compiled.returncode == 0, compiled.stderr
    done = run("java", "-jar", archive, url_of(live), photos / "0.jpg", target)

    assert done.returncode == 0, done.stderr
    assert "sent 100 %" in done.stdout
    assert is_cutout(target)


@pytest.mark.whole
def test_the_page_draws_a_cutout_of_another_origin(models_dir: Path, photos: Path) -> None:
    """Chromium opens the page from one port, and the server on another one allows its origin."""
    need("chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(EXAMPLES))  # type: ignore[arg-type]

    pages = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=pages.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{pages.server_port}"
    settings = settings_with(models_dir)
    web = settings.web.model_copy(update={"cors_origins": origin})
    with serving(settings.model_copy(update={"web": web})) as live, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{origin}/cutout.html?server={url_of(live)}")
        page.set_input_files("#picture", photos / "0.jpg")
        page.wait_for_function("document.getElementById('status').textContent.match(/Done|Failed/)")
        status = page.text_content("#status")
        corner = page.evaluate("[...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]")
        browser.close()
    pages.shutdown()

    assert "Done" in (status or "")
    assert [0xFF, 0xD9, 0x66, 255] == corner


def test_an_example_that_is_not_run_says_so() -> None:
    tried = {"loop.py", "resume.py", "batch.sh", "cutout.php", "Upload.kt", "cutout.html"}
    others = {path.name for path in EXAMPLES.iterdir()} - tried

    assert all("Untried" in (EXAMPLES / name).read_text()[:200] for name in others)
