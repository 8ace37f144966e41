"""Training heap: the speed-up of training on a CPU if freed arrays stay in the process.

    .venv-export/bin/python -m benchmarks.training_heap [--rounds 3]

Each network is trained for a few iterations on noise in a separate process, alternately with glibc's defaults
and with the settings of ``train`` (``model_export/malloc.py``). Prints the medians of the seconds per
iteration, the share of time in the kernel and the peak resident memory, and the speed-up.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from benchmarks.report import ROOT, print_machine, print_table
from model_export.architectures import ARCHITECTURES
from model_export.losses import bce_dice
from model_export.malloc import keep_freed_memory

SHAPES = {"u2netp": (320, 4), "u2net": (320, 2), "stdc1": (224, 16), "unetpp_bn": (96, 8)}
ITERATIONS, WARM_UP_ITERATIONS = 8, 3


def main() -> None:
    """Print a row for each network."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "MODE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, mode = args.child
        if mode == "kept":
            keep_freed_memory()
        print(json.dumps(measure(name)))
        return
    print_machine()
    rows = []
    for name, (size_px, batch) in SHAPES.items():
        figures_by_mode: dict[str, list[dict[str, float]]] = {"kept": [], "returned": []}
        for _ in range(args.rounds):
            for mode, figures in figures_by_mode.items():
                figures.append(measure_in_child(name, mode))
        medians = {mode: _medians(figures) for mode, figures in figures_by_mode.items()}
        kept, returned = medians["kept"], medians["returned"]
        rows.append(
            (
                f"{name}, {batch} of {size_px} px",
                f"{returned['iteration_s']:.2f} s, {returned['kernel']:.0%}, {returned['peak_mb']:.0f} MB",
                f"{kept['iteration_s']:.2f} s, {kept['kernel']:.0%}, {kept['peak_mb']:.0f} MB",
                f"{returned['iteration_s'] / kept['iteration_s']:.2f}",
            )
        )
    print_table(("network", "returned: iteration, in the kernel, peak", "kept", "times as fast"), rows)


def measure_in_child(name: str, mode: str) -> dict[str, float]:
    """Measure in a separate process, because the glibc settings cannot be undone."""
    command = [sys.executable, "-m", "benchmarks.training_heap", "--child", name, mode]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def measure(name: str) -> dict[str, float]:
    """Train a network on noise; return seconds per iteration, the kernel's share and the peak memory."""
    size_px, batch = SHAPES[name]
    torch.manual_seed(0)
    network = ARCHITECTURES[name]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    pictures = torch.rand(batch, 3, size_px, size_px).to(memory_format=torch.channels_last)
    truth = (torch.rand(batch, 1, size_px, size_px) > 0.5).float()
    seconds = []
    for _ in range(ITERATIONS):
        began_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(pictures)
        optimizer.zero_grad(set_to_none=True)
        bce_dice([each.float() for each in outputs], truth).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began_s)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "iteration_s": statistics.median(seconds[WARM_UP_ITERATIONS:]),
        "kernel": used.ru_stime / (used.ru_stime + used.ru_utime),
        "peak_mb": used.ru_maxrss / 1024,
    }


def _medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in figures) for key in figures[0]}


if __name__ == "__main__":
    main()
