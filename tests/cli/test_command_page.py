"""The page of the command line, compared with the commands: every one, with each of its options."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli.commands import cutout

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(cutout [a-z ]+)` \| (.*) \| (.*) \|$", re.MULTILINE)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something, by its whole name."""
    children = getattr(command, "commands", None)  # typer has a click of its own
    if children is None:
        yield name, command
        return
    for part, child in children.items():
        yield from commands(child, f"{name} {part}")


def row_of(command: Any) -> tuple[str, str]:
    """Return what the page says of a command: the first line of its help, and its options."""
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    flags = [f"`{next(flag for flag in each.opts if flag.startswith('--'))}`" for each in options]
    return (command.help or "").splitlines()[0], ", ".join(flags)


def test_the_page_has_every_command_with_its_options_word_for_word() -> None:
    expected = {name: row_of(command) for name, command in commands(get_command(cutout), "cutout")}

    assert {name: (text, flags) for name, text, flags in ROW.findall(PAGE)} == expected


@pytest.mark.parametrize("flag", ["--version", "--install-completion", "--show-completion"])
def test_the_page_has_the_options_of_the_program(flag: str) -> None:
    assert flag in PAGE
