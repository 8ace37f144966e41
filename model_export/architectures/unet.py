"""U-Net: a contracting and an expanding path, with cropped skip connections between them.

The paper's network convolves without padding, so an input of 572 pixels per side gives 388 and no output
pixel depends on padded values; pictures are mirrored by 92 pixels at their borders, and large ones are tiled.
Most later work uses the name U-Net for the variant with padding, whose width, depth and way of enlarging are
options here: 31.03 million parameters as printed, 28.94 with bilinear enlargement, 7.76 at half the width and
1.94 at a quarter.

References:
    Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI
    2015, arXiv:1505.04597.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.layers import DoubleConv

WIDTH, DEPTH = 64, 4  # channels of the first level, and levels below it
MARGIN_PX = 92  # removed by the valid convolutions on each side
MIN_OUTPUT_PX, STEP_PX = 4, 16  # possible outputs are 4 + 16 k pixels per side


def unet(
    *,
    width: int = WIDTH,
    depth: int = DEPTH,
    bilinear: bool = False,
    batch_norm: bool = False,
    classes: int = 1,
) -> nn.Module:
    """Build the variant with padding: 31.03 million parameters.

    Args:
        width: Channels of the first level; each level below has twice as many.
        depth: Levels below the first.
        bilinear: Enlarge bilinearly, and halve the channels by 1×1 convolutions.
        batch_norm: Normalise before each ReLU.
        classes: Number of score maps.
    """
    return UNet(classes=classes, width=width, depth=depth, bilinear=bilinear, batch_norm=batch_norm)


def unet_valid(*, width: int = WIDTH) -> nn.Module:
    """Build the network as printed: 23 valid convolutions, two classes, mirrored borders."""
    return ValidUNet(width=width)


class UNet(nn.Module):
    """The variant with padding, for one class by default.

    Args:
        classes: Number of score maps.
        width: Channels of the first level; each level below has twice as many.
        depth: Levels below the first.
        bilinear: Enlarge bilinearly, and halve the channels by 1×1 convolutions; the paper's transposed
            convolutions of 2×2 have four times the parameters.
        batch_norm: Normalise before each ReLU. Not in the paper.

    Raises:
        ValueError: Width or depth is less than 1.
    """

    def __init__(
        self,
        *,
        classes: int = 1,
        width: int = WIDTH,
        depth: int = DEPTH,
        bilinear: bool = False,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if min(width, depth) < 1:
            raise ValueError(f"width and depth are at least 1, not {width} and {depth}.")
        self.multiple_px = 2**depth
        channels = [width * 2**level for level in range(depth + 1)]
        self.body = _Body(classes, channels, padding=1, bilinear=bilinear, batch_norm=batch_norm)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, classes, H, W), for (N, 3, H, W) float32 of any H and W."""
        height, width = normalised.shape[-2:]
        padded = functional.pad(normalised, (0, -width % self.multiple_px, 0, -height % self.multiple_px))
        return (self.body(padded)[:, :, :height, :width],)


class ValidUNet(nn.Module):
    """The network as printed, with two classes; the difference of their scores is the logit.

    The softmax over two classes equals the sigmoid of that difference.

    Args:
        width: Channels of the first level; 64 in the paper.

    Raises:
        ValueError: The width is less than 1.
    """

    def __init__(self, *, width: int = WIDTH) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"The width is at least 1, not {width}.")
        channels = [width * 2**level for level in range(DEPTH + 1)]
        self.body = _Body(2, channels, padding=0, bilinear=False, batch_norm=False)

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
    check_tile(tile_px)
    height, width = normalised.shape[-2:]
    mirrored = _mirrored(normalised)
    padded_height, padded_width = (side - 2 * MARGIN_PX for side in mirrored.shape[-2:])
    rows, first_row = [], 0
    for top, bottom in _tiles(padded_height, tile_px):
        parts, first_column = [], 0
        for left, right in _tiles(padded_width, tile_px):
            tile = mirrored[:, :, top : bottom + 2 * MARGIN_PX, left : right + 2 * MARGIN_PX]
            # What an earlier tile covers is left out.
            parts.append(network.valid(tile)[:, :, first_row - top :, first_column - left :])
            first_column = right
        rows.append(torch.cat(parts, dim=3))
        first_row = bottom
    return torch.cat(rows, dim=2)[:, :, :height, :width]


def check_tile(tile_px: int) -> None:
    """Check the side of a tile's output.

    Raises:
        ValueError: A tile cannot have this side.
    """
    if tile_px < MIN_OUTPUT_PX or (tile_px - MIN_OUTPUT_PX) % STEP_PX:
        raise ValueError(f"A tile has 4 + 16 k pixels per side, not {tile_px}.")


class TiledUNet(nn.Module):
    """The network as printed, run tile by tile, so that a large picture takes the memory of one tile.

    Args:
        network: The network that computes the tiles.
        tile_px: Side of a tile's output, 4 + 16 k.

    Raises:
        ValueError: A tile cannot have this side.
    """

    def __init__(self, network: ValidUNet, tile_px: int) -> None:
        super().__init__()
        check_tile(tile_px)
        self.network, self.tile_px = network, tile_px

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits of ``overlap_tile``, one (N, 1, H, W)."""
        return (overlap_tile(self.network, normalised, tile_px=self.tile_px),)


class _Body(nn.Module):
    """The two paths; without padding, the skips are cropped to the size of the upsampled features."""

    def __init__(
        self, classes: int, channels: Sequence[int], *, padding: int, bilinear: bool, batch_norm: bool
    ) -> None:
        super().__init__()
        downs = pairwise((3, *channels))
        self.down = nn.ModuleList(
            DoubleConv(in_ch, out_ch, padding=padding, batch_norm=batch_norm) for in_ch, out_ch in downs
        )
        self.dropout = nn.Dropout()  # at the end of the contracting path
        rising = channels[::-1]
        self.enlarge = nn.ModuleList(
            _bilinear(below, above) if bilinear else nn.ConvTranspose2d(below, above, 2, stride=2)
            for below, above in pairwise(rising)
        )
        self.up = nn.ModuleList(
            DoubleConv(below, above, padding=padding, batch_norm=batch_norm)
            for below, above in pairwise(rising)
        )
        self.score = nn.Conv2d(channels[0], classes, 1)
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


def _bilinear(in_ch: int, out_ch: int) -> nn.Sequential:
    enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(enlarge, nn.Conv2d(in_ch, out_ch, 1))


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
