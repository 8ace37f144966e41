"""Metrics page: the metrics on a port of their own, from before the models load until the process ends.

Its connections have the deadlines of all others (``app/web/connection.py``) and there are only a few of them,
so that clients that hold theirs cost next to nothing. Making the page takes about 10 ms of a core; a thread
does it, one page at a time, and the event loop goes on meanwhile.
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
from app.web.connection import SWEEP_S, Connection, ConnectionLimits

MAX_CONNECTIONS = 16
PATH = "/metrics"
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class MetricsPage:
    """The page, which listens from its beginning on and answers while ``serve`` runs."""

    def __init__(self, registry: CollectorRegistry, door: ConnectionLimits, listener: socket.socket) -> None:
        self._registry = registry
        self._door = door
        self._listener = listener
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """Where it is, for a browser on this machine."""
        host, port = self._listener.getsockname()[:2]
        return f"http://{reachable(host)}:{port}{PATH}"

    async def serve(self) -> None:
        """Answer until cancelled."""
        config = uvicorn.Config(
            self, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        config.load()
        state = ServerState()

        def connect() -> asyncio.Protocol:
            return _PageConnection(self._door, config=config, server_state=state, app_state={})

        server = await asyncio.get_running_loop().create_server(connect, sock=self._listener.dup())
        async with server:
            await sweep(self._door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response: Response
        if scope["path"] != PATH:
            response = PlainTextResponse(f"There is nothing here but {PATH}.\n", 404)
        elif scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("", 405, headers={"Allow": "GET, HEAD"})
        else:
            encode, media_type = choose_encoder(Headers(scope=scope).get("accept", ""))
            async with self._turn:
                text = await asyncio.to_thread(encode, self._registry)
            response = Response(text, headers={"Content-Type": media_type})
        await response(scope, receive, send)


class _PageConnection(Connection):
    """A connection that is turned away where there are enough."""

    def __init__(self, door: ConnectionLimits, **of_uvicorn: Any) -> None:
        super().__init__(door, **of_uvicorn)
        self._page_door = door

    def connection_made(self, transport: Any) -> None:
        """Begin to count."""
        super().connection_made(transport)
        if len(self._page_door.connections) > MAX_CONNECTIONS:
            transport.write(_REFUSAL)
            transport.close()


async def sweep(door: ConnectionLimits) -> None:
    """Close the connections whose clients let a deadline pass, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_S)
        door.sweep()


def open_page(web: Web, registry: CollectorRegistry, door: ConnectionLimits) -> MetricsPage | None:
    """Return the page of these settings, which listens already, or None where there is to be none.

    Raises:
        OSError: Its port is taken.
    """
    if web.metrics_port is None:
        return None
    way_out = "; choose another with CUTOUT_WEB__METRICS_PORT"
    listener = listen(str(web.metrics_host), web.metrics_port, why="serve metrics", way_out=way_out)
    return MetricsPage(registry, door, listener)


def reachable(host: str) -> str:
    """Return the host to name in a URL on this machine."""
    if ip_address(host).is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
