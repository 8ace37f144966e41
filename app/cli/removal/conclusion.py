"""Conclusion: prints what became of the pictures, writes the report, and decides the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.removal.execution import Ended
from app.cli.removal.progress import visible
from app.cli.removal.report import Totals, write_report
from app.cli.removal.values import Outcome

MAX_LISTED = 20
"""Failures in the table; the report lists all of them."""
GO_ON = "interrupted: the same command, without --force, goes on where it was"
NOTHING_FOUND = "no pictures found; --recursive searches sub-folders too"


@dataclass(frozen=True, slots=True)
class Reporting:
    """How a run reports.

    Attributes:
        console: Standard error.
        is_quiet: Whether only failures are printed.
        is_single: Whether the command is about one picture, so that its own line says everything.
        report: The file for the report.
    """

    console: Console
    is_quiet: bool
    is_single: bool
    report: Path | None = None


def conclude(ended: Ended, reporting: Reporting, *, took_s: float, ignored: int) -> int:
    """Print the totals, write the report, and return the exit code.

    Args:
        ended: How the run ended, with the outcomes of all pictures.
        reporting: How to report.
        took_s: The time of the run in seconds.
        ignored: The number of results of an earlier run among the files.
    """
    totals = Totals.of(ended.outcomes, took_s)
    if not reporting.is_quiet and not reporting.is_single:
        _print_summary(reporting.console, ended.outcomes, totals, ignored)
    if reporting.report is not None:
        write_report(reporting.report, ended.outcomes, totals)
    if ended.ended_by is not None:
        _print(reporting.console, f"cutout: {ended.ended_by}")
    if ended.signals:
        _print(reporting.console, GO_ON)
        return 128 + ended.signals[0]
    return 1 if totals.failed or ended.ended_by is not None else 0


def _print_summary(console: Console, outcomes: Sequence[Outcome], totals: Totals, ignored: int) -> None:
    """Print the totals, and on a terminal the pictures that failed with their problems."""
    failed = [(each.source, each.problem) for each in outcomes if each.problem is not None]
    if len(failed) > 1 and console.is_terminal:
        table = Table("File", "Problem", box=None, pad_edge=False, header_style="bold")
        for source, problem in failed[:MAX_LISTED]:
            table.add_row(*(escape(visible(each)) for each in (str(source), problem.detail)))
        console.print(table)
        if len(failed) > MAX_LISTED:
            _print(console, f"and {len(failed) - MAX_LISTED} more; --report FILE.json lists all")
    if ignored:
        _print(console, f"{ignored} left out, as results of an earlier run")
    _print(console, totals.sentence() if outcomes else NOTHING_FOUND)


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)
