"""Path prefix: removes the path prefix of a server that is not at the root of its host.

Some proxies remove the prefix, and others pass it on; in that case it is removed here, before any other part
uses the path. Pages and the OpenAPI document use relative URLs, which work in both cases.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefix:
    """Pure ASGI, outermost: removes the prefix of the settings or of the ASGI server (``root_path``)."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            prefix = scope.get("root_path") or self._prefix
            if prefix:
                scope = {**scope, "root_path": "", "path": without_prefix(scope["path"], prefix)}
        await self._app(scope, receive, send)


def without_prefix(path: str, prefix: str) -> str:
    """Remove a prefix from a path; a path without it, for example of a probe, stays unchanged."""
    if path == prefix:
        return "/"
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path
