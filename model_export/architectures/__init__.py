"""Architectures: a name becomes a network with fresh weights.

Every network takes float32 (N, 3, S, S) and returns a tuple of logits, each (N, 1, S, S). The first map is
served; the others exist for deep supervision. Layers used only in training are in the network's
``training_heads`` and do not run in evaluation mode. The options of an architecture are the keyword arguments
of its entry here.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from model_export.architectures.fcn import fcn8s, fcn16s, fcn32s
from model_export.architectures.lite import lite
from model_export.architectures.stdc import stdc1, stdc2
from model_export.architectures.u2net import u2net, u2netp
from model_export.architectures.unet import unet, unet_valid
from model_export.architectures.unetpp import UNetPlusPlus, unetpp, unetpp_bn
from model_export.errors import CommandFailed

__all__ = ["ARCHITECTURES", "OptionInvalid", "build_network"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "u2net": u2net,
    "u2netp": u2netp,
    "fcn32s": fcn32s,
    "fcn16s": fcn16s,
    "fcn8s": fcn8s,
    "fcn8s_bn": partial(fcn8s, batch_norm=True),  # can be trained without ImageNet's weights
    "unet": unet,
    "unet_bn": partial(unet, batch_norm=True),
    "unet_valid": unet_valid,
    "unetpp": unetpp,
    "unetpp_bn": unetpp_bn,
    **{f"unetpp_l{depth}": partial(UNetPlusPlus, depth=depth) for depth in (1, 2, 3)},
    "stdc1": stdc1,
    "stdc2": stdc2,
    "lite": lite,
}


class OptionInvalid(CommandFailed):
    """An architecture does not have this option, or not with this value."""


def build_network(name: str, options: Mapping[str, bool | int | float]) -> nn.Module:
    """Build a network with fresh weights.

    Args:
        name: A key of ``ARCHITECTURES``.
        options: Keyword arguments of its entry, each of the type of the default.

    Raises:
        OptionInvalid: There is no such option, or it cannot have this value.
    """
    build = ARCHITECTURES[name]
    defaults = {
        option: parameter.default
        for option, parameter in inspect.signature(build).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for option, value in options.items():
        if option not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            raise OptionInvalid(f"{name} has no option {option}. It has: {known}.")
        if type(value) is not type(defaults[option]):
            kind = type(defaults[option]).__name__
            raise OptionInvalid(f"{name}: {option} must be of type {kind}, not {value!r}.")
    try:
        return build(**options)
    except ValueError as error:
        raise OptionInvalid(f"{name}: {error}") from error
