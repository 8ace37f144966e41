"""Captured requests of real clients, with a real picture in place of the original one."""

import ast
import base64
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.web.conftest import Live

UPLOAD = (Path(__file__).parents[2] / "docs/images/astronaut.jpg").read_bytes()
PLACEHOLDER = base64.b64encode(b"hi").decode()


@dataclass
class Capture:
    """One captured request: its line, its headers, and its parts or its body."""

    method: str
    path: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[tuple[str, str | None, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((text for key, text in self.headers if key.lower() == name), "")

    def content(self) -> bytes:
        """Return the captured body, with our picture."""
        if not self.parts:
            text = base64.b64encode(UPLOAD).decode()
            body = self.body.replace(quote(PLACEHOLDER).encode(), quote(text, safe="").encode())
            return body.replace(PLACEHOLDER.encode(), text.encode())
        boundary = self.header("content-type").partition("boundary=")[2].encode()
        parts = []
        for disposition, kind, value in self.parts:
            head = b"--" + boundary + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n"
            head += b"" if kind is None else b"Content-Type: " + kind.encode() + b"\r\n"
            parts.append(head + b"\r\n" + (UPLOAD if "filename" in disposition else value) + b"\r\n")
        return b"".join(parts) + b"--" + boundary + b"--\r\n"


def read_captures(file: Path) -> list[Capture]:
    captures: list[Capture] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"(GET|POST) (\S+)", line):
            captures.append(Capture(found[1], found[2]))
        elif found := re.fullmatch(r"  H ([^:]+): (.*)", line):
            captures[-1].headers.append((found[1], found[2]))
        elif found := re.fullmatch(r"  P (.+) ct=(\S+) len=\d+ (b'.*)", line):
            kind = None if found[2] == "None" else found[2]
            value = found[3] if found[3].endswith("'") else found[3] + "'"
            captures[-1].parts.append((found[1], kind, ast.literal_eval(value)))
        elif found := re.fullmatch(r"  B (b'.*')", line):
            captures[-1].body = ast.literal_eval(found[1])
    return captures


def test_captured_requests_of_clients_are_served(live: Live, shared_data: Path) -> None:
    file = shared_data.parent / "contracts/wire-capture.txt"
    if not file.exists():
        pytest.skip("the captured requests are not on this machine")
    captures = read_captures(file)
    assert len(captures) >= 7
    for capture in captures:
        excluded = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
        headers = [(name, text) for name, text in capture.headers if name.lower() not in excluded]
        response = live.client.request(
            capture.method, capture.path, headers=headers, content=capture.content()
        )

        assert response.status_code == 200, (capture, response.text)
        _check(capture, response)


def _check(capture: Capture, response: httpx.Response) -> None:
    if capture.path.endswith("/account"):
        assert response.json()["data"]["attributes"]["credits"]["total"] > 0
    elif capture.header("accept") == "application/json":
        assert base64.b64decode(response.json()["data"]["result_b64"]).startswith(b"\x89PNG")
    else:
        assert response.content[:3] in (b"\x89PN", b"\xff\xd8\xff")
        assert int(response.headers["x-credits-charged"]) == 0
