import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.weights.download import SourceFailed, download
from tests.weights.file_server import FileServer, file_server

CONTENT = random.Random(1).randbytes(200_000)
LIMIT_BYTES = 1_000_000


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


def fetch(url: str, part: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    download(url, part, limit_bytes=limit_bytes, show_progress=False)


def test_a_file_arrives_whole(server: FileServer, tmp_path: Path) -> None:
    fetch(server.give("file", CONTENT), tmp_path / "file.part")

    assert (tmp_path / "file.part").read_bytes() == CONTENT


def test_only_what_is_missing_is_asked_for(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:150_000])

    fetch(server.give("file", CONTENT), part)

    assert part.read_bytes() == CONTENT
    assert server.asked == [("/file", "bytes=150000-")]


def test_a_server_that_ignores_ranges_starts_again(server: FileServer, tmp_path: Path) -> None:
    server.knows_ranges = False
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:150_000])

    fetch(server.give("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again_at_once(server: FileServer, tmp_path: Path) -> None:
    server.break_after_bytes = 80_000

    fetch(server.give("file", CONTENT), tmp_path / "file.part")

    assert (tmp_path / "file.part").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=80000-"]


def test_a_whole_part_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT)

    fetch(server.give("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT + b"more")

    fetch(server.give("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_file_larger_than_expected_is_stopped(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="more than the 100000 bytes"):
        fetch(server.give("file", CONTENT), tmp_path / "file.part", limit_bytes=100_000)

    assert (tmp_path / "file.part").stat().st_size <= 100_000


def test_a_refusal_is_named_with_its_status(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="404"):
        fetch(f"{server.url}/absent", tmp_path / "file.part")


def test_a_refusal_keeps_what_had_arrived(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:1000])

    with pytest.raises(SourceFailed):
        fetch(f"{server.url}/absent", part)

    assert part.read_bytes() == CONTENT[:1000]


def test_a_closed_port_fails_at_once_and_says_what_is_kept(tmp_path: Path) -> None:
    with file_server() as gone:
        pass
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:1000])

    with pytest.raises(SourceFailed, match="1000 bytes are kept"):
        fetch(f"{gone.url}/file", part)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "no-scheme", "http://", "http://[bad"])
def test_an_url_that_is_not_http_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed):
        fetch(url, tmp_path / "file.part")
