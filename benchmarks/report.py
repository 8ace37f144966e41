"""Report: Markdown tables in which each figure stands beside its limit and a clear word."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; it passes when it is at most, or at least, its limit."""

    name: str
    value: float
    limit: float
    unit: str = ""
    is_floor: bool = False

    @property
    def passes(self) -> bool:
        """Whether the figure keeps its limit; a figure that is not a number does not."""
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        """Return the cells of a table."""
        sign = "≥" if self.is_floor else "≤"
        shown = f"{self.value:.4g}{self.unit}", f"{sign} {self.limit:g}{self.unit}"
        return (self.name, *shown, "pass" if self.passes else "**FAIL**")


def print_figures(figures: Sequence[Figure]) -> None:
    """Print figures with their limits."""
    print_table(("figure", "measured", "limit", "verdict"), [figure.row() for figure in figures])


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()
    sys.stdout.flush()


def milliseconds(seconds: float) -> str:
    """Return seconds as text in milliseconds."""
    return f"{seconds * 1e3:.4g} ms"
