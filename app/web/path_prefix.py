"""Path prefix: a server under a path of its host sees the paths that it would see at the root.

A proxy either cuts the prefix off, or passes it on; then it is cut off here, before anything looks at the
path.
Pages and the contract name their files relatively, so that they are found in both cases.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class PathPrefix:
    """Pure ASGI, outermost: cuts off the prefix that the operator or the ASGI server names."""

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
    """Return a path without its prefix; one that has another, as a probe's, stays what it is."""
    if path == prefix:
        return "/"
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path
