"""Flags: gives a command a flag for every option of the API, made from the options' own declarations."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.options import PARTS, CutoutOptions, MaskOptions

OPTIONS: Mapping[str, FieldInfo] = {**MaskOptions.model_fields, **CutoutOptions.model_fields}
"""The options of both endpoints; if both have one, with the description for cutouts."""
PANEL = "The result"


@dataclass(frozen=True, slots=True)
class Choices:
    """The options and files that a user chose, by the name of their field in the API."""

    options: Mapping[str, str]
    parts: Mapping[str, Path]


def with_api_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the ``**chosen`` of a command by a keyword for each option and file of the API.

    typer reads the signature, so the flags appear in the help and in shell completion.
    """
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [_option(name, field) for name, field in OPTIONS.items()]
    flags += [_part(name, text) for name, text in PARTS.items()]
    command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    return command


def choices_of(chosen: Mapping[str, object]) -> Choices:
    """Sort the values of such keywords into options, as the texts that a form would contain, and files."""
    given = {name: value for name, value in chosen.items() if value is not None}
    options = {name: _text(given[name]) for name in OPTIONS if name in given}
    parts = {name: Path(str(given[_keyword(name)])) for name in PARTS if _keyword(name) in given}
    return Choices(options, parts)


def option_flag(name: str) -> str:
    """Return the flag of an option."""
    return f"--{name.replace('_', '-')}"


def part_flag(name: str) -> str:
    """Return the flag of a file: its field's name, or that with ``-image`` if an option has the name."""
    return option_flag(_keyword(name))


def _keyword(name: str) -> str:
    return f"{name}_image" if name in OPTIONS else name


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = option_flag(name)
    text = (field.description or "").replace("`", "")
    if name not in CutoutOptions.model_fields:
        text += " Only with --only-mask."
    if field.annotation is bool:
        flag_of_both = typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=PANEL)
        return _parameter(name, Annotated[bool | None, flag_of_both])
    values = choices_in(field)
    described = typer.Option(
        flag,
        help=text,
        metavar="|".join(values) or ("TEXT" if _takes_text(field) else "NUMBER"),
        autocompletion=lambda incomplete: [value for value in values if value.startswith(incomplete)],
        rich_help_panel=PANEL,
    )
    return _parameter(name, Annotated[str | None, described])


def _part(name: str, text: str) -> inspect.Parameter:
    described = typer.Option(part_flag(name), help=text, metavar="FILE", rich_help_panel=PANEL)
    return _parameter(_keyword(name), Annotated[Path | None, described])


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def choices_in(field: FieldInfo) -> tuple[str, ...]:
    """Return the values of an option that has a list of them."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _takes_text(field: FieldInfo) -> bool:
    return str in (field.annotation, *get_args(field.annotation))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
