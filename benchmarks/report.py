"""Report: Markdown tables that compare figures with their limits."""

import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure; it passes if it is at most its limit, or at least if ``is_floor``."""

    name: str
    value: float
    limit: float
    unit: str = ""
    is_floor: bool = False

    @property
    def passes(self) -> bool:
        """Whether the figure is within its limit; NaN is not."""
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        """Return the columns of a table row."""
        sign = "≥" if self.is_floor else "≤"
        shown = f"{self.value:.4g}{self.unit}", f"{sign} {self.limit:g}{self.unit}"
        return (self.name, *shown, "pass" if self.passes else "**FAIL**")


def print_machine() -> None:
    """Print the conditions of a measurement: processor, libraries, commit and load average."""
    print(f"{machine()}\n", flush=True)


def machine() -> str:
    """Return the conditions of a measurement: processor, libraries, commit and load average."""
    names = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
    libraries = ", ".join(f"{name} {module_version}" for name, module_version in _libraries())
    return (
        f"{processor}, {os.cpu_count()} cores; Python {platform.python_version()}, {libraries};\n"
        f"commit {_commit()}; load average before {os.getloadavg()[0]:.1f}"
    )


def _libraries() -> Iterator[tuple[str, str]]:
    """Yield name and version of the relevant libraries; ONNX Runtime has several distributions."""
    for name in ("onnxruntime-gpu", "onnxruntime", "onnxruntime-openvino", "pillow", "numpy"):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _commit() -> str:
    try:
        describe = ("git", "describe", "--always", "--dirty", "--abbrev=9")
        return subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_figures(figures: Sequence[Figure]) -> None:
    """Print figures with their limits."""
    print_table(("figure", "measured", "limit", "verdict"), [figure.row() for figure in figures])


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("\n".join(table_lines(header, rows)), end="\n\n", flush=True)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def table_cell(text: str, max_length: int = 300) -> str:
    """Return a text on one line and without the sign between cells, cut to a length."""
    return " ".join(text.replace("|", "/").split())[:max_length]


def milliseconds(seconds: float) -> str:
    """Return seconds as text in milliseconds."""
    return f"{seconds * 1e3:.4g} ms"
