"""GPU: checks and times everything that depends on a CUDA card, in ten minutes, from one command.

    python -m benchmarks.gpu [--model u2net] [--minutes 10] [--out bench-gpu]
    python -m benchmarks.gpu --dry-run      # everything on the CPU, briefly: shows that the benchmark works

Writes ``gpu.json`` and ``gpu.md``. Steps run in order of importance within the time; a step that fails, lacks
something or has no time left is recorded with its reason and ends no other. The report is written after the
last one, and says which figures are missing.
Exits with 1 if CUDA is not active, if a step failed, or if a map of a configuration is further than 1/255
from the CPU's float32 map.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.gpu_service import find_limit, measure_host, measure_service
from benchmarks.gpu_steps import (
    CONFIGURATIONS,
    Bench,
    Json,
    Step,
    describe_device,
    measure_configuration,
    run_steps,
)
from benchmarks.report import ROOT, machine, table_cell, table_lines

SECONDS_PER_MINUTE = 0.7
"""The length of one measurement for each minute of the whole; about fifty are made."""
DRY_RUN_S = 0.2

_MEASURED = [Step(each.name, measure_configuration(each)) for each in CONFIGURATIONS]
STEPS = (
    Step("device", describe_device, 0.0),
    *_MEASURED[:2],
    Step("service over HTTP", measure_service, 40.0),
    *_MEASURED[2:5],
    Step("host without the network", measure_host, 30.0),
    Step("limit", find_limit, 0.0),
    *_MEASURED[5:],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the report, and return the exit code."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__, formatter_class=layout)
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no step after this time")
    parser.add_argument("--megapixels", type=float, default=1.0, help="the picture that is sent over HTTP")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-gpu")
    parser.add_argument(
        "--dry-run", action="store_true", help="run on the CPU, with few and short measurements"
    )
    args = parser.parse_args(arguments)
    bench = Bench(
        args.models_dir, args.model, "cuda", SECONDS_PER_MINUTE * args.minutes, megapixels=args.megapixels
    )
    if args.dry_run:
        bench = Bench(
            *(args.models_dir, args.model, "cpu", DRY_RUN_S),
            batches=(1, 2),
            clients=(1, 2),
            megapixels=min(args.megapixels, 0.3),
        )
    rows = run_steps(STEPS, bench, seconds=60 * args.minutes, now_s=time.monotonic)
    report = {"machine": machine(), "model": args.model, "device": bench.device, "steps": rows}
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "gpu.md").write_text(markdown(report))
    print(markdown(report))
    return int(
        rows[0]["status"] != "done" or any(row["status"] == "failed" or _is_inexact(row) for row in rows)
    )


def markdown(report: Json) -> str:
    """Return the report as text: tables of steps, of configurations by batch, of the service by clients."""
    steps: list[Json] = report["steps"]
    done = {row["step"]: row["figures"] for row in steps if row["status"] == "done"}
    lines = [
        f"# {report['model']} on {report['device']}",
        "",
        f"{report['machine']}.",
        "",
        *table_lines(("step", "status", "s", "remarks"), (_step_row(row) for row in steps)),
        "",
        "Network alone; the map is compared with the float32 map of the CPU.",
        "",
        *table_lines(
            ("configuration", "batch", "pictures/s", "p50, ms", "p95, ms", "max difference, of 1/255"),
            _batch_rows(done),
        ),
    ]
    for name in ("service over HTTP", "host without the network"):
        if name in done:
            header = ("path", "clients", "pictures/s", "p50, ms", "p95, ms", "CPU ms", "errors")
            lines += ["", f"{name[0].upper()}{name[1:]}:", "", *table_lines(header, _load_rows(done[name]))]
    for path, limit in done.get("limit", {}).items():
        lines += ["", f"{path}: " + ", ".join(f"{name} {_text(value)}" for name, value in limit.items())]
    return "\n".join([*lines, ""])


def _is_inexact(row: Json) -> bool:
    return row["status"] == "done" and row["figures"].get("within 1/255") is False


def _step_row(row: Json) -> tuple[str, ...]:
    figures = row.get("figures", {})
    remarks = [
        row.get("reason", ""),
        *(f"{n}: {_text(v)}" for n, v in figures.items() if not isinstance(v, dict)),
    ]
    return (
        row["step"],
        row["status"],
        f"{row['seconds']:.1f}",
        table_cell("; ".join(each for each in remarks if each)),
    )


def _batch_rows(done: Json) -> Iterable[tuple[str, ...]]:
    for name, figures in done.items():
        for size, batch in figures.get("batches", {}).items():
            if "failed" in batch:
                yield name, size, "failed", table_cell(batch["failed"]), "", ""
                continue
            numbers = (batch["rate"], batch["p50_ms"], batch["p95_ms"], 255 * batch["max difference"])
            yield name, size, *(_text(number) for number in numbers)


def _load_rows(figures: Json) -> Iterable[tuple[str, ...]]:
    for path, loads in figures.items():
        for clients, load in loads.items():
            yield path, clients, *(_text(load[n]) for n in ("rate", "p50_ms", "p95_ms", "cpu_ms", "errors"))


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
