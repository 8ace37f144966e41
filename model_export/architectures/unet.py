"""U-Net: a path down, a path up, and crops of the one concatenated to the other.

As printed it convolves without padding, so that an input of 572 pixels a side gives 388, and no output
pixel sees anything invented; a picture is mirrored by 92 pixels at its borders, and a large one is tiled.
The variant with padding is what most later work calls U-Net.

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
MARGIN_PX = 92  # what the valid convolutions take on each side
MIN_OUTPUT_PX, STEP_PX = 4, 16  # legal outputs are 4 + 16 k pixels a side


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
    """The variant with padding, over one class.

    Args:
        classes: Score maps.
        batch_norm: Normalise before each ReLU. Not in the paper.
    """

    def __init__(self, *, classes: int = 1, batch_norm: bool = False) -> None:
        super().__init__()
        self.body = _Body(classes, padding=1, batch_norm=batch_norm)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, classes, H, W), of (N, 3, H, W) float32 of any H and W."""
        height, width = normalised.shape[-2:]
        padded = functional.pad(normalised, (0, -width % STEP_PX, 0, -height % STEP_PX))
        return (self.body(padded)[:, :, :height, :width],)


class ValidUNet(nn.Module):
    """The network as printed, over two classes, whose difference of scores is the logit.

    The softmax over two classes is the sigmoid of that difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = _Body(2, padding=0, batch_norm=False)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, 1, H, W), of (N, 3, H, W) float32; H and W are at least 109."""
        height, width = normalised.shape[-2:]
        return (self.valid(_mirrored(normalised))[:, :, :height, :width],)

    def valid(self, mirrored: Tensor) -> Tensor:
        """Return the logits (N, 1, H - 184, W - 184) of (N, 3, H, W), H and W of 188 + 16 k."""
        scores = self.body(mirrored)
        return scores[:, 1:] - scores[:, :1]


def overlap_tile(network: ValidUNet, normalised: Tensor, *, tile_px: int = 388) -> Tensor:
    """Segment a picture of any size tile by tile, with the result of one large run.

    Each tile is computed from itself and the 92 pixels around it, mirrored at the picture's border. Tiles
    begin 16 k pixels apart, as poolings have to fall where they would in the large run; so they overlap by 4,
    and the last ones by more, since they end with the picture.

    Args:
        network: In evaluation mode.
        normalised: (N, 3, H, W) float32; H and W at least 109.
        tile_px: Side of a tile's output, 4 + 16 k.

    Returns:
        Logits (N, 1, H, W).

    Raises:
        ValueError: A tile cannot have that side.
    """
    if tile_px < MIN_OUTPUT_PX or (tile_px - MIN_OUTPUT_PX) % STEP_PX:
        raise ValueError(f"A tile has 4 + 16 k pixels a side, not {tile_px}.")
    height, width = normalised.shape[-2:]
    mirrored = _mirrored(normalised)
    legal_height, legal_width = (side - 2 * MARGIN_PX for side in mirrored.shape[-2:])
    whole = normalised.new_empty(normalised.shape[0], 1, legal_height, legal_width)
    for top, bottom in _tiles(legal_height, tile_px):
        for left, right in _tiles(legal_width, tile_px):
            seen = mirrored[:, :, top : bottom + 2 * MARGIN_PX, left : right + 2 * MARGIN_PX]
            whole[:, :, top:bottom, left:right] = network.valid(seen)
    return whole[:, :, :height, :width]


class _Body(nn.Module):
    """The two paths; without padding the skips are cropped to what is above them."""

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
                # As the paper asks: a normal distribution of variance 2 / N, N the inputs of a neuron.
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
    """Cut a skip down to the size of what it is joined to, around its centre."""
    top, left = (skip.shape[-2] - target.shape[-2]) // 2, (skip.shape[-1] - target.shape[-1]) // 2
    return skip[:, :, top : top + target.shape[-2], left : left + target.shape[-1]]


def _legal_output(side_px: int) -> int:
    return MIN_OUTPUT_PX + STEP_PX * math.ceil(max(0, side_px - MIN_OUTPUT_PX) / STEP_PX)


def _mirrored(normalised: Tensor) -> Tensor:
    """Mirror a picture by what the network takes, and at the right and below up to a legal size."""
    right, bottom = (
        MARGIN_PX + _legal_output(side) - side for side in (normalised.shape[-1], normalised.shape[-2])
    )
    return functional.pad(normalised, (MARGIN_PX, right, MARGIN_PX, bottom), mode="reflect")


def _tiles(side_px: int, tile_px: int) -> list[tuple[int, int]]:
    """Return where tiles begin and end along a side."""
    if side_px <= tile_px:
        return [(0, side_px)]
    step = max(STEP_PX, tile_px - MIN_OUTPUT_PX)
    starts = [*range(0, side_px - tile_px, step), side_px - tile_px]
    return [(start, start + tile_px) for start in starts]
