"""Response requests: the values that ``benchmarks.responses`` sends, and the pictures in them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import numpy as np

from benchmarks.pictures import jpeg_photo, upload_of
from tests.bombs import png_of
from tests.pictures import avif, flat, gif, jpeg, photo, png, png_header, scan_bomb, webp

Headers = tuple[tuple[str, str], ...]

BOUNDARY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
URLENCODED, JSON = "application/x-www-form-urlencoded", "application/json"
ETAG = "{etag}"
"""In a header: the ETag of the server's last response."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        target: Path and query.
        method: The method.
        body: The body.
        headers: All headers except those of the connection and the body's length.
        is_chunked: Whether the body is sent in chunks instead of with its length.
        at_once: How often it is sent, at the same time; the responses are sorted by status.
        raw: Bytes to send instead of all of the above, on a connection of their own.
    """

    target: str
    method: str = "POST"
    body: bytes = b""
    headers: Headers = ()
    is_chunked: bool = False
    at_once: int = 1
    raw: bytes | None = None

    def __str__(self) -> str:
        """Return a short name."""
        reported = ", ".join(f"{name}: {text[:40]}" for name, text in self.headers if name != "Content-Type")
        return f"{self.method} {self.target[:100]}" + (f" ({reported})" if reported else "")


def get(target: str, *headers: tuple[str, str]) -> Request:
    """Build a GET request."""
    return Request(target, "GET", headers=headers)


def post(target: str, body: bytes, *headers: tuple[str, str], kind: str = "image/jpeg") -> Request:
    """Build a POST request with a body of type ``kind``."""
    return Request(target, body=body, headers=(("Content-Type", kind), *headers))


def post_form(target: str, fields: Mapping[str, str | bytes], *headers: tuple[str, str]) -> Request:
    """Build a POST request with a multipart form; ``bytes`` become files."""
    parts = []
    for name, value in fields.items():
        is_file = isinstance(value, bytes)
        file_name = f'; filename="{name}.bin"\r\nContent-Type: application/octet-stream' if is_file else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file_name}\r\n\r\n'
        parts.append(head.encode() + (value if isinstance(value, bytes) else value.encode()) + b"\r\n")
    return post(target, b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), *headers, kind=FORM_TYPE)


def post_urlencoded(target: str, fields: Mapping[str, str]) -> Request:
    """Build a POST request with a urlencoded form."""
    return post(target, urlencode(fields).encode(), kind=URLENCODED)


def post_json(target: str, document: object, *headers: tuple[str, str]) -> Request:
    """Build a POST request with JSON."""
    return post(target, json.dumps(document).encode(), *headers, kind=JSON)


def text_of(encoded: bytes) -> str:
    """Return base64."""
    return base64.b64encode(encoded).decode()


SMALL, TINY = jpeg_photo(0.08), jpeg_photo(0.01)
OTHER = jpeg_photo(0.03, seed=1)
WITH_ALPHA = upload_of("png with alpha", 0.02)
EMPTY = png(flat(96, 128))
MASK = png(np.pad(np.full((40, 40), 255, np.uint8), ((23, 23), (38, 38))))  # of TINY, 86 × 116
TRIMAP = png(np.pad(np.full((40, 40), 128, np.uint8), ((23, 23), (38, 38))))
PICTURES = (
    *(upload_of(kind, 0.02) for kind in ("turned jpeg", "png with alpha", "webp")),
    *(avif(photo(90, 120)), gif(photo(90, 120), photo(90, 120, 1)), webp(photo(90, 120))),
    *(png(photo(3, 5)), png(flat(1, 1)), jpeg(photo(33, 250)), SMALL[:-2], EMPTY),
)
BROKEN = (
    *(b"", b"not a picture", b"\xff\xd8\xff", SMALL[: len(SMALL) // 2], png(photo(60, 80))[:2000]),
    *(png_header(30_000, 30_000), png_of(300_000, 300_000), scan_bomb(8, 8, extra_scans=1000)),
    *(b"GIF89a", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
)
