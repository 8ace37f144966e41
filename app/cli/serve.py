"""``cutout serve``: the service, until it is told to stop; in this process or in one it looks after."""

import socket
from ipaddress import ip_address
from typing import Annotated

import typer

from app.cli.listening import listen
from app.cli.options import settings_for
from app.cli.supervise import Inherited, Supervisor, own_command
from app.engine.clock import SystemClock
from app.logs import configure_logs, log_what_breaks
from app.settings import Settings

CANNOT_START = 3


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model to serve; repeat for more, the first is the default.")
    ] = None,
    supervise: Annotated[
        bool | None, typer.Option("--supervise/--no-supervise", help="Replace a worker that dies or hangs.")
    ] = None,
    inherited: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve masks and cutouts over HTTP."""
    settings = _settings(host, port, model, supervise=supervise)
    _check_exposure(settings)
    if inherited is not None:
        from_parent = Inherited.parse(inherited)
        _serve_here(settings, socket.socket(fileno=from_parent.listener_fd), from_parent)
        return
    listener = listen(str(settings.web.host), settings.web.port)
    if not settings.lifecycle.supervise:
        _serve_here(settings, listener, None)
        return
    configure_logs(settings.log_format)
    log_what_breaks()
    raise typer.Exit(Supervisor(own_command(), listener, settings.lifecycle, SystemClock()).run())


def _settings(
    host: str | None, port: int | None, model: list[str] | None, *, supervise: bool | None
) -> Settings:
    """Read the settings; what the command line says takes the place of the environment's."""
    settings = settings_for(model)
    web = settings.web.model_copy(
        update={
            "host": settings.web.host
            if host is None
            else ip_address("127.0.0.1" if host == "localhost" else host),
            "port": settings.web.port if port is None else port,
        }
    )
    lifecycle = settings.lifecycle
    if supervise is not None:
        lifecycle = lifecycle.model_copy(update={"supervise": supervise})
    return settings.model_copy(update={"web": web, "lifecycle": lifecycle})


def _check_exposure(settings: Settings) -> None:
    """Refuse to let in everybody who can reach the machine, unless the operator says so."""
    host = settings.web.host
    if host.is_loopback or settings.access.is_decided:
        return
    raise ValueError(
        f"on {host} anybody could use this server. Make a key (cutout keys new NAME) and name its file in "
        "CUTOUT_ACCESS__KEYS_FILE, or insist with CUTOUT_ACCESS__OPEN=true"
    )


def _serve_here(settings: Settings, listener: socket.socket, inherited: Inherited | None) -> None:
    from app.cli.worker import run_worker  # the parent of a worker never imports what serves

    if not run_worker(settings, listener, inherited):
        raise typer.Exit(CANNOT_START)
