"""U-Net: a contracting and an expanding path, with cropped skip connections between them.

The paper's network convolves without padding, so an input of 572 pixels per side gives 388 and no output
pixel depends on padded values; pictures are mirrored by 92 pixels at their borders, and large ones are tiled.
Most later work uses the name U-Net for the variant with padding.

References:
    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI
    2015, arXiv:1505.04597.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.layers import DoubleConv

CHANNELS = (64, 128, 256, 512, 1024)
MARGIN_PX = 92  # removed by the valid convolutions on each side
MIN_OUTPUT_PX, STEP_PX = 4, 16  # possible outputs are 4 + 16 k pixels per side


def unet() -> nn.Module:
    """Build the variant with padding: 31.03 million parameters."""
    return UNet()


def unet_bn() -> nn.Module:
    """Build the variant with padding and batch normalisation."""
    return UNet(batch_norm=True)


def unet_valid() -> nn.Module:
    """Build the network as printed: 23 valid convolutions, two classes, mirrored borders."""
    return ValidUNet()


class UNet(nn.Module):
    """The variant with padding, for one class by default.

    Args:
        classes: Number of score maps.
        batch_norm: Normalise before each ReLU. Not in the paper.
    """

    def __init__(self, *, classes: int = 1, batch_norm: bool = False) -> None:
        super().__init__()
        self.body = _Body(classes, padding=1, batch_norm=batch_norm)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, classes, H, W), for (N, 3, H, W) float32 of any H and W."""
        height, width = normalised.shape[-2:]
        padded = functional.pad(normalised, (0, -width % STEP_PX, 0, -height % STEP_PX))
        return (self.body(padded)[:, :, :height, :width],)


class ValidUNet(nn.Module):
    """The network as printed, with two classes; the difference of their scores is the logit.

    The softmax over two classes equals the sigmoid of that difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = _Body(2, padding=0, batch_norm=False)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, 1, H, W), for (N, 3, H, W) float32; H and W are at least 109."""
        height, width = normalised.shape[-2:]
        return (self.valid(_mirrored(normalised))[:, :, :height, :width],)

    def valid(self, mirrored: Tensor) -> Tensor:
        """Return the logits (N, 1, H - 184, W - 184) for (N, 3, H, W); H and W are 188 + 16 k."""
        scores = self.body(mirrored)
        return scores[:, 1:] - scores[:, :1]


def overlap_tile(network: ValidUNet, normalised: Tensor, *, tile_px: int = 388) -> Tensor:
    """Segment a picture of any size tile by tile, with the same result as one large run.

    Each tile is computed from its own pixels and the 92 pixels around it, mirrored at the picture's border.
    Tiles start 16 k pixels apart, so that poolings are aligned as in the large run. They overlap by 4 pixels,
    the last ones by more, because they end with the picture.

    Args:
        network: In evaluation mode.
        normalised: (N, 3, H, W) float32; H and W at least 109.
        tile_px: Side of a tile's output, 4 + 16 k.

    Returns:
        Logits (N, 1, H, W).

    Raises:
        ValueError: A tile cannot have this side.
    """
    if tile_px < MIN_OUTPUT_PX or (tile_px - MIN_OUTPUT_PX) % STEP_PX:
        raise ValueError(f"A tile has 4 + 16 k pixels per side, not {tile_px}.")
    height, width = normalised.shape[-2:]
    mirrored = _mirrored(normalised)
    padded_height, padded_width = (side - 2 * MARGIN_PX for side in mirrored.shape[-2:])
    logits = normalised.new_empty(normalised.shape[0], 1, padded_height, padded_width)
    for top, bottom in _tiles(padded_height, tile_px):
        for left, right in _tiles(padded_width, tile_px):
            tile = mirrored[:, :, top : bottom + 2 * MARGIN_PX, left : right + 2 * MARGIN_PX]
            logits[:, :, top:bottom, left:right] = network.valid(tile)
    return logits[:, :, :height, :width]


class _Body(nn.Module):
    """The two paths; without padding, the skips are cropped to the size of the upsampled features."""

    def __init__(self, classes: int, *, padding: int, batch_norm: bool) -> None:
        super().__init__()
        downs = zip((3, *CHANNELS), CHANNELS, strict=False)
        self.down = nn.ModuleList(
            DoubleConv(in_ch, out_ch, padding=padding, batch_norm=batch_norm) for in_ch, out_ch in downs
        )
        self.dropout = nn.Dropout2d()  # at the end of the contracting path
        rising = CHANNELS[::-1]
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 2, stride=2) for below, above in pairwise(rising)
        )
        self.up = nn.ModuleList(
            DoubleConv(below, above, padding=padding, batch_norm=batch_norm)
            for below, above in pairwise(rising)
        )
        self.score = nn.Conv2d(CHANNELS[0], classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # As in the paper: a normal distribution with variance 2 / N, N being the inputs of a neuron.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for depth, layer in enumerate(self.down):
            if depth:
                features = functional.max_pool2d(features, 2)
            features = layer(features)
            skips.append(features)
        features = self.dropout(skips.pop())
        for enlarge, layer in zip(self.enlarge, self.up, strict=True):
            larger = enlarge(features)  # (N, 2C, H, W) -> (N, C, 2H, 2W)
            features = layer(torch.cat((_cropped(skips.pop(), larger), larger), dim=1))
        return self.score(features)


def _cropped(skip: Tensor, target: Tensor) -> Tensor:
    """Crop a skip around its centre to the size of ``target``."""
    top, left = (skip.shape[-2] - target.shape[-2]) // 2, (skip.shape[-1] - target.shape[-1]) // 2
    return skip[:, :, top : top + target.shape[-2], left : left + target.shape[-1]]


def _next_output_px(side_px: int) -> int:
    return MIN_OUTPUT_PX + STEP_PX * math.ceil(max(0, side_px - MIN_OUTPUT_PX) / STEP_PX)


def _mirrored(normalised: Tensor) -> Tensor:
    """Mirror a picture by the network's margin, and at the right and bottom up to a possible size."""
    right, bottom = (
        MARGIN_PX + _next_output_px(side) - side for side in (normalised.shape[-1], normalised.shape[-2])
    )
    return functional.pad(normalised, (MARGIN_PX, right, MARGIN_PX, bottom), mode="reflect")


def _tiles(side_px: int, tile_px: int) -> list[tuple[int, int]]:
    """Return the start and end of each tile along a side."""
    if side_px <= tile_px:
        return [(0, side_px)]
    step = max(STEP_PX, tile_px - MIN_OUTPUT_PX)
    starts = [*range(0, side_px - tile_px, step), side_px - tile_px]
    return [(start, start + tile_px) for start in starts]
