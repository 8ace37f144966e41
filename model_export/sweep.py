"""Sweep: trains several recipes in parallel, to use an hour on a rented GPU well.

    python -m model_export sweep stdc1 stdc2 --data DIR --judge DIR --out runs --minutes 25 --at-once 2

Each recipe is trained by its own process, as its own training run in ``--out/NAME``; repeating the command
resumes the runs. At the end, the best network of each run is judged on other pictures, and its weights are
also saved in half precision, to be copied from the rented machine.
"""

import argparse
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model_export.errors import CommandFailed

HALF = "half.safetensors"
SUMMARY = "summary.md"


class SweepFailed(CommandFailed):
    """None of the recipes produced a network."""


def declare_sweep(sub: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``sweep``."""
    sub.add_argument("names", nargs="+", metavar="NAME", help="recipes")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="pictures to learn from")
    sub.add_argument("--judge", type=Path, metavar="DIR", help="other pictures to judge by")
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder for the runs")
    sub.add_argument("--minutes", type=float, default=25.0, help="time for each recipe (25)")
    sub.add_argument("--at-once", type=int, default=1, help="how many recipes at a time (1)")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for all recipes")


def run_sweep(args: argparse.Namespace) -> list[str]:
    """Train all recipes, and return the lines of a table of their results.

    Raises:
        SweepFailed: No recipe produced a network.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    stderr_lock = threading.Lock()

    def train_one(name: str) -> None:
        process = subprocess.Popen(  # noqa: S603 - this package
            _command(name, args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with (args.out / f"{Path(name).stem}.log").open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                with stderr_lock:
                    sys.stderr.write(f"{name}: {line}")
        process.wait()

    with ThreadPoolExecutor(args.at_once) as pool:
        list(pool.map(train_one, args.names))
    lines = summary(args.out, args.names, args.judge, args.device)
    (args.out / SUMMARY).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def summary(out: Path, names: Sequence[str], judge_data: Path | None, device: str) -> list[str]:
    """Judge the best network of each run, save it in half precision, and return a table.

    Raises:
        SweepFailed: No run has a network.
    """
    from model_export.checkpoint import trained_network, write_half
    from model_export.datasets import find_sources
    from model_export.held_out import judge
    from model_export.labelled import decode_for_recipe
    from model_export.train import device_of
    from model_export.trainer import BEST

    lines = [
        "| recipe | epochs | minutes | MAE held out | maxF held out | MAE judged | maxF judged |",
        "|---" * 7 + "|",
    ]
    done = [(name, out / Path(name).stem / BEST) for name in names]
    for name, path in [(name, path) for name, path in done if path.is_file()]:
        network, run = trained_network(path)
        write_half(path.with_name(HALF), run, network)
        row = run.progress.best_row()
        figures = [row["mae"], row["max_f"]]
        if judge_data is not None:
            judge_device = device_of(device)
            dataset = decode_for_recipe(find_sources(judge_data, part="TE"), run.recipe)
            judged = judge(network.to(judge_device), dataset, run.recipe, judge_device)
            figures += [judged["mae"], judged["max_f"]]
        columns = " | ".join([*(f"{figure:.4f}" for figure in figures), *["–"] * (4 - len(figures))])
        lines.append(f"| {name} | {run.progress.epoch} | {run.progress.seconds / 60:.1f} | {columns} |")
    if len(lines) == 2:
        raise SweepFailed(f"No recipe produced a network; the logs are in {out}.")
    return lines


def _command(name: str, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "model_export", "train", name, "--resume"]
    command += ["--data", str(args.data), "--out", str(args.out / Path(name).stem)]
    command += ["--minutes", str(args.minutes), "--device", args.device]
    return command + [word for change in args.set for word in ("--set", change)]
