"""Training heap: what a step of training on a CPU gains where freed arrays stay with the process.

    .venv-export/bin/python -m benchmarks.training_heap [--rounds 3]

Each network takes a few steps on noise in a process of its own, in turn as glibc does it by default and as
``train`` does it (``model_export/malloc.py``). Printed are medians: of seconds a step, of the share of time
in the kernel and of the largest resident memory; and how many times as fast the latter is.
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
STEPS, WARM_UP = 8, 3


def main() -> None:
    """Print a row for each network."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("NAME", "HOW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, how = args.child
        if how == "kept":
            keep_freed_memory()
        print(json.dumps(measured(name)))
        return
    print_machine()
    rows = []
    for name, (size_px, batch) in SHAPES.items():
        found: dict[str, list[dict[str, float]]] = {"kept": [], "returned": []}
        for _ in range(args.rounds):
            for how, figures in found.items():
                figures.append(in_child(name, how))
        sandboxes = {how: _medians(figures) for how, figures in found.items()}
        kept, returned = sandboxes["kept"], sandboxes["returned"]
        rows.append(
            (
                f"{name}, {batch} of {size_px} px",
                f"{returned['step_s']:.2f} s, {returned['kernel']:.0%}, {returned['peak_mb']:.0f} MB",
                f"{kept['step_s']:.2f} s, {kept['kernel']:.0%}, {kept['peak_mb']:.0f} MB",
                f"{returned['step_s'] / kept['step_s']:.2f}",
            )
        )
    print_table(("network", "returned: step, in the kernel, peak", "kept", "times as fast"), rows)


def in_child(name: str, how: str) -> dict[str, float]:
    """Measure in a process of its own, as glibc is told once."""
    command = [sys.executable, "-m", "benchmarks.training_heap", "--child", name, how]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def measured(name: str) -> dict[str, float]:
    """Train a network on noise, and return the seconds of a step, the kernel's share and the peak."""
    size_px, batch = SHAPES[name]
    torch.manual_seed(0)
    network = ARCHITECTURES[name]().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    pictures = torch.rand(batch, 3, size_px, size_px).to(memory_format=torch.channels_last)
    truth = (torch.rand(batch, 1, size_px, size_px) > 0.5).float()
    seconds = []
    for _ in range(STEPS):
        began_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(pictures)
        optimizer.zero_grad(set_to_none=True)
        bce_dice([each.float() for each in outputs], truth).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began_s)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "step_s": statistics.median(seconds[WARM_UP:]),
        "kernel": used.ru_stime / (used.ru_stime + used.ru_utime),
        "peak_mb": used.ru_maxrss / 1024,
    }


def _medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in figures) for key in figures[0]}


if __name__ == "__main__":
    main()
