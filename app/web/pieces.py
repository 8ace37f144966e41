"""Pieces: a large answer leaves piece by piece, so that the event loop serves others in between.

One piece of thirty megabytes would be copied whole, by the protocol and by the transport, while
everybody else waits; a piece at a time, the transport also pushes back on what a slow reader does not take.
"""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PIECE_BYTES = 256 * 1024


class PiecewiseResponse(Response):
    """A response whose body is sent in pieces; its length is declared all the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the head, then the body."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, len(body), PIECE_BYTES):
            await send(
                {
                    "type": "http.response.body",
                    "body": body[start : start + PIECE_BYTES],
                    "more_body": start + PIECE_BYTES < len(body),
                }
            )
