"""Sliced response: sends a large response slice by slice, so that the event loop serves others in between.

A single message of thirty megabytes would be copied as a whole by the protocol and by the transport, and
would block the event loop meanwhile. With slices the transport can also apply backpressure for a slow reader.
Pictures that a response contains as base64, and arrays that it contains as JSON, are encoded slice by slice.
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

SLICE_BYTES = 256 * 1024
_NUMBERS_PER_SLICE = 4096


@dataclass(frozen=True, slots=True)
class Base64:
    """Bytes that are sent as base64."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        """The length of the base64 text."""
        return math.ceil(len(self.content) / 3) * 4

    def slices(self) -> Iterator[bytes]:
        """Yield the base64 text."""
        content, step = memoryview(self.content), SLICE_BYTES // 4 * 3
        for start in range(0, len(content), step):
            yield base64.b64encode(content[start : start + step])


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array that is sent as a flat JSON list; its length is unknown until it is encoded."""

    values: NDArray[np.float32]

    def slices(self) -> Iterator[bytes]:
        """Yield the JSON list; each slice takes milliseconds."""
        flat, before = self.values.reshape(-1), "["
        for start in range(0, flat.size, _NUMBERS_PER_SLICE):
            numbers = flat[start : start + _NUMBERS_PER_SLICE].tolist()
            yield (before + ",".join(map(repr, numbers))).encode("ascii")
            before = ","
        yield b"]" if flat.size else b"[]"


Content = bytes | Base64 | Numbers


class SlicedResponse(Response):
    """A response whose body is sent in slices, with ``Content-Length`` if the length is known."""

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
        pending: bytes | memoryview = b""
        async for chunk in self._slices():
            if pending:
                await send({"type": "http.response.body", "body": pending, "more_body": True})
                await asyncio.sleep(0)  # with a fast reader, ``send`` alone would never yield to other tasks
            pending = chunk
        await send({"type": "http.response.body", "body": pending, "more_body": False})

    async def _slices(self) -> AsyncIterator[bytes | memoryview]:
        for content in self._contents:
            if isinstance(content, Numbers):
                numbers = content.slices()
                while (text := await run_in_threadpool(next, numbers, None)) is not None:
                    yield text
                continue
            for chunk in content.slices() if isinstance(content, Base64) else _slices_of(content):
                yield chunk


def json_response(
    document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
) -> SlicedResponse:
    """Return a document as JSON, whose large values are ``Base64`` or ``Numbers``."""
    return SlicedResponse(*json_contents(document), media_type="application/json", headers=headers)


def json_slices_of(document: Mapping[str, object]) -> Iterator[bytes | memoryview]:
    """Yield a document as JSON, slice by slice; its large values are ``Base64``."""
    for content in json_contents(document):
        yield from content.slices() if isinstance(content, Base64 | Numbers) else _slices_of(content)


def json_contents(document: Mapping[str, object]) -> list[Content]:
    """Return a document as JSON, in parts: its large values, and the text between them."""
    placeholder, large = secrets.token_hex(16), list[Content]()

    def replace_large(value: object) -> str:
        assert isinstance(value, Base64 | Numbers)  # noqa: S101 - json encodes all other values itself
        large.append(value)
        return placeholder

    text = json.dumps(
        document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=replace_large
    )
    first, *others = text.split(f'"{placeholder}"')
    contents: list[Content] = [first.encode()]
    for value, after in zip(large, others, strict=True):
        is_text = isinstance(value, Base64)
        contents += [b'"', value, b'"'] if is_text else [value]
        contents.append(after.encode())
    return contents


def _slices_of(content: bytes) -> Iterator[memoryview]:
    whole = memoryview(content)
    for start in range(0, len(whole), SLICE_BYTES):
        yield whole[start : start + SLICE_BYTES]
