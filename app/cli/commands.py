"""Commands: the tree of them, and how each ends: in one line that says why, and in an exit code."""

import sys

import typer
from pydantic import ValidationError

from app.cli.doctor import doctor
from app.cli.keys import new
from app.cli.models import fetch, list_models, verify
from app.cli.remove import remove
from app.cli.serve import serve
from app.errors import CutoutError, ModelUnavailable
from app.settings import PREFIX, UnknownSetting
from app.system_errors import sentence_of
from app.weights.fetch import WeightsUnavailable

cutout = typer.Typer(no_args_is_help=True, add_completion=False, help="Background removal, self-hosted.")
cutout.command()(serve)
cutout.command()(remove)
cutout.command()(doctor)
models = typer.Typer(no_args_is_help=True, help="Fetch, list and verify models.")
models.command()(fetch)
models.command("list")(list_models)
models.command()(verify)
cutout.add_typer(models, name="models")
keys = typer.Typer(no_args_is_help=True, help="Make keys for those who may come in.")
keys.callback()(lambda: None)  # with one command alone typer would leave out its name
keys.command()(new)
cutout.add_typer(keys, name="keys")


def run() -> None:
    """Run the command line; known failures end in one line on stderr, not in a stack trace."""
    try:
        cutout()
    except ModelUnavailable as error:
        _die(error.reason)
    except (CutoutError, WeightsUnavailable, UnknownSetting, OSError, ValueError) as error:
        _die(_in_words(error))


def _in_words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        variable = PREFIX + "__".join(str(part) for part in first["loc"] if isinstance(part, str)).upper()
        return f"{variable}: {first['msg'].removeprefix('Value error, ')}"
    return sentence_of(error)


def _die(message: str) -> None:
    typer.echo(f"cutout: {message}", err=True)
    sys.exit(1)
