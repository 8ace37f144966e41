"""Precision: float32 against int8 on this machine, interleaved, and the memory of a process with each.

    python -m benchmarks.precision [--model u2netp --model u2net] [--rounds 12]

A round runs both graphs once on the same pictures, in an order that alternates; the ratio is the median over
the rounds. The peak memory is that of a fresh process that loads one graph and runs it.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.engine.models.manifest import FLOAT32, read_manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime
from benchmarks.report import print_machine, print_table

BATCHES = (1, 8)


def seconds_of(session: onnxruntime.InferenceSession, pictures: NDArray[np.uint8]) -> float:
    """Return the seconds of one run."""
    started_s = time.perf_counter()
    session.run(None, {"network_input": pictures})
    return time.perf_counter() - started_s


def interleaved(
    sessions: tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession],
    pictures: NDArray[np.uint8],
    rounds: int,
) -> tuple[float, float, float]:
    """Return the median seconds of both sessions, and the median ratio of the first to the second."""
    for session in sessions:
        seconds_of(session, pictures)
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            seconds[which].append(seconds_of(sessions[which], pictures))
    ratios = [one / other for one, other in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), statistics.median(ratios)


def peak_mib(model: str, precision: str, models_dir: Path, batch: int) -> float:
    """Return the peak resident memory of a process that runs one graph three times."""
    command = [sys.executable, "-m", "benchmarks.precision", "--models-dir", str(models_dir)]
    command += ["--model", model, "--alone", precision, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_alone(model: str, precision: str, models_dir: Path, batch: int) -> None:
    """Run one graph, and print the peak memory of this process in MiB."""
    session = load(model, precision, models_dir)
    for _ in range(3):
        session.run(None, {"network_input": example(batch)})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def load(model: str, precision: str, models_dir: Path) -> onnxruntime.InferenceSession:
    """Load a verified graph on the CPU."""
    folder = models_dir / model
    model_bytes = read_model(folder, read_manifest(folder), precision)
    return onnxruntime.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])


def example(batch: int) -> NDArray[np.uint8]:
    """Return pictures of noise; the time does not depend on what is in them."""
    return np.random.default_rng(0).integers(0, 256, (batch, 320, 320, 3), np.uint8)


def main() -> None:
    """Print a table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--model", action="append")
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    models = args.model or ["u2netp", "u2net"]
    if args.alone is not None:
        run_alone(models[0], args.alone, args.models_dir, args.batch)
        return
    print_machine()
    rows = []
    for model in models:
        sessions = load(model, FLOAT32, args.models_dir), load(model, "int8", args.models_dir)
        for batch in BATCHES:
            one, other, ratio = interleaved(sessions, example(batch), max(2, args.rounds // batch))
            memory = [peak_mib(model, each, args.models_dir, batch) for each in (FLOAT32, "int8")]
            seconds = [f"{1e3 * one:.0f} ms", f"{1e3 * other:.0f} ms", f"{ratio:.2f} ×"]
            rows.append([model, str(batch), *seconds, *(f"{each:.0f} MiB" for each in memory)])
    print_table(("model", "batch", FLOAT32, "int8", "faster", f"peak {FLOAT32}", "peak int8"), rows)


if __name__ == "__main__":
    main()
