"""Dense prediction: two exact ways to get scores for every pixel from a network with strides.

Shift-and-stitch runs the network once for each shift of the picture below its stride, and interlaces the
results. Filter rarefaction, also called "à trous", removes the strides and dilates all later filters instead.
Both give the same scores; the paper compares them with upsampling, which it prefers.

References:
    Long, Shelhamer and Darrell 2015, arXiv:1411.4038, section 3.2.
"""

import copy
from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

Pair = tuple[int, int]
POINTWISE = (nn.ReLU, nn.BatchNorm2d, nn.Dropout, nn.Identity)


def shift_and_stitch(network: Callable[[Tensor], Tensor], pictures: Tensor, *, stride: int) -> Tensor:
    """Return the scores of a network at every pixel where its receptive field is inside the picture.

    The picture loses its first rows and columns where the paper pads it by as many, so scores of receptive
    fields that reach beyond the picture are left out.

    Args:
        network: Takes (N, 3, H, W), and returns (N, C, (H - R) // stride + 1, …) for its receptive field R.
        pictures: (N, 3, H, W), H and W at least R + stride - 1.
        stride: The product of the network's strides.

    Returns:
        (N, C, H - R + 1, W - R + 1).
    """
    parts = [[network(pictures[:, :, down:, right:]) for right in range(stride)] for down in range(stride)]
    height = sum(row[0].shape[-2] for row in parts)
    width = sum(part.shape[-1] for part in parts[0])
    first = parts[0][0]
    stitched = first.new_empty(first.shape[0], first.shape[1], height, width)
    for down, row in enumerate(parts):
        for right, part in enumerate(row):
            stitched[:, :, down::stride, right::stride] = part
    return stitched


def rarefied(network: nn.Sequential) -> nn.Sequential:
    """Return a copy of a network without strides, whose later filters are dilated by the strides before them.

    The copy has the same weights. A padding of the network becomes one of as many fine pixels, which agrees
    with shift-and-stitch away from the borders only.

    Args:
        network: Convolutions and poolings, nested in sequences, with ReLU, batch normalisation and dropout.

    Raises:
        ValueError: A layer is of another kind, or has different strides along the two axes.
    """
    rare = nn.Sequential(*(copy.deepcopy(layer) for layer in _flat(network)))
    spread = 1  # the product of the strides so far
    for layer in rare:
        if isinstance(layer, POINTWISE):
            continue
        if not isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            raise ValueError(f"{type(layer).__name__} cannot be made rare.")
        stride = _pair(layer.stride)
        if stride[0] != stride[1]:
            raise ValueError(f"The strides {stride} differ.")
        layer.stride = (1, 1)
        layer.dilation = tuple(spread * side for side in _pair(layer.dilation))
        layer.padding = tuple(spread * side for side in _pair(layer.padding))
        spread *= stride[0]
    return rare


def _flat(network: nn.Sequential) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for layer in network:
        layers += _flat(layer) if isinstance(layer, nn.Sequential) else [layer]
    return layers


def _pair(value: object) -> Pair:
    """Return an attribute of a layer, which torch stores as one or two numbers, as two."""
    return (value, value) if isinstance(value, int) else cast(Pair, value)
