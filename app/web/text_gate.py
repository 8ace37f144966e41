"""Text gate: a path or a query whose escapes are no Unicode goes no further."""

from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.request.texts import read_text


class TextGate:
    """Pure ASGI, inside the wall: lets through what every reader reads alike."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            MalformedRequest: Its path or its query is not UTF-8.
        """
        if scope["type"] == "http":
            for raw, what in (
                (scope.get("raw_path") or b"", "The path"),
                (scope["query_string"], "The query"),
            ):
                if b"%" in raw:
                    read_text(unquote_to_bytes(raw), what)
        await self._app(scope, receive, send)
