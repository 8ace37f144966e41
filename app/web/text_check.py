"""Text check: refuses requests with a path or query that is not Unicode, or with a line break in the path.

The router's patterns end with ``$``, which also matches before a line break at the end. So the router would
serve a path that the table of endpoints does not have: without a deadline, and with the line break in a
header.
"""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import MalformedRequest
from app.web.request.texts import read_text


class TextCheck:
    """Pure ASGI, inside ``ProblemWall``: passes requests whose path and query are well-formed UTF-8."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            MalformedRequest: The path or the query is not UTF-8, or the path has a line break.
        """
        if scope["type"] == "http":
            for raw, what in (
                (scope.get("raw_path") or b"", "The path"),
                (scope["query_string"], "The query"),
            ):
                if b"%" in raw:
                    read_text(unquote_to_bytes(raw), what)
            if "\n" in scope["path"]:
                raise MalformedRequest("The path has a line break.")
        await self._app(scope, receive, send)
