"""Architectures: a name becomes a network with fresh weights.

Every network takes float32 (N, 3, S, S) and returns a tuple of logits, each (N, 1, S, S). The first map is
served; the others exist for deep supervision. Layers used only in training are in the network's
``training_heads`` and do not run in evaluation mode.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from model_export.architectures.fcn import fcn8s, fcn8s_bn, fcn16s, fcn32s
from model_export.architectures.lite import lite
from model_export.architectures.stdc import stdc1, stdc2
from model_export.architectures.u2net import u2net, u2netp
from model_export.architectures.unet import unet, unet_bn, unet_valid
from model_export.architectures.unetpp import UNetPlusPlus, unetpp, unetpp_bn

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "u2net": u2net,
    "u2netp": u2netp,
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "fcn8s_bn": fcn8s_bn,
    "unet": unet,
    "unet_bn": unet_bn,
    "unet_valid": unet_valid,
    "unetpp": unetpp,
    "unetpp_bn": unetpp_bn,
    **{f"unetpp_l{depth}": partial(UNetPlusPlus, depth=depth) for depth in (1, 2, 3)},
    "stdc1": stdc1,
    "stdc2": stdc2,
    "lite": lite,
}
