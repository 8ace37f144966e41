"""``cutout serve``: runs the service, in this process or in a supervised child process."""

import socket
from ipaddress import ip_address
from typing import Annotated

import typer

from app.cli.listening import listen
from app.cli.options import settings_for
from app.cli.stopping import ignore_stops
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
        bool | None,
        typer.Option("--supervise/--no-supervise", help="Restart the server process if it dies or hangs."),
    ] = None,
    *,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser once the server is ready.")
    ] = False,
    inherited: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve masks and cutouts over HTTP."""
    settings = _settings(host, port, model, supervise=supervise)
    _check_exposure(settings)
    if inherited is not None:
        from_parent = Inherited.parse(inherited)
        listener = socket.socket(fileno=from_parent.listener_fd)
        _serve_here(settings, listener, from_parent, opens_browser=open_browser)
        return
    listener = listen(str(settings.web.host), settings.web.port)
    if not settings.lifecycle.supervise:
        _serve_here(settings, listener, None, opens_browser=open_browser)
        return
    configure_logs(settings.log_format)
    log_what_breaks()
    code = Supervisor(own_command(), listener, settings.lifecycle, SystemClock()).run()
    ignore_stops()
    raise typer.Exit(code)


def _settings(
    host: str | None, port: int | None, model: list[str] | None, *, supervise: bool | None
) -> Settings:
    """Read the settings; options of the command line override those of the environment."""
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
    """Refuse to listen on a public address without authentication, unless the operator allows it.

    Raises:
        ValueError: The address is not a loopback address, and access is not configured.
    """
    host = settings.web.host
    if host.is_loopback or settings.access.is_decided:
        return
    raise ValueError(
        f"everyone who can reach {host} could use this server. Generate a key (cutout keys new NAME) and set "
        "CUTOUT_ACCESS__KEYS_FILE to its file, or allow everyone with CUTOUT_ACCESS__OPEN=true"
    )


def _serve_here(
    settings: Settings, listener: socket.socket, inherited: Inherited | None, *, opens_browser: bool
) -> None:
    from app.cli.worker import run_server  # the supervisor never imports the server

    has_served = run_server(settings, listener, inherited, opens_browser=opens_browser)
    ignore_stops()
    if not has_served:
        raise typer.Exit(CANNOT_START)
