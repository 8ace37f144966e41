"""Progress: follows a run on stderr, with a bar on a terminal and a line for each picture elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from unicodedata import category

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from app.cli.removal.values import Item, Outcome


class Display(Protocol):
    """Shows the start and the end of each picture."""

    def started(self, item: Item) -> None:
        """Show that a picture is in progress."""

    def ended(self, outcome: Outcome) -> None:
        """Show what became of a picture."""


class Lines:
    """Prints a line for each picture."""

    def __init__(self, console: Console, *, is_quiet: bool = False) -> None:
        self._console = console
        self._is_quiet = is_quiet

    def started(self, item: Item) -> None:
        """Print nothing yet."""

    def ended(self, outcome: Outcome) -> None:
        """Print a line; when quiet, only for a failure."""
        if outcome.problem is not None or (outcome.status == "written" and not self._is_quiet):
            self._console.print(line_of(outcome), highlight=False, soft_wrap=True, markup=False)


class Bar:
    """Moves a bar with the rate, the remaining time and the current file."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)
        self._in_flight: dict[str, None] = {}

    def started(self, item: Item) -> None:
        """Show the picture's file."""
        self._in_flight[str(item.source.path)] = None
        self._show_current()

    def ended(self, outcome: Outcome) -> None:
        """Advance the bar, and print a failure above it."""
        self._in_flight.pop(str(outcome.source), None)
        if outcome.problem is not None:
            self._progress.console.print(line_of(outcome), highlight=False, markup=False, style="red")
        self._progress.advance(self._task)
        self._show_current()

    def _show_current(self) -> None:
        """Show the file that was started first, because it is the one that others wait for."""
        current = next(iter(self._in_flight), "")
        self._progress.update(self._task, description=escape(visible(current)))


class RateColumn(ProgressColumn):
    """The pictures per second of the last half minute."""

    def render(self, task: Task) -> Text:
        """Return the rate, or an empty text before the first picture."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.2f}/s", style="progress.data.speed")


@contextmanager
def shown(console: Console, total: int | None, *, is_quiet: bool) -> Iterator[Display]:
    """Show a run during the block.

    Args:
        console: Standard error.
        total: The number of pictures; None if it is not known.
        is_quiet: Whether to show failures only.
    """
    if is_quiet or not console.is_terminal or total == 1:
        yield Lines(console, is_quiet=is_quiet)
        return
    columns = (
        SpinnerColumn(),
        *(() if total is None else (BarColumn(bar_width=24),)),
        MofNCompleteColumn(),
        RateColumn(),
        *(() if total is None else (TimeRemainingColumn(),)),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, total)


def line_of(outcome: Outcome) -> str:
    """Return one line about a picture."""
    return visible(_text_of(outcome))


def visible(text: str) -> str:
    """Return a text with escapes for control characters, which the name of a file may contain."""
    return "".join(f"\\x{ord(each):02x}" if category(each) == "Cc" else each for each in text)


def _text_of(outcome: Outcome) -> str:
    if outcome.problem is not None:
        return f"{outcome.source}: {outcome.problem.detail}"
    processed = outcome.processed
    assert processed is not None  # noqa: S101 - a picture without a problem was processed
    size = "" if processed.size_px is None else "{} × {} px, ".format(*processed.size_px)
    took = ", ".join(f"{name} {duration:.0f} ms" for name, duration in processed.steps_ms.items())
    # An older server does not say the precision; without a run of the network there is none.
    precision = f" in {processed.precision}" if processed.precision not in ("", "none") else ""
    warnings = "".join(f"; warning: {warning}" for warning in processed.warnings)
    return (
        f"{outcome.outputs[0]}: {size}{processed.model} on {processed.provider}{precision}, "
        f"verdict {processed.verdict} ({took}){warnings}"
    )
