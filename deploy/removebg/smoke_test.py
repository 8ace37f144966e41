"""Smoke test: sends a server the requests that remove.bg's clients send, and checks the responses.

    python smoke_test.py https://cutout.example [--key KEY] [--picture photo.jpg] [--authority root.crt]

Needs only Python 3.9. Each line of the output is one request in the form that a client sends it. Without
``--picture`` it sends a small drawn picture with a plain subject. The exit status is 0 if all requests get
what remove.bg's documentation promises, 1 if one does not, and 2 if the server cannot be reached.
"""

from __future__ import annotations

import argparse
import base64
import json
import ssl
import struct
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

PNG, ZIP, TIMEOUT_S = b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", 60.0
SIDE_PX = 240
HEADERS = ("x-width", "x-height", "x-type", "x-credits-charged")
"""Headers that clients read from each result."""


@dataclass(frozen=True)
class Reply:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON, ``None`` if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Check:
    """One request, and what is wrong with its response, empty if nothing is."""

    name: str
    ask: Callable[[Server], Reply]
    problem: Callable[[Reply], str]


class Server:
    """The server under test."""

    def __init__(self, url: str, key: str, authority: str | None) -> None:
        self.url, self.key = url.rstrip("/"), key
        self._context = ssl.create_default_context(cafile=authority)

    def send(
        self, path: str, body: bytes | None = None, kind: str = "", accept: str = "*/*", key: str = ""
    ) -> Reply:
        """Send one request, a GET if it has no body."""
        headers = {"X-Api-Key": key or self.key, "Accept": accept}
        headers.update({"Content-Type": kind} if kind else {})
        request = urllib.request.Request(f"{self.url}/v1.0/{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as response:
                return _reply(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error.code, error)

    def form(self, fields: dict[str, str], picture: bytes = b"", **more: str) -> Reply:
        """Post a multipart form to /removebg."""
        parts = [(f'name="{name}"', text.encode()) for name, text in fields.items()]
        parts += [('name="image_file"; filename="photo.png"', picture)] if picture else []
        body = b"".join(
            b"--smoke\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
            for head, content in parts
        )
        return self.send("removebg", body + b"--smoke--\r\n", "multipart/form-data; boundary=smoke", **more)


def _reply(status: int, response: Any) -> Reply:
    return Reply(status, {name.lower(): text for name, text in response.headers.items()}, response.read())


def drawn_picture() -> bytes:
    """Draw a PNG with a dark disc on a light ground."""
    centre, radius = SIDE_PX / 2, SIDE_PX / 3.2
    rows = bytearray()
    for y in range(SIDE_PX):
        rows.append(0)
        for x in range(SIDE_PX):
            is_inside = (x - centre) ** 2 + (y - centre) ** 2 < radius**2
            rows += bytes((176, 52, 44) if is_inside else (206, 222 - y // 12, 214))
    header = struct.pack(">IIBBBBB", SIDE_PX, SIDE_PX, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return PNG + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def checks_with(picture: bytes) -> list[Check]:
    """Return all checks."""
    encoded = base64.b64encode(picture).decode()
    as_json = json.dumps({"image_file_b64": encoded, "size": "auto", "crop": False, "type": "auto"}).encode()
    as_form = urlencode({"image_file_b64": encoded, "size": "regular", "bg_color": ""}).encode()
    return [
        Check(
            "multipart form, as curl and Python's removebg send it",
            lambda server: server.form({"size": "auto"}, picture),
            lambda reply: _picture_problem(reply, PNG),
        ),
        Check(
            "urlencoded form with base64",
            lambda server: server.send("removebg", as_form, "application/x-www-form-urlencoded"),
            lambda reply: _picture_problem(reply, PNG),
        ),
        Check(
            "JSON with a response in JSON, as the npm package remove.bg sends it",
            lambda server: server.send("removebg", as_json, "application/json", "application/json"),
            _json_problem,
        ),
        Check(
            "a colour as the background, in JPEG",
            lambda server: server.form({"format": "jpg", "bg_color": "fff"}, picture),
            lambda reply: _picture_problem(reply, b"\xff\xd8\xff"),
        ),
        Check(
            "format=zip, as the official command line tool asks for",
            lambda server: server.form({"format": "zip"}, picture),
            lambda reply: _picture_problem(reply, ZIP),
        ),
        Check(
            "options without effect here",
            lambda server: server.form({"add_shadow": "true", "type_level": "2"}, picture),
            lambda reply: _picture_problem(reply, PNG),
        ),
        Check(
            "the account, which clients read first", lambda server: server.send("account"), _account_problem
        ),
        Check(
            "no picture: an error that clients can print",
            lambda server: server.form({"size": "auto"}),
            lambda reply: _error_problem(reply, 400),
        ),
        Check(
            "a file that is no picture",
            lambda server: server.form({"size": "auto"}, b"no picture"),
            lambda reply: _error_problem(reply, 400),
        ),
    ]


def _picture_problem(reply: Reply, magic: bytes) -> str:
    if reply.status != 200:
        return _refusal(reply)
    if not reply.body.startswith(magic):
        return f"the body begins with {reply.body[:8]!r} instead of {magic!r}"
    missing = [name for name in HEADERS if name not in reply.headers]
    return f"the response lacks {', '.join(missing)}" if missing else ""


def _json_problem(reply: Reply) -> str:
    if reply.status != 200:
        return _refusal(reply)
    found = reply.json()
    try:
        content = base64.b64decode(found["data"]["result_b64"], validate=True)
    except (KeyError, TypeError, ValueError):
        return "the JSON lacks data.result_b64"
    return "" if content.startswith(PNG) else "data.result_b64 is no PNG"


def _account_problem(reply: Reply) -> str:
    if reply.status != 200:
        return _refusal(reply)
    try:
        float(reply.json()["data"]["attributes"]["credits"]["total"])
    except (KeyError, TypeError, ValueError):
        return "the JSON lacks data.attributes.credits.total"
    return ""


def _error_problem(reply: Reply, status: int) -> str:
    if reply.status != status:
        return f"status {reply.status} instead of {status}"
    try:
        return "" if reply.json()["errors"][0]["title"] else "errors[0].title is empty"
    except (KeyError, IndexError, TypeError):
        return "the body lacks errors[0].title"


def _refusal(reply: Reply) -> str:
    text = reply.body[:200].decode(errors="replace")
    if reply.status in (401, 403):
        return f"status {reply.status}: the key is refused; create one with `cutout keys new` and pass --key"
    return f"status {reply.status}: {text}"


def main() -> int:
    """Run the checks; return the exit status."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("url", help="address of the server, without /v1.0")
    parser.add_argument("--key", default="none", help="an API key, if the server has keys")
    parser.add_argument("--picture", type=Path, help="a photograph to send instead of a drawn picture")
    parser.add_argument("--authority", help="certificate of the authority that signed the server's")
    args = parser.parse_args()
    if urlsplit(args.url).scheme not in ("http", "https"):
        parser.error(f"{args.url} is no address: it begins with http:// or https://")
    try:
        picture = args.picture.read_bytes() if args.picture else drawn_picture()
        server = Server(args.url, args.key, args.authority)
    except OSError as error:
        parser.error(str(error))
    failed = 0
    checks = checks_with(picture)
    for check in checks:
        try:
            problem = check.problem(check.ask(server))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            print(f"{args.url} cannot be reached: {reason}. Does a server listen there? (`cutout serve`)")
            return 2
        failed += bool(problem)
        print(f"{'FAIL' if problem else 'ok  '} {check.name}" + (f"\n     {problem}" if problem else ""))
    print(f"\n{len(checks) - failed} of {len(checks)} requests get what remove.bg's clients expect.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
