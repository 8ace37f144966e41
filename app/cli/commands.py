"""Commands: the command tree, and the error message and exit code of a failed command."""

import sys
from typing import Annotated

import typer
from pydantic import ValidationError

from app import __version__
from app.cli.doctor import doctor
from app.cli.keys import new
from app.cli.models import fetch, list_models, verify
from app.cli.models_add import add
from app.cli.remove import remove
from app.cli.serve import serve
from app.errors import CutoutError, ModelUnavailable
from app.onnx_import.refusal import GraphRefused
from app.settings import PREFIX, UnknownSetting
from app.system_errors import sentence_of
from app.weights.fetch import WeightsUnavailable

cutout = typer.Typer(no_args_is_help=True)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_asked:
        typer.echo(f"cutout {__version__}")
        raise typer.Exit


@cutout.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Background removal, self-hosted."""


cutout.command()(serve)
cutout.command()(remove)
cutout.command()(doctor)
models = typer.Typer(no_args_is_help=True, help="Add, fetch, list and verify models.")
models.command()(add)
models.command()(fetch)
models.command("list")(list_models)
models.command()(verify)
cutout.add_typer(models, name="models")
keys = typer.Typer(no_args_is_help=True, help="Generate API keys.")
keys.callback()(lambda: None)  # for a group of a single command, typer would omit the name of the command
keys.command()(new)
cutout.add_typer(keys, name="keys")


def run() -> None:
    """Run the command line; a known error becomes one line on stderr, without a traceback."""
    try:
        cutout()
    except ModelUnavailable as error:
        _exit_with(error.reason)
    except (CutoutError, GraphRefused, WeightsUnavailable, UnknownSetting, OSError, ValueError) as error:
        _exit_with(_message_of(error))


def _message_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        variable = PREFIX + "__".join(str(part) for part in first["loc"] if isinstance(part, str)).upper()
        return f"{variable}: {first['msg'].removeprefix('Value error, ')}"
    return sentence_of(error)


def _exit_with(message: str) -> None:
    typer.echo(f"cutout: {message}", err=True)
    sys.exit(1)
