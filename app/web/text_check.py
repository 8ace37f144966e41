"""Text check: refuses requests whose path or query does not decode to Unicode."""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.request.texts import read_text


class TextCheck:
    """Pure ASGI, inside ``ProblemWall``: passes requests whose path and query are well-formed UTF-8."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            MalformedRequest: The path or the query is not UTF-8.
        """
        if scope["type"] == "http":
            for raw, what in (
                (scope.get("raw_path") or b"", "The path"),
                (scope["query_string"], "The query"),
            ):
                if b"%" in raw:
                    read_text(unquote_to_bytes(raw), what)
        await self._app(scope, receive, send)
