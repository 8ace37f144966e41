"""Class networks: an architecture becomes a network with one score map per class, or with one logit."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from model_export.architectures import ARCHITECTURES
from model_export.architectures.fcn import FCN
from model_export.architectures.lite import Lite
from model_export.architectures.stdc import STDC1_BLOCKS, STDC2_BLOCKS, STDCSeg
from model_export.architectures.unet import UNet
from model_export.architectures.unetpp import UNetPlusPlus

CLASS_NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "fcn32s": partial(FCN, 32),
    "fcn16s": partial(FCN, 16),
    "fcn8s": partial(FCN, 8),
    "fcn8s_bn": partial(FCN, 8, batch_norm=True),
    "unet": UNet,
    "unet_bn": partial(UNet, batch_norm=True),
    "unetpp": UNetPlusPlus,
    "unetpp_bn": partial(UNetPlusPlus, batch_norm=True),
    **{f"unetpp_l{depth}": partial(UNetPlusPlus, depth=depth) for depth in (1, 2, 3)},
    "stdc1": partial(STDCSeg, STDC1_BLOCKS),
    "stdc2": partial(STDCSeg, STDC2_BLOCKS),
    "lite": Lite,
}
"""The architectures that take any number of ``classes``.

U²-Net fuses side outputs of one map each, and the valid U-Net makes one logit of its two scores.
"""


def build_network(architecture: str, classes: int = 0) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        architecture: A name in ``ARCHITECTURES``; with classes, one in ``CLASS_NETWORKS``.
        classes: K, the channels of its score maps; 0 for one logit, the foreground's.
    """
    return CLASS_NETWORKS[architecture](classes=classes) if classes else ARCHITECTURES[architecture]()
