"""Growth: how throughput, latency and processor time grow with size, clients, cores and the model.

    python -m benchmarks.growth [--rounds 5] [--seconds 6] [--json growth.json] [--axes size clients]
    .venv-export/bin/python -m benchmarks.growth --draw growth.json

One server for each model, precision and number of cores runs all the time; one of them is measured at a
time, in a closed loop, and every round measures every point once. A point's figures are medians over the
rounds. The slope of an axis is that of a straight line fitted to the logarithms: 1 means that a figure
doubles with its cause. ``--draw`` draws the points of a report as a PNG next to it, in an environment that
has matplotlib. Linux only.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.client import Client, Shot
from benchmarks.load import closed_loop, percentile
from benchmarks.pictures import camera_photo
from benchmarks.report import machine, print_table
from benchmarks.server import ROOT, Server

SIZES, CLIENTS = (0.3, 1.0, 3.0, 12.0, 24.0), (1, 2, 4, 8, 16, 32)
MODELS = ("u2netp", "u2net")
AXES = {"size": "megapixels", "clients": "clients", "cores": "cores", "model": ""}
"""The axes, each with the field of a point that is its number."""
FIGURES = {"pictures_per_s": "pictures/s", "p50_s": "p50, s", "p95_s": "p95, s", "cpu_s": "CPU s a picture"}


@dataclass(frozen=True, slots=True)
class Point:
    """What is measured together: one server, one kind of request, and its load."""

    axis: str
    operation: str = "cutout"
    model: str = MODELS[0]
    precision: str = "auto"
    cores: int = 0
    megapixels: float = 1.0
    clients: int = 1

    @property
    def series(self) -> str:
        """The points that one line connects."""
        return f"{self.axis}: {self.operation}, {self.model}"

    @property
    def server(self) -> tuple[str, str, int]:
        """The server that it needs."""
        return self.model, self.precision, self.cores


def points(axes: Iterable[str], *, cores: int) -> list[Point]:
    """Return all points of the axes, for a machine with this number of cores."""
    of_axis = {
        "size": [
            Point("size", operation, model, cores=cores, megapixels=size)
            for model in MODELS
            for operation in ("cutout", "mask")
            for size in SIZES
        ],
        "clients": [
            Point("clients", model=model, cores=cores, clients=count) for model in MODELS for count in CLIENTS
        ],
        "cores": [
            Point("cores", model=model, cores=count, clients=4)
            for model in MODELS
            for count in range(1, cores + 1)
        ],
        "model": [
            Point("model", model=model, precision=precision, cores=cores, clients=4)
            for model in MODELS
            for precision in ("float32", "int8")
        ],
    }
    return [point for axis in axes for point in of_axis[axis]]


async def measure(server: Server, point: Point, upload: bytes, seconds: float) -> dict[str, float]:
    """Measure a point once, after two requests that are not counted."""
    client = Client(server.host, server.port)
    shot = Shot(f"/v1/{point.operation}", upload)
    await closed_loop(client, lambda _: shot, clients=min(2, point.clients), seconds=0.01)
    begun_s = server.cpu_s()
    results = await closed_loop(client, lambda _: shot, clients=point.clients, seconds=seconds)
    cpu_s = server.cpu_s() - begun_s
    await client.close()
    served = [result for result in results if result.status == 200]
    latencies_s = [result.latency_s for result in served]
    return {
        "pictures_per_s": len(served) / max((result.ended_s for result in served), default=math.inf),
        "p50_s": percentile(latencies_s, 50),
        "p95_s": percentile(latencies_s, 95),
        "cpu_s": cpu_s / len(served) if served else math.nan,
        "refused": len(results) - len(served),
    }


def upload_of(megapixels: float) -> bytes:
    """Build a JPEG with the detail and noise of a camera."""
    pixels = cv2.cvtColor(camera_photo(megapixels), cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]).tobytes()


def start(point: Point, models_dir: Path) -> Server:
    """Start the server of a point on the first of this machine's cores."""
    allowed = sorted(os.sched_getaffinity(0))[: point.cores]
    cutout = str(Path(sys.executable).with_name("cutout"))
    arguments = ("--host", "127.0.0.1", "--port", "0", "--model", point.model)
    command = ("taskset", "--cpu-list", ",".join(map(str, allowed)), cutout, "serve", *arguments)
    return Server(point.model, models_dir, {"CUTOUT_PRECISION": point.precision}, command=command)


def run(chosen: Sequence[Point], *, rounds: int, seconds: float, models_dir: Path) -> list[dict[str, Any]]:
    """Measure all points once in each round, and return their figures."""
    uploads = {size: upload_of(size) for size in {point.megapixels for point in chosen}}
    measured: dict[Point, list[dict[str, float]]] = {point: [] for point in chosen}
    with contextlib.ExitStack() as stack:
        servers: dict[tuple[str, str, int], Server] = {}
        for point in chosen:
            if point.server not in servers:
                servers[point.server] = stack.enter_context(start(point, models_dir))
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for point in chosen:
                upload = uploads[point.megapixels]
                measured[point].append(asyncio.run(measure(servers[point.server], point, upload, seconds)))
    return [{**asdict(point), "series": point.series, **_medians(found)} for point, found in measured.items()]


def _medians(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def slope(causes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of a straight line through the logarithms; NaN with fewer than two causes."""
    if len(set(causes)) < 2 or min(values) <= 0:
        return math.nan
    return float(np.polyfit(np.log(causes), np.log(values), 1)[0])


def print_report(measured: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of each series, with ratios to its first point, and the slopes."""
    for series in dict.fromkeys(each["series"] for each in measured):
        rows = [each for each in measured if each["series"] == series]
        field = AXES[rows[0]["axis"]]
        print(f"{series}\n")
        table = [
            (
                f"{row[field]:g}" if field else row["precision"],
                *(f"{row[name]:.3g} ({row[name] / rows[0][name]:.2f})" for name in FIGURES),
                f"{row['refused']:.0f}",
            )
            for row in rows
        ]
        if field and len(rows) > 2:
            causes = [float(row[field]) for row in rows]
            slopes = [f"{slope(causes, [row[name] for row in rows]):.2f}" for name in FIGURES]
            table.append(("slope", *slopes, ""))
        print_table((field or "precision", *FIGURES.values(), "refused"), table)


def draw(report: Path) -> Path:
    """Draw throughput and processor time over size, clients and cores, and return the PNG's path."""
    from matplotlib.figure import Figure

    measured = json.loads(report.read_text())["measured"]
    axes = [axis for axis in AXES if AXES[axis] and any(each["axis"] == axis for each in measured)]
    figure = Figure(figsize=(4.6 * len(axes), 7.2), layout="constrained")
    for column, axis in enumerate(axes):
        for row, name in enumerate(("pictures_per_s", "cpu_s")):
            plot = figure.add_subplot(2, len(axes), row * len(axes) + column + 1)
            for series in dict.fromkeys(each["series"] for each in measured if each["axis"] == axis):
                line = [each for each in measured if each["series"] == series]
                causes = [each[AXES[axis]] for each in line]
                plot.plot(causes, [each[name] for each in line], marker="o", label=series.partition(": ")[2])
            plot.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel=FIGURES[name])
            plot.set_xticks(causes, [f"{cause:g}" for cause in causes])
            plot.set_xticks([], minor=True)
            for ticks in (plot.yaxis.set_major_formatter, plot.yaxis.set_minor_formatter):
                ticks("{x:g}")
            plot.grid(alpha=0.3, which="both")
            plot.legend(fontsize="small")
    path = report.with_suffix(".png")
    figure.savefig(path, dpi=80)
    return path


def main() -> None:
    """Measure and print the report, or draw one."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--json", type=Path, default=Path("growth.json"))
    parser.add_argument("--draw", type=Path, help="draw this report instead of measuring")
    args = parser.parse_args()
    if args.draw:
        print(draw(args.draw))
        return
    conditions = machine()
    chosen = points(args.axes, cores=len(os.sched_getaffinity(0)))
    measured = run(chosen, rounds=args.rounds, seconds=args.seconds, models_dir=args.models_dir)
    args.json.write_text(json.dumps({"machine": conditions, "measured": measured}, indent=1))
    print(f"{conditions}\n")
    print_report(measured)


if __name__ == "__main__":
    main()
