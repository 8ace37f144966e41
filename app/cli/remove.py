"""``cutout remove``: removes the background of pictures, with the server's own pipeline or by a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.removal.flags import choices_of, with_api_flags
from app.cli.removal.values import UsageProblem
from app.settings import API_KEY_VARIABLE
from app.system_errors import sentence_of

USAGE = 2


Pictures = Annotated[list[str], typer.Argument(help="Files, folders and globs; - reads stdin.")]
Output = Annotated[
    str | None, typer.Option("--output", "-o", help="File or folder to write; - writes to stdout.")
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Search sub-folders too.")]
KeepNames = Annotated[bool, typer.Option("--keep-names", help="With -o FOLDER: no -cutout in the names.")]
Force = Annotated[bool, typer.Option("--force", help="Replace results that exist.")]
Watch = Annotated[bool, typer.Option("--watch", help="Keep taking new files from folders, until Ctrl-C.")]
OnlyMask = Annotated[bool, typer.Option("--only-mask", help="Write the mask instead of the cutout.")]
Report = Annotated[Path | None, typer.Option(help="JSON file for the outcome of each picture.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")]
InFlight = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Pictures at a time; chosen by default.")
]
Server = Annotated[str | None, typer.Option(help="Address of a running server to use.")]
Key = Annotated[str | None, typer.Option(envvar=API_KEY_VARIABLE, help="API key for the server.")]


@with_api_flags
def remove(
    pictures: Pictures,
    *,
    output: Output = None,
    recursive: Recursive = False,
    keep_names: KeepNames = False,
    force: Force = False,
    watch: Watch = False,
    only_mask: OnlyMask = False,
    report: Report = None,
    quiet: Quiet = False,
    in_flight: InFlight = None,
    server: Server = None,
    key: Key = None,
    **chosen: str | None,
) -> None:
    """Remove the background of pictures.

    The result of photo.jpg is photo-cutout.png next to it.

    Results that exist are skipped, so the same command goes on where an interrupted one was.

    Exit codes: 0; 1 if a picture failed; 2 if the arguments are wrong.
    """
    # Imported here, because every command imports this module, and the supervisor must stay small.
    from app.cli.removal.order import Order, run_order

    order = Order(
        pictures=tuple(pictures),
        output=output,
        recursive=recursive,
        keeps_names=keep_names,
        replaces=force,
        watches=watch,
        only_mask=only_mask,
        report=report,
        is_quiet=quiet,
        in_flight=in_flight,
        server=server,
        key=key,
        choices=choices_of(chosen),
    )
    with _usage_problems():
        code = run_order(order)
    raise typer.Exit(code)


@contextmanager
def _usage_problems() -> Iterator[None]:
    """Print a problem of the arguments as a sentence, and exit with the code for usage."""
    try:
        yield
    except UsageProblem as error:
        typer.echo(f"cutout: {sentence_of(error)}", err=True)
        raise typer.Exit(USAGE) from error
