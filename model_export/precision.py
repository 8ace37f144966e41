"""Precision: whether a run multiplies in float32 or in bfloat16, where its recipe leaves that to the machine.

That a processor has bfloat16 does not say that it is faster with it, so on a CPU both are tried
(``benchmarks/training_precision.py``). The run's recipe then says which, so that a resumed run does not
choose again.
"""

import copy
import time
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]
PICTURES = 2
"""How many are tried; one is too few for a normalisation over 1 × 1."""
STEPS = 4
"""The first ones are slower: the kernel brings the memory, and oneDNN compiles."""


def fastest_precision(network: nn.Module, size_px: int, device: torch.device) -> Precision:
    """Return the precision in which a network learns faster on a device.

    Args:
        network: Stays as it is; a copy of it goes forward and back.
        size_px: Side of the pictures.
        device: On a GPU, bfloat16 is the faster one wherever the hardware has it.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    pictures = torch.zeros(PICTURES, 3, size_px, size_px).to(memory_format=torch.channels_last)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    return min(precisions, key=lambda each: seconds_of_a_step(copy.deepcopy(network), pictures, each))


def seconds_of_a_step(network: nn.Module, pictures: Tensor, precision: Precision) -> float:
    """Return how long a network takes forward and back, on a CPU, in the fastest of a few steps.

    Args:
        network: Its gradients and the statistics of its normalisations are changed.
        pictures: (N, 3, S, S) float32.
        precision: What to multiply in.
    """
    network.train()
    seconds = []
    for _ in range(STEPS):
        began_s = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = network(pictures)
        torch.stack([output.float().mean() for output in outputs]).sum().backward()
        seconds.append(time.perf_counter() - began_s)
    return min(seconds)
