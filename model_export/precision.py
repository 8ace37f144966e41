"""Precision: chooses float32 or bfloat16 for a training run whose recipe leaves that to the machine.

A processor with bfloat16 is not always faster with it, so on a CPU both are timed
(``benchmarks/training_precision.py``). The choice is written to the run's recipe, so that a resumed run does
not choose again.
"""

import copy
import time
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]
PICTURES = 2
"""The batch that is timed; one picture is too few for a normalisation over 1 × 1."""
ITERATIONS = 4
"""The first iterations are slower: the kernel provides the memory, and oneDNN compiles."""


def fastest_precision(network: nn.Module, size_px: int, device: torch.device) -> Precision:
    """Return the precision in which a network trains faster on a device.

    Args:
        network: Not changed; a copy of it is timed.
        size_px: Side of the pictures.
        device: On a GPU, bfloat16 is always faster if the hardware has it.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    pictures = torch.zeros(PICTURES, 3, size_px, size_px).to(memory_format=torch.channels_last)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    return min(precisions, key=lambda each: seconds_per_iteration(copy.deepcopy(network), pictures, each))


def seconds_per_iteration(network: nn.Module, pictures: Tensor, precision: Precision) -> float:
    """Return the seconds of a forward and backward pass on a CPU: the fastest of a few iterations.

    Args:
        network: Its gradients and the statistics of its normalisations change.
        pictures: (N, 3, S, S) float32.
        precision: The precision of the multiplications.
    """
    network.train()
    seconds = []
    for _ in range(ITERATIONS):
        began_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = network(pictures)
        torch.stack([output.float().mean() for output in outputs]).sum().backward()
        seconds.append(time.perf_counter() - began_s)
    return min(seconds)
