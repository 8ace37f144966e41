"""Worker: the server process, with its signal handlers, drain and exit code.

Rule: on a signal uvicorn closes the sockets, so this module handles signals instead. The first signal begins
the drain; ``should_exit`` is set only when the drain is over.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import structlog
import typer
import uvicorn
from fastapi import FastAPI

from app.cli.banner import ReadyServer, banner_of, open_browser
from app.cli.listening import BACKLOG
from app.cli.metrics_page import MetricsPage, open_page, reachable
from app.cli.stopping import on_stop
from app.cli.supervise import ALIVE, READY, STUCK, Inherited
from app.engine.capacity.memory import tune_allocator
from app.engine.models.device import CPU
from app.engine.threads.priority import favour_latency
from app.logs import configure_logs, log_what_breaks
from app.main import create_app
from app.settings import Settings
from app.system_errors import sentence_of
from app.web.background import keep_running
from app.web.connection import Connection
from app.web.connection_limits import ConnectionLimits, watch_deadlines
from app.web.drain import Drain
from app.web.lingering import LingerLimits
from app.web.service import Service

SWITCH_INTERVAL_S = 0.001
"""Time for which a busy thread may block the event loop; Python's default is five times as long."""
LINGER_UPLOADS = 4
"""Bytes to drop for a refused client, as a multiple of the largest upload, because some clients send more."""
FLUSH_S = 0.1
"""Time to send the responses of cancelled requests."""
FORCE_S = 0.8
"""Time for threads to finish after the drain; then the process exits without them."""

log = structlog.get_logger("cutout.worker")


def run_server(
    settings: Settings, listener: socket.socket, inherited: Inherited | None, *, opens_browser: bool = False
) -> bool:
    """Serve on ``listener`` until a signal to stop; return whether the default model could be served."""
    configure_logs(settings.log_format)
    log_what_breaks()
    heartbeat = None if inherited is None else Heartbeat(inherited.heartbeat_fd)

    def on_settled(service: Service) -> None:
        if service.pipeline is None:
            server.should_exit = True
            if service.failure is not None and sys.stderr.isatty():
                _print_failure(service.failure)
            return
        # Existing objects are permanent: scanning them for garbage would stop all threads for 20 ms or more.
        gc.collect()
        gc.freeze()
        if heartbeat is not None:
            heartbeat.send(READY)
        if not service.drain.has_begun:
            ready = _ready_server(service, listener, page)
            _print(banner_of(ready, is_terminal=sys.stdout.isatty()))
            if opens_browser and not restarts:
                open_browser(ready.page)

    restarts = {} if inherited is None else inherited.restarts
    # After a restart, requests already wait in the backlog: accept them only when models are warm.
    app = create_app(settings, on_settled=on_settled, restarts=restarts, opens_when_warm=bool(restarts))
    service: Service = app.state.service
    page = open_page(settings.web, service.telemetry.registry, connection_limits_of(service))
    tune_process()
    server = _build_server(app, service)
    if page is not None:
        server.background["metrics"] = page.serve
    if heartbeat is not None:
        interval_s = min(1.0, settings.lifecycle.hang_timeout_s / 5)
        server.background["heartbeat"] = lambda: heartbeat.run(
            interval_s, status=lambda: _status(service), on_orphaned=server.begin_drain
        )
    # Install the handlers before uvicorn's loop runs; they stay after uvicorn restores them.
    on_stop(server.handle_exit)
    server.run(sockets=[listener])
    return service.pipeline is not None or service.failure is None


def _build_server(app: FastAPI, service: Service) -> "DrainingServer":
    connection_limits = connection_limits_of(service)
    config = uvicorn.Config(
        app,
        http=partial(Connection, connection_limits),  # type: ignore[arg-type] # called like the class
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing depends on headers about the client's address
        backlog=BACKLOG,
        timeout_keep_alive=service.settings.web.idle_timeout_s,
    )
    server = DrainingServer(config, service.drain, connection_limits)
    server.is_loading = lambda: service.pipeline is None and service.failure is None
    return server


def tune_process() -> None:
    """Tune this process for serving: low latency of the event loop, and memory returned to the system."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_allocator()
    favour_latency()


def connection_limits_of(service: Service) -> ConnectionLimits:
    """Return the connection limits of the settings."""
    limits = service.settings.limits
    return ConnectionLimits(
        service.clock,
        head_timeout_s=limits.head_timeout_s,
        write_timeout_s=limits.write_timeout_s,
        max_per_address=service.settings.web.connections_per_address,
        on_closed=lambda reason: service.telemetry.closed.labels(reason).inc(),
        linger=LingerLimits(client_bytes=LINGER_UPLOADS * limits.upload_bytes),
        drop_rate=service.drop_rate,
        cors_origins=service.settings.web.cors_origins,
    )


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it shuts down."""

    def __init__(self, config: uvicorn.Config, drain: Drain, connection_limits: ConnectionLimits) -> None:
        super().__init__(config)
        self._drain = drain
        self._tasks: list[asyncio.Task[None]] = []
        self.background: dict[str, Callable[[], Awaitable[None]]] = {
            "deadlines": lambda: watch_deadlines(connection_limits)
        }
        """Tasks that run as long as the server does, by their name in the log."""
        self.is_loading: Callable[[], bool] = lambda: False

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """Begin the drain on the first signal, exit on the second."""
        if self._drain.has_begun:
            # In a thread: a signal handler must not log, and the event loop may hang.
            threading.Thread(target=self._exit_at_once, daemon=True).start()
            return
        self.begin_drain(skips_delay=sig == signal.SIGINT)

    def begin_drain(self, *, skips_delay: bool = False) -> None:
        """Begin the drain, and make sure that the process exits after it."""
        self._drain.begin(skips_delay=skips_delay)
        # Before the start there are no requests to wait for.
        finish = self._limit_drain if self.started else self._exit_unstarted
        threading.Thread(target=finish, daemon=True).start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the background tasks, then serve."""
        self._tasks = [
            asyncio.create_task(keep_running(name, work)) for name, work in self.background.items()
        ]
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close connections and stop threads, without waiting for models that are still loading."""
        self.force_exit = is_loading = self.is_loading()
        await super().shutdown(sockets)
        if is_loading:
            _exit(0)

    async def on_tick(self, counter: int) -> bool:
        """Shut down when the drain is over. uvicorn calls this ten times a second."""
        if self._drain.is_over() and not self.should_exit:
            abandoned = self._drain.abandon()
            if abandoned:
                log.warning("requests cancelled at the end of the drain", lost=abandoned)
            # Only responses to slow readers remain to be flushed.
            flush_s = max(FLUSH_S, self._drain.remaining_s())
            self.config.timeout_graceful_shutdown = flush_s  # type: ignore[assignment] # asyncio accepts a float
            self.should_exit = True
        return await super().on_tick(counter)

    def _limit_drain(self) -> None:
        log.info("draining", in_flight=self._drain.in_flight, at_most_s=round(self._drain.remaining_s(), 1))
        time.sleep(self._drain.remaining_s() + FORCE_S)
        log.error("threads hang: exiting without them", in_flight=self._drain.in_flight)
        _exit(0)

    def _exit_unstarted(self) -> None:
        log.info("signal during startup: exiting now")
        _exit(0)

    def _exit_at_once(self) -> None:
        log.error("second signal: exiting now", lost=self._drain.in_flight)
        _exit(1)


class Heartbeat:
    """The server process's end of the heartbeat pipe."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the standard library's own signature
        os.set_blocking(fd, False)
        self._fd = fd

    def send(self, heartbeat: bytes) -> bool:
        """Send one heartbeat; return whether the supervisor is running."""
        try:
            os.write(self._fd, heartbeat)
        except BrokenPipeError:
            return False
        except BlockingIOError:  # the supervisor is running, but has not read for hours
            return True
        return True

    async def run(
        self, interval_s: float, *, status: Callable[[], bytes], on_orphaned: Callable[[], None]
    ) -> None:
        """Send heartbeats until the supervisor exits; runs in the event loop, so they stop if it hangs."""
        is_supervised = True
        while is_supervised:
            await asyncio.sleep(interval_s)
            is_supervised = self.send(status())
        log.error("the supervisor has exited")
        on_orphaned()


def _status(service: Service) -> bytes:
    if service.pipeline is None:
        return ALIVE
    return STUCK if service.pipeline.is_stuck() else READY


def _exit(code: int) -> None:
    """Exit without waiting for threads; the system frees the resources of the process."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def serve_metrics(service: Service) -> str | None:
    """Serve the metrics page in its own thread, with its own event loop, and return its URL.

    Raises:
        OSError: The port is in use.
    """
    page = open_page(service.settings.web, service.telemetry.registry, connection_limits_of(service))
    if page is None:
        return None
    serving = keep_running("metrics", page.serve)
    threading.Thread(target=asyncio.run, args=(serving,), name="metrics", daemon=True).start()
    return page.url


def _print(text: str) -> None:
    """Print a text; ignore a closed stdout, for example of ``head``."""
    with contextlib.suppress(OSError):
        typer.echo(text)


def _print_failure(error: Exception) -> None:
    """Print at a terminal why nothing is served; elsewhere the log has the reason."""
    with contextlib.suppress(OSError):
        typer.echo(f"cutout: {getattr(error, 'reason', sentence_of(error))}", err=True)


def _ready_server(service: Service, listener: socket.socket, page: MetricsPage | None) -> ReadyServer:
    assert service.pipeline is not None  # noqa: S101 - the caller checks it
    pipeline, web = service.pipeline, service.settings.web
    host, port = listener.getsockname()[:2]
    return ReadyServer(
        address=f"http://{reachable(host)}:{port}",
        models=pipeline.models.names,
        provider=pipeline.models.provider,
        why_not_cuda=pipeline.why_not_cuda if pipeline.models.provider == CPU else None,
        metrics=None if page is None else page.url,
        has_page=bool(getattr(web, "playground", False)),
    )
