"""Every naughty string in every part of a request: responses, log lines, and no changes on the disk."""

import json
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import ROOT, Server
from tests.naughty import naughty_strings, requests_with

pytestmark = pytest.mark.journey
FOLDERS = (ROOT, Path(tempfile.gettempdir()), Path.home())


def test_no_text_in_any_place_breaks_a_response_a_log_line_or_the_disk(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    """``CUTOUT_NAUGHTY_STRINGS`` may be the path of a JSON list of more strings."""
    strings = list(naughty_strings())
    if more := os.environ.get("CUTOUT_NAUGHTY_STRINGS"):
        strings += json.loads(Path(more).read_text(encoding="utf-8"))
    server = serve(
        "--model",
        "u2netp",
        CUTOUT_LOG_FORMAT="json",
        CUTOUT_LIMITS__UPLOAD_TIMEOUT_S="0.3",
        CUTOUT_LIMITS__HEAD_TIMEOUT_S="0.3",
        TMPDIR=str(tmp_path),
    )
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    before = _files()
    statuses: Counter[int] = Counter()
    broken: list[tuple[str, str, bytes]] = []
    for text in strings:
        for place, request in requests_with(text):
            response = _exchange(host, int(port), request)
            status = int(response[9:12]) if response.startswith(b"HTTP/1.1 ") else 0
            statuses[status] += 1
            injected = b"\r\nset-cookie:" in response.lower()
            if status >= 500 or status == 0 or injected:
                broken.append((place, text, response[:300]))

    assert broken == []
    assert _files() == before
    assert list(tmp_path.iterdir()) == []
    assert server.stop() == 0
    lines = [line for line in server.stderr if line]
    assert len(lines) > statuses.total() / 2
    for line in lines:
        assert json.loads(line)["level"] in ("info", "warning"), line


def _exchange(host: str, port: int, request: bytes) -> bytes:
    """Send a request, and return its first response completely; the server may close a refused connection."""
    with socket.create_connection((host, port), timeout=30) as client:
        response = b""
        try:
            client.sendall(request)
            while not _is_complete(response) and (chunk := client.recv(65536)):
                response += chunk
        except ConnectionError:
            pass
        return response


def _is_complete(response: bytes) -> bool:
    head, end, body = response.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


def _files() -> set[str]:
    """List the folders that a server might write to, without the files of Python and pytest."""
    return {
        str(path)
        for folder in FOLDERS
        for path in folder.iterdir()
        if not path.name.startswith((".", "pytest", "tmp"))
    }
