"""Receive: the bytes of a request body, within a limit of bytes and of time."""

import asyncio
import io

from starlette.requests import ClientDisconnect, Request

from app.engine.capacity.admission import Permit
from app.errors import MalformedRequest, UnsupportedFormat, UploadTooLarge, UploadTooSlow
from app.web.problems import ClientDisconnected


async def read_body(request: Request, permit: Permit, *, limit_bytes: int, timeout_s: float) -> bytes:
    """Read the whole body into memory; nothing is read once it is known to be refused.

    Raises:
        UnsupportedFormat: The body is compressed.
        UploadTooLarge: It is, or says it is, longer than ``limit_bytes``.
        UploadTooSlow: It is not complete after ``timeout_s``.
        Overloaded: The uploads of all requests together are over their budget.
        ClientDisconnected: The client closed the connection.
    """
    if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise UnsupportedFormat(("identity",), what="content encoding")
    if declared_length(request) > limit_bytes:
        raise UploadTooLarge(limit_bytes)
    body = io.BytesIO()  # grows in place and gives its bytes away uncopied; joined chunks would be held twice
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


def declared_length(request: Request) -> int:
    """Return the ``Content-Length`` of a request, 0 if it has none.

    Raises:
        MalformedRequest: It is not a number.
    """
    text = request.headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise MalformedRequest("The Content-Length header is not a number.")
    return int(text)
