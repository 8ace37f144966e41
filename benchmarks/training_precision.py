"""Training precision: how much faster or slower is a training iteration in bfloat16 on this processor?

    .venv-export/bin/python -m benchmarks.training_precision [--rounds 3] [NAME ...]

For recipes with ``precision = "fastest"``, ``model_export/precision.py`` makes this choice. Each round
measures a network in both precisions in turn; the table has medians.
"""

import argparse
import statistics

import torch

from benchmarks.report import print_machine, print_table
from model_export.architectures import ARCHITECTURES
from model_export.malloc import keep_freed_memory
from model_export.precision import PICTURES, seconds_per_iteration

SIZE_PX = {"u2netp": 320, "u2net": 320, "stdc1": 224, "unetpp_bn": 224, "unet_bn": 224, "fcn8s": 96}


def main() -> None:
    """Print a row for each network."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", nargs="*", default=tuple(SIZE_PX))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print_machine()
    keep_freed_memory()
    rows = []
    for name in args.names:
        size_px = SIZE_PX.get(name, 224)
        network = ARCHITECTURES[name]().to(memory_format=torch.channels_last)
        pictures = torch.zeros(PICTURES, 3, size_px, size_px).to(memory_format=torch.channels_last)
        seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(args.rounds):
            seconds["float32"].append(seconds_per_iteration(network, pictures, "float32"))
            seconds["bfloat16"].append(seconds_per_iteration(network, pictures, "bfloat16"))
        single, half = (statistics.median(each) for each in seconds.values())
        shape = f"{name}, {PICTURES} of {size_px} px"
        rows.append((shape, f"{single:.2f} s", f"{half:.2f} s", f"{single / half:.2f}"))
    print_table(("network", "float32", "bfloat16", "times as fast in bfloat16"), rows)


if __name__ == "__main__":
    main()
