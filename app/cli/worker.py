"""Worker: the process that serves, from its first signal to its exit code.

Rule: uvicorn's own answer to a signal is to close the sockets, so signals are taken here. They begin
the drain; ``should_exit`` is set when the drain is over, and not before.
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
from pathlib import Path
from types import FrameType

import structlog
import typer
import uvicorn

from app.cli.listening import BACKLOG
from app.cli.metrics_page import MetricsPage, open_page, reachable, sweep
from app.cli.stopping import on_stop
from app.cli.supervise import ALIVE, READY, STUCK, Inherited
from app.engine.capacity.memory import tune_allocator
from app.engine.models.device import CPU
from app.engine.threads.priority import favour_latency
from app.logs import configure_logs, log_what_breaks
from app.main import create_app
from app.settings import Settings
from app.web.background import keep_running
from app.web.connection import ConnectionLimits
from app.web.drain import Drain
from app.web.lingering import LingerLimits
from app.web.service import Service

EXAMPLE = Path("docs/images/astronaut.jpg")
SWITCH_INTERVAL_S = 0.001
"""How long a busy thread may keep the interpreter from the event loop; Python's own is five times that."""
LINGER_UPLOADS = 4
"""How many times the largest upload is dropped of a client that was refused, since some send more."""
FLUSH_S = 0.1
"""Time that answers to abandoned requests have to leave the process."""
FORCE_S = 0.8
"""Time after the drain in which threads may end; what still hangs then is left behind."""

log = structlog.get_logger("cutout.worker")


def run_worker(settings: Settings, listener: socket.socket, inherited: Inherited | None) -> bool:
    """Serve on ``listener`` until told to stop; return whether the default model could be served."""
    configure_logs(settings.log_format)
    log_what_breaks()
    heartbeat = None if inherited is None else Heartbeat(inherited.heartbeat_fd)

    def on_settled(service: Service) -> None:
        if service.pipeline is None:
            server.should_exit = True
            return
        # What is here now stays. Looking through it for garbage would stop every thread for 20 ms and more.
        gc.collect()
        gc.freeze()
        if heartbeat is not None:
            heartbeat.say(READY)
        if not service.drain.has_begun:
            _say(_banner(service, listener, page))

    restarts = {} if inherited is None else inherited.restarts
    # Requests already wait for one that takes another's place.
    service_app = create_app(
        settings, on_settled=on_settled, restarts=restarts, opens_when_warm=bool(restarts)
    )
    service: Service = service_app.state.service
    page = open_page(settings.web, service.telemetry.registry, open_door(service))
    tune_process()
    door = open_door(service)
    config = uvicorn.Config(
        service_app,
        http=door.connect,  # type: ignore[arg-type] # called like the class it stands for
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on what a header says of the client
        backlog=BACKLOG,
        timeout_keep_alive=settings.web.idle_timeout_s,
    )
    server = DrainingServer(config, service.drain, door)
    server.is_loading = lambda: service.pipeline is None and service.failure is None
    if page is not None:
        server.beside["metrics"] = page.serve
    if heartbeat is not None:
        interval_s = min(1.0, settings.lifecycle.hang_timeout_s / 5)
        server.beside["heartbeat"] = lambda: heartbeat.beat(
            interval_s, sign=lambda: _sign(service), on_orphaned=server.leave
        )
    # Also before uvicorn's loop runs, and after it gave the handlers back.
    on_stop(server.handle_exit)
    server.run(sockets=[listener])
    return service.pipeline is not None or service.failure is None


def tune_process() -> None:
    """Make this a process that serves: its event loop is let in early, and memory is given back."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tune_allocator()
    favour_latency()


def open_door(service: Service) -> ConnectionLimits:
    """Return the rules for connections that the settings have."""
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

    def __init__(self, config: uvicorn.Config, drain: Drain, door: ConnectionLimits) -> None:
        super().__init__(config)
        self._drain = drain
        self._tasks: list[asyncio.Task[None]] = []
        self.beside: dict[str, Callable[[], Awaitable[None]]] = {"sweeping": lambda: sweep(door)}
        """What runs in the event loop for as long as it does, by the name that the log has for it."""
        self.is_loading: Callable[[], bool] = lambda: False

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """Begin the drain at the first signal, end the process at the second."""
        if self._drain.has_begun:
            # On a thread: a signal handler must not log, and the loop may be what hangs.
            threading.Thread(target=self._end_at_once, daemon=True).start()
            return
        self.leave(skips_delay=sig == signal.SIGINT)

    def leave(self, *, skips_delay: bool = False) -> None:
        """Begin the drain, and see to it that it ends."""
        self._drain.begin(skips_delay=skips_delay)
        # Where nobody was let in yet, nobody is waited for.
        end = self._bound_the_drain if self.started else self._end_unstarted
        threading.Thread(target=end, daemon=True).start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start what runs beside the service, then serve."""
        self._tasks = [asyncio.create_task(keep_running(name, work)) for name, work in self.beside.items()]
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of connections and threads; models that are still being loaded are not waited for."""
        self.force_exit = is_loading = self.is_loading()
        await super().shutdown(sockets)
        if is_loading:
            _end(0)

    async def on_tick(self, counter: int) -> bool:
        """Shut down once the drain is over. uvicorn asks ten times a second."""
        if self._drain.is_over() and not self.should_exit:
            abandoned = self._drain.abandon()
            if abandoned:
                log.warning("requests were abandoned", lost=abandoned)
            # What is left to do is to flush answers to slow readers.
            flush_s = max(FLUSH_S, self._drain.remaining_s())
            self.config.timeout_graceful_shutdown = flush_s  # type: ignore[assignment] # asyncio takes it
            self.should_exit = True
        return await super().on_tick(counter)

    def _bound_the_drain(self) -> None:
        log.info("draining", in_flight=self._drain.in_flight, at_most_s=round(self._drain.remaining_s(), 1))
        time.sleep(self._drain.remaining_s() + FORCE_S)
        log.error("threads hang and are left behind", in_flight=self._drain.in_flight)
        _end(0)

    def _end_unstarted(self) -> None:
        log.info("told to stop before the start was over")
        _end(0)

    def _end_at_once(self) -> None:
        log.error("told twice to stop", lost=self._drain.in_flight)
        _end(1)


class Heartbeat:
    """The worker's end of the pipe to its parent."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the standard library's own signature
        os.set_blocking(fd, False)
        self._fd = fd

    def say(self, sign: bytes) -> bool:
        """Give one sign, and return whether there is a parent to hear it."""
        try:
            os.write(self._fd, sign)
        except BrokenPipeError:
            return False
        except BlockingIOError:  # it is there, and has not read for hours
            return True
        return True

    async def beat(
        self, interval_s: float, *, sign: Callable[[], bytes], on_orphaned: Callable[[], None]
    ) -> None:
        """Give signs from the event loop, so that a loop which hangs falls silent, until nobody listens."""
        is_heard = True
        while is_heard:
            await asyncio.sleep(interval_s)
            is_heard = self.say(sign())
        log.error("the supervisor is gone")
        on_orphaned()


def _sign(service: Service) -> bytes:
    if service.pipeline is None:
        return ALIVE
    return STUCK if service.pipeline.is_stuck() else READY


def _end(code: int) -> None:
    """Leave without waiting for any thread; the system takes back what the process holds."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def serve_metrics(service: Service) -> str | None:
    """Serve the metrics page beside an event loop that is not ours, and return its URL.

    Raises:
        OSError: Its port is taken.
    """
    page = open_page(service.settings.web, service.telemetry.registry, open_door(service))
    if page is None:
        return None
    serving = keep_running("metrics", page.serve)
    threading.Thread(target=asyncio.run, args=(serving,), name="metrics", daemon=True).start()
    return page.url


def _say(text: str) -> None:
    """Print a text; whoever reads may have left, as ``head`` does, and the server goes on."""
    with contextlib.suppress(OSError):
        typer.echo(text)


def _banner(service: Service, listener: socket.socket, page: MetricsPage | None) -> str:
    assert service.pipeline is not None  # noqa: S101 - the caller looked
    pipeline = service.pipeline
    models = pipeline.models
    host, port = listener.getsockname()[:2]
    address = f"http://{reachable(host)}:{port}"
    is_on_cpu = models.provider == CPU and pipeline.why_not_cuda is not None
    photo = EXAMPLE if EXAMPLE.exists() else "photo.jpg"
    sending = f"curl --data-binary @{photo} -H 'Content-Type: image/jpeg'"
    lines = (
        "",
        f"  Cutout listens on  {address}",
        f"  Models             {', '.join(models.names)}",
        f"  Runs on            {models.provider}{f' (CUDA: {pipeline.why_not_cuda})' if is_on_cpu else ''}",
        f"  Metrics            {'off' if page is None else page.url}",
        "",
        "  Try it:",
        f"  {sending} -o cutout.png {address}/v1/cutout",
        "",
    )
    return "\n".join(lines)
