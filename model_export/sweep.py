"""Series: several recipes are trained in one go, side by side, to spend an hour on a borrowed GPU well.

    python -m model_export series stdc1 stdc2 --data DIR --judge DIR --out runs --minutes 25 --at-once 2

Every recipe is its own process and its own run in ``--out/NAME``; a second call goes on where the first was
stopped. At the end each best network is judged on other pictures, and its weights are kept in half precision
beside the run, which is what travels home from a machine that is given back.
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


class SeriesFailed(CommandFailed):
    """None of the recipes came to an end."""


def declare_series(sub: argparse.ArgumentParser) -> None:
    """Declare what ``series`` is asked."""
    sub.add_argument("names", nargs="+", metavar="NAME", help="recipes")
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help="pictures to learn from")
    sub.add_argument("--judge", type=Path, metavar="DIR", help="other pictures to judge by")
    sub.add_argument("--out", required=True, type=Path, metavar="DIR", help="a folder for the runs")
    sub.add_argument("--minutes", type=float, default=25.0, help="of each recipe (25)")
    sub.add_argument("--at-once", type=int, default=1, help="how many recipes at a time (1)")
    sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for all recipes")


def run_series(asked: argparse.Namespace) -> list[str]:
    """Train all recipes, and return the lines of a table of what came of them.

    Raises:
        SeriesFailed: None has a network to show.
    """
    asked.out.mkdir(parents=True, exist_ok=True)
    aloud = threading.Lock()

    def one(name: str) -> None:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            _command(name, asked), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with (asked.out / f"{Path(name).stem}.log").open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                with aloud:
                    sys.stderr.write(f"{name}: {line}")
        process.wait()

    with ThreadPoolExecutor(asked.at_once) as pool:
        list(pool.map(one, asked.names))
    lines = summary(asked.out, asked.names, asked.judge, asked.device)
    (asked.out / SUMMARY).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


def summary(out: Path, names: Sequence[str], judge_by: Path | None, device: str) -> list[str]:
    """Judge the best network of every run, keep it in half precision, and return a table.

    Raises:
        SeriesFailed: There is none.
    """
    from model_export.checkpoint import trained_network, write_half
    from model_export.datasets import decode_dataset
    from model_export.train import BEST, device_of, judge

    lines = [
        "| recipe | epochs | minutes | MAE held out | maxF held out | MAE judged | maxF judged |",
        "|---" * 7 + "|",
    ]
    done = [(name, out / Path(name).stem / BEST) for name in names]
    for name, path in [(name, path) for name, path in done if path.is_file()]:
        network, run = trained_network(path)
        write_half(path.with_name(HALF), run, network)
        row = run.progress.curves[run.progress.best_epoch - 1]
        figures = [row["mae"], row["max_f"]]
        if judge_by is not None:
            where = device_of(device)
            others = decode_dataset(judge_by, run.recipe.size_px)
            figures += judge(network.to(where), others, run.recipe, where)
        shown = " | ".join([*(f"{figure:.4f}" for figure in figures), *["–"] * (4 - len(figures))])
        lines.append(f"| {name} | {run.progress.epoch} | {run.progress.seconds / 60:.1f} | {shown} |")
    if len(lines) == 2:
        raise SeriesFailed(f"No recipe has a network to show; the logs are in {out}.")
    return lines


def _command(name: str, asked: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "model_export", "train", name, "--resume"]
    command += ["--data", str(asked.data), "--out", str(asked.out / Path(name).stem)]
    command += ["--minutes", str(asked.minutes), "--device", asked.device]
    return command + [part for change in asked.set for part in ("--set", change)]
