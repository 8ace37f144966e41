import random
from pathlib import Path

import pytest

from app.weights.download import SourceFailed, download
from tests.weights.file_server import FileServer, file_server

CONTENT = random.Random(1).randbytes(200_000)
LIMIT_BYTES = 1_000_000


def fetch(url: str, part: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    download(url, part, limit_bytes=limit_bytes, show_progress=False)


def test_a_file_is_downloaded_completely(server: FileServer, tmp_path: Path) -> None:
    fetch(server.add("file", CONTENT), tmp_path / "file.part")

    assert (tmp_path / "file.part").read_bytes() == CONTENT


def test_only_the_missing_range_is_requested(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:150_000])

    fetch(server.add("file", CONTENT), part)

    assert part.read_bytes() == CONTENT
    assert server.requests == [("/file", "bytes=150000-")]


def test_a_download_starts_again_if_the_server_ignores_ranges(server: FileServer, tmp_path: Path) -> None:
    server.supports_ranges = False
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:150_000])

    fetch(server.add("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_broken_connection_is_resumed_at_once(server: FileServer, tmp_path: Path) -> None:
    server.break_after_bytes = 80_000

    fetch(server.add("file", CONTENT), tmp_path / "file.part")

    assert (tmp_path / "file.part").read_bytes() == CONTENT
    assert [byte_range for _, byte_range in server.requests] == [None, "bytes=80000-"]


def test_a_complete_part_is_not_downloaded_again(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT)

    fetch(server.add("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_discarded(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT + b"more")

    fetch(server.add("file", CONTENT), part)

    assert part.read_bytes() == CONTENT


def test_a_download_over_the_limit_is_stopped(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="more than the 100000 bytes"):
        fetch(server.add("file", CONTENT), tmp_path / "file.part", limit_bytes=100_000)

    assert (tmp_path / "file.part").stat().st_size <= 100_000


def test_the_error_has_the_status_of_the_response(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="404"):
        fetch(f"{server.url}/absent", tmp_path / "file.part")


def test_an_error_response_keeps_the_partial_download(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:1000])

    with pytest.raises(SourceFailed):
        fetch(f"{server.url}/absent", part)

    assert part.read_bytes() == CONTENT[:1000]


@pytest.mark.process
def test_a_closed_port_fails_with_the_size_of_the_partial_download(tmp_path: Path) -> None:
    with file_server() as stopped:
        pass
    part = tmp_path / "file.part"
    part.write_bytes(CONTENT[:1000])

    with pytest.raises(SourceFailed, match="1000 bytes are kept"):
        fetch(f"{stopped.url}/file", part)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "no-scheme", "http://", "http://[bad"])
def test_a_url_that_is_not_http_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceFailed):
        fetch(url, tmp_path / "file.part")
