"""Plots: draws the report of ``benchmarks.peers`` as PNGs; runs in the environment that has matplotlib.

.venv-export/bin/python -m benchmarks.peers.plots bench-peers/peers.json

For each model and operation it draws throughput over picture size with one client, with intervals, and
throughput over the number of clients at the middle size.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.peers.report import OURS, Json, rounds_of, throughput


def main() -> None:
    """Draw a report's plots next to it."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("report", type=Path, help="the JSON of benchmarks.peers")
    args = parser.parse_args()
    for path in draw(json.loads(args.report.read_text())["measured"], args.report.parent):
        print(path)


def draw(measured: Sequence[Json], folder: Path) -> list[Path]:
    """Draw one PNG for each model and operation, and return their paths.

    Args:
        measured: Values of ``report.to_json``.
        folder: Where the files ``throughput-MODEL-OPERATION.png`` are written.
    """
    paths = []
    for model, operation in sorted({(each["model"], each["operation"]) for each in measured}):
        closed = [
            each for each in measured
            if (each["model"], each["operation"]) == (model, operation) and each["clients"]
        ]  # fmt: skip
        if not closed:
            continue
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        fewest = min(each["clients"] for each in closed)
        sizes = sorted({each["megapixels"] for each in closed})
        middle = sizes[len(sizes) // 2]
        _lines(left, [e for e in closed if e["clients"] == fewest], lambda each: each["megapixels"])
        _lines(right, [e for e in closed if e["megapixels"] == middle], lambda each: each["clients"])
        left.set(title=f"{model}, {operation}, {fewest} client(s)", xlabel="megapixels")
        right.set(title=f"{model}, {operation}, {middle:g} megapixels", xlabel="clients")
        right.legend(fontsize="small")
        path = folder / f"throughput-{model}-{operation}.png"
        figure.savefig(path, dpi=100)
        paths.append(path)
    return paths


def _lines(axes: Axes, measured: Sequence[Json], place: Callable[[Json], float]) -> None:
    """Draw throughput with intervals over ``place``, a line per peer."""
    for name in sorted({each["peer"] for each in measured}, key=lambda name: (name != OURS, name)):
        found = [(place(each), throughput(rounds_of(each))) for each in measured if each["peer"] == name]
        points = sorted(found, key=lambda point: point[0])
        values = [figure.value for _, figure in points]
        below = [figure.value - figure.low for _, figure in points]
        above = [figure.high - figure.value for _, figure in points]
        axes.errorbar(
            [where for where, _ in points],
            values,
            yerr=(below, above),
            label=name,
            marker="o",
            capsize=3,
            linewidth=2.5 if name == OURS else 1.2,
        )
    axes.set(xscale="log", yscale="log", ylabel="pictures/s")
    axes.grid(alpha=0.3, which="both")


if __name__ == "__main__":
    main()
