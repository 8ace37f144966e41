"""Pieces: a large answer leaves piece by piece, so that the event loop serves others in between.

One piece of thirty megabytes would be copied whole, by the protocol and by the transport, while
everybody else waits; a piece at a time, the transport also pushes back on what a slow reader does not take.
What an answer holds in another form, a picture as base64 or an array as JSON, takes that form on its way out.
"""

import asyncio
import base64
import json
import math
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIECE_BYTES = 256 * 1024
_NUMBERS_AT_A_TIME = 4096


@dataclass(frozen=True, slots=True)
class Base64:
    """Bytes that leave as base64."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        """How long the text is."""
        return math.ceil(len(self.content) / 3) * 4

    def pieces(self) -> Iterator[bytes]:
        """Yield the text."""
        content, step = memoryview(self.content), PIECE_BYTES // 4 * 3
        for start in range(0, len(content), step):
            yield base64.b64encode(content[start : start + step])


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array that leaves as a flat JSON list; nobody knows how long that is before it is written."""

    values: NDArray[np.float32]

    def pieces(self) -> Iterator[bytes]:
        """Yield the list; takes milliseconds a piece."""
        flat, before = self.values.reshape(-1), "["
        for start in range(0, flat.size, _NUMBERS_AT_A_TIME):
            numbers = flat[start : start + _NUMBERS_AT_A_TIME].tolist()
            yield (before + ",".join(map(repr, numbers))).encode("ascii")
            before = ","
        yield b"]" if flat.size else b"[]"


Content = bytes | Base64 | Numbers


class SlicedResponse(Response):
    """A response whose body is sent in pieces; its length is declared wherever it is known."""

    def __init__(
        self, *contents: Content, media_type: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(b"", headers=headers, media_type=media_type)
        self._contents = contents
        del self.headers["content-length"]
        sizes = [
            c.size_bytes if isinstance(c, Base64) else len(c) for c in contents if not isinstance(c, Numbers)
        ]
        if len(sizes) == len(contents):
            self.headers["content-length"] = str(sum(sizes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the head, then the body."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        held: bytes | memoryview = b""
        async for piece in self._pieces():
            if held:
                await send({"type": "http.response.body", "body": held, "more_body": True})
                await asyncio.sleep(0)  # sending to a fast reader would never let others in
            held = piece
        await send({"type": "http.response.body", "body": held, "more_body": False})

    async def _pieces(self) -> AsyncIterator[bytes | memoryview]:
        for content in self._contents:
            if isinstance(content, Numbers):
                numbers = content.pieces()
                while (piece := await run_in_threadpool(next, numbers, None)) is not None:
                    yield piece
                continue
            for plain in content.pieces() if isinstance(content, Base64) else _plain(content):
                yield plain


def json_response(
    document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
) -> SlicedResponse:
    """Return a document as JSON; those of its values that are ``Base64`` or ``Numbers`` may be large."""
    mark, large = secrets.token_hex(16), list[Content]()

    def stand_in(value: object) -> str:
        assert isinstance(value, Base64 | Numbers)  # noqa: S101 - nothing else has to be told how
        large.append(value)
        return mark

    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=stand_in)
    first, *others = text.split(f'"{mark}"')
    contents: list[Content] = [first.encode()]
    for value, after in zip(large, others, strict=True):
        is_text = isinstance(value, Base64)
        contents += [b'"', value, b'"'] if is_text else [value]
        contents.append(after.encode())
    return SlicedResponse(*contents, media_type="application/json", headers=headers)


def _plain(content: bytes) -> Iterator[memoryview]:
    whole = memoryview(content)
    for start in range(0, len(whole), PIECE_BYTES):
        yield whole[start : start + PIECE_BYTES]
