"""Metrics page: serves the metrics on their own port, from before the models load until the process exits.

Its connections have the same deadlines as all others (``app/web/connection_limits.py``), and their number is
low, so that idle clients cost almost nothing. Rendering the page takes about 10 ms of a core; a thread does
it, one page at a time, without blocking the event loop.
"""

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.cli.listening import listen
from app.settings import Web
from app.web.connection import Connection
from app.web.connection_limits import ConnectionLimits, watch_deadlines

MAX_CONNECTIONS = 16
PATH = "/metrics"
_TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class MetricsPage:
    """The page; its socket listens from the start, and ``serve`` responds to requests."""

    def __init__(
        self, registry: CollectorRegistry, connection_limits: ConnectionLimits, listener: socket.socket
    ) -> None:
        self._registry = registry
        self._connection_limits = connection_limits
        self._listener = listener
        self._render_lock = asyncio.Lock()

    @property
    def url(self) -> str:
        """The URL of the page, for a browser on this machine."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{reachable(host)}:{port}{PATH}"

    async def serve(self) -> None:
        """Serve requests until cancelled."""
        config = uvicorn.Config(
            self, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        config.load()
        state = ServerState()

        def connect() -> asyncio.Protocol:
            return _PageConnection(self._connection_limits, config=config, server_state=state, app_state={})

        server = await asyncio.get_running_loop().create_server(connect, sock=self._listener.dup())
        async with server:
            await watch_deadlines(self._connection_limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        response: Response
        if scope["path"] != PATH:
            response = PlainTextResponse(f"There is nothing here but {PATH}.\n", 404)
        elif scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("", 405, headers={"Allow": "GET, HEAD"})
        else:
            encode, media_type = choose_encoder(Headers(scope=scope).get("accept", ""))
            async with self._render_lock:
                text = await asyncio.to_thread(encode, self._registry)
            response = Response(text, headers={"Content-Type": media_type})
        await response(scope, receive, send)


class _PageConnection(Connection):
    """A connection to the page, refused if there are too many."""

    def connection_made(self, transport: Any) -> None:
        """Count the connection, and refuse it over the limit."""
        super().connection_made(transport)
        if len(self._connection_limits.connections) > MAX_CONNECTIONS:
            transport.write(_TOO_MANY_CONNECTIONS)
            transport.close()


def open_page(
    web: Web, registry: CollectorRegistry, connection_limits: ConnectionLimits
) -> MetricsPage | None:
    """Open the socket of the page and return the page, or None if the settings disable it.

    Raises:
        OSError: The port is in use.
    """
    if web.metrics_port is None:
        return None
    hint = "; choose another with CUTOUT_WEB__METRICS_PORT"
    listener = listen(str(web.metrics_host), web.metrics_port, action="serve metrics", hint=hint)
    return MetricsPage(registry, connection_limits, listener)


def reachable(host: str) -> str:
    """Return the host for a URL on this machine."""
    if ip_address(host).is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
