"""Worker: the process that serves, from its first signal to its exit code.

Rule: uvicorn's own answer to a signal is to close the sockets, so signals are taken here. They begin
the drain; ``should_exit`` is set when the drain is over, and not before.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import structlog
import typer
import uvicorn
from prometheus_client import start_http_server

from app.cli.supervise import ALIVE, READY, STUCK, Inherited
from app.engine.device import CPU
from app.engine.memory import hold_little_memory
from app.engine.priority import step_forward
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings
from app.web.connection import SWEEP_S, Door
from app.web.drain import Drain
from app.web.service import Service

EXAMPLE = Path("docs/images/astronaut.jpg")
SWITCH_INTERVAL_S = 0.001
"""How long a busy thread may keep the interpreter from the event loop; Python's own is five times that."""
TICK_S = 0.1
"""How often uvicorn lets its server look around."""
FLUSH_S = 0.1
"""Time that answers to abandoned requests have to leave the process."""
FORCE_S = 0.8
"""Time after the drain in which threads may end; what still hangs then is left behind."""

log = structlog.get_logger("cutout.worker")


def run_worker(settings: Settings, listener: socket.socket, inherited: Inherited | None) -> bool:
    """Serve on ``listener`` until told to stop; return whether the default model could be served."""
    configure_logs(settings.log_format)
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
        typer.echo(_banner(service, listener, metrics_url))

    restarts = {} if inherited is None else inherited.restarts
    # Requests already wait for one that takes another's place.
    service_app = create_app(
        settings, on_settled=on_settled, restarts=restarts, opens_when_warm=bool(restarts)
    )
    service: Service = service_app.state.service
    metrics_url = serve_metrics(service)
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
        backlog=2048,
    )
    server = DrainingServer(config, service.drain, door)
    if heartbeat is not None:
        interval_s = min(1.0, settings.lifecycle.hang_timeout_s / 5)
        server.on_start = lambda: heartbeat.beat(
            interval_s, sign=lambda: _sign(service), on_orphaned=server.leave
        )
    # Also before uvicorn's loop runs, and after it gave the handlers back.
    signal.signal(signal.SIGTERM, server.handle_exit)
    signal.signal(signal.SIGINT, server.handle_exit)
    server.run(sockets=[listener])
    return service.pipeline is not None


def tune_process() -> None:
    """Make this a process that serves: its event loop is let in early, and memory is given back."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    hold_little_memory()
    step_forward()


def open_door(service: Service) -> Door:
    """Return the rules for connections that the settings have."""
    limits = service.settings.limits
    return Door(
        service.clock,
        head_timeout_s=limits.head_timeout_s,
        write_timeout_s=limits.write_timeout_s,
        most_per_address=service.settings.web.connections_per_address,
        on_closed=lambda reason: service.telemetry.closed.labels(reason).inc(),
    )


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it shuts down."""

    def __init__(self, config: uvicorn.Config, drain: Drain, door: Door) -> None:
        super().__init__(config)
        self._drain = drain
        self._door = door
        self.on_start: Callable[[], object] | None = None

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
        threading.Thread(target=self._bound_the_drain, daemon=True).start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start what runs beside the service, then serve."""
        if self.on_start is not None:
            self.on_start()
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Sweep the connections; shut down once the drain is over. uvicorn asks ten times a second."""
        if counter % round(SWEEP_S / TICK_S) == 0:
            self._door.sweep()
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

    def _end_at_once(self) -> None:
        log.error("told twice to stop", lost=self._drain.in_flight)
        _end(1)


class Heartbeat:
    """The worker's end of the pipe to its parent."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the standard library's own signature
        os.set_blocking(fd, False)
        self._fd = fd
        self._beating: asyncio.Task[None] | None = None

    def say(self, sign: bytes) -> bool:
        """Give one sign, and return whether there is a parent to hear it."""
        try:
            os.write(self._fd, sign)
        except BrokenPipeError:
            return False
        except BlockingIOError:  # it is there, and has not read for hours
            return True
        return True

    def beat(self, interval_s: float, *, sign: Callable[[], bytes], on_orphaned: Callable[[], None]) -> None:
        """Give signs from the event loop, so that a loop which hangs falls silent."""

        async def beat() -> None:
            is_heard = True
            while is_heard:
                await asyncio.sleep(interval_s)
                is_heard = self.say(sign())
            log.error("the supervisor is gone")
            on_orphaned()

        self._beating = asyncio.create_task(beat())


def _sign(service: Service) -> bytes:
    if service.pipeline is None:
        return ALIVE
    return STUCK if service.pipeline.is_stuck() else READY


def _end(code: int) -> None:
    """Leave without waiting for any thread; the system takes back what the process holds."""
    sys.stdout.flush()
    os._exit(code)


def serve_metrics(service: Service) -> str | None:
    """Serve the metrics page on its own port for as long as the process lives, and return its URL."""
    host, port = str(service.settings.web.metrics_host), service.settings.web.metrics_port
    if port is None:
        return None
    try:
        page, _ = start_http_server(port, addr=host, registry=service.telemetry.registry)
    except OSError as error:
        way_out = "choose another with CUTOUT_WEB__METRICS_PORT"
        raise OSError(f"cannot serve metrics on {host} port {port}: {error.strerror}; {way_out}") from error
    return f"http://{_reachable(host)}:{page.server_port}/metrics"


def _banner(service: Service, listener: socket.socket, metrics_url: str | None) -> str:
    assert service.pipeline is not None  # noqa: S101 - the caller looked
    pipeline = service.pipeline
    models = pipeline.models
    host, port = listener.getsockname()[:2]
    address = f"http://{_reachable(host)}:{port}"
    is_on_cpu = models.provider == CPU and pipeline.why_not_cuda is not None
    photo = EXAMPLE if EXAMPLE.exists() else "photo.jpg"
    sending = f"curl --data-binary @{photo} -H 'Content-Type: image/jpeg'"
    lines = (
        "",
        f"  Cutout listens on  {address}",
        f"  Models             {', '.join(models.names)}",
        f"  Runs on            {models.provider}{f' (CUDA: {pipeline.why_not_cuda})' if is_on_cpu else ''}",
        f"  Metrics            {metrics_url or 'off'}",
        "",
        "  Try it:",
        f"  {sending} -o cutout.png {address}/v1/cutout",
        "",
    )
    return "\n".join(lines)


def _reachable(host: str) -> str:
    """Return the host to name in a URL on this machine."""
    if ip_address(host).is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
