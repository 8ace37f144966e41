"""Architectures: a name becomes a network with fresh weights.

Every network takes float32 (N, 3, S, S) and returns a tuple of logits, each (N, 1, S, S), of
which the first is the one to serve; the others exist for deep supervision.
"""

from collections.abc import Callable

from torch import nn

from model_export.architectures.u2net import u2net, u2netp

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "u2net": u2net,
    "u2netp": u2netp,
}
