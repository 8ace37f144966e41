"""Cost: the parameters of a network, and the multiplications that one picture takes."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

TRAINING_ONLY = "training_heads."


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are served; heads used only in training are left out."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith(TRAINING_ONLY)
    )


def count_macs(network: nn.Module, size_px: int) -> int:
    """Return the multiply-accumulates of the convolutions for one picture, in evaluation mode.

    Papers often print this number as FLOPs; a FLOP is half a multiply-accumulate.

    Args:
        network: On the meta device, so that nothing is computed.
        size_px: Height and width of the picture.
    """
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network.eval()(torch.empty(1, 3, size_px, size_px, device="meta"))
    return int(counter.get_total_flops()) // 2
