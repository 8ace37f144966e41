"""Receive: reads the body of a request, within limits on its size and time."""

import asyncio
import io

from starlette.requests import ClientDisconnect, Request

from app.engine.capacity.admission import Permit
from app.errors import MalformedRequest, UnsupportedFormat, UploadTooLarge, UploadTooSlow
from app.web.problems import ClientDisconnected


async def read_body(request: Request, permit: Permit, *, limit_bytes: int, timeout_s: float) -> bytes:
    """Read the whole body into memory, and stop reading as soon as it exceeds a limit.

    Raises:
        UnsupportedFormat: The body is compressed.
        UploadTooLarge: The body, or its declared length, exceeds ``limit_bytes``.
        UploadTooSlow: The body is not complete after ``timeout_s``.
        Overloaded: The uploads of all requests together exceed their budget.
        ClientDisconnected: The client closed the connection.
    """
    check_declared(request, limit_bytes=limit_bytes)
    body = io.BytesIO()  # grows in place, and ``getvalue`` does not copy; joining would take twice the memory
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                if body.tell() + len(chunk) > limit_bytes:
                    raise UploadTooLarge(limit_bytes)
                permit.hold_bytes(len(chunk))
                body.write(chunk)
    except TimeoutError as error:
        raise UploadTooSlow(timeout_s) from error
    except ClientDisconnect as error:
        raise ClientDisconnected from error
    return body.getvalue()


def check_declared(request: Request, *, limit_bytes: int) -> None:
    """Refuse a body by its headers, before it is read.

    Raises:
        UnsupportedFormat: The body is compressed.
        UploadTooLarge: Its declared length exceeds ``limit_bytes``.
    """
    if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise UnsupportedFormat(("identity",), what="content encoding")
    if declared_length(request) > limit_bytes:
        raise UploadTooLarge(limit_bytes)


def declared_length(request: Request) -> int:
    """Return the ``Content-Length`` of a request, or 0 without one.

    Raises:
        MalformedRequest: The header is not a number.
    """
    text = request.headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise MalformedRequest("The Content-Length header is not a number.")
    return int(text)
