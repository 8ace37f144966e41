"""U²-Net: a U-shaped network in which every stage is a small U-shaped network.

Both published sizes are built from one parametric block and two tables. A row of a table is a stage as
printed in the paper: height L, input, middle and output channels.

References:
    Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection",
    Pattern Recognition 106:107404, 2020, arXiv:2005.09007.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE_OUTPUTS = 6


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the paper's table of stages; ``dilated`` marks the RSU-4F variant."""

    height: int
    in_ch: int
    mid_ch: int
    out_ch: int
    dilated: bool = False


# En_1 … En_6, then De_5 … De_1.
FULL_ENCODER = (
    Stage(7, 3, 32, 64),
    Stage(6, 64, 32, 128),
    Stage(5, 128, 64, 256),
    Stage(4, 256, 128, 512),
    Stage(4, 512, 256, 512, dilated=True),
    Stage(4, 512, 256, 512, dilated=True),
)
FULL_DECODER = (
    Stage(4, 1024, 256, 512, dilated=True),
    Stage(4, 1024, 128, 256),
    Stage(5, 512, 64, 128),
    Stage(6, 256, 32, 64),
    Stage(7, 128, 16, 64),
)
SMALL_ENCODER = (
    Stage(7, 3, 16, 64),
    Stage(6, 64, 16, 64),
    Stage(5, 64, 16, 64),
    Stage(4, 64, 16, 64),
    Stage(4, 64, 16, 64, dilated=True),
    Stage(4, 64, 16, 64, dilated=True),
)
SMALL_DECODER = (
    Stage(4, 128, 16, 64, dilated=True),
    Stage(4, 128, 16, 64),
    Stage(5, 128, 16, 64),
    Stage(6, 128, 16, 64),
    Stage(7, 128, 16, 64),
)


def u2net() -> nn.Module:
    """Build the full network: 44,009,869 parameters."""
    return U2Net(FULL_ENCODER, FULL_DECODER)


def u2netp() -> nn.Module:
    """Build the small network, U²-Net† in the paper: 1,131,181 parameters."""
    return U2Net(SMALL_ENCODER, SMALL_DECODER)


class U2Net(nn.Module):
    """Six encoder stages, five decoder stages, six side outputs and their fused map.

    Args:
        encoder: En_1 … En_6, from the resolution of the picture down.
        decoder: De_5 … De_1, from the bottom up.
    """

    def __init__(self, encoder: Sequence[Stage], decoder: Sequence[Stage]) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(_block(stage) for stage in encoder)
        self.decoder = nn.ModuleList(_block(stage) for stage in decoder)
        # S_side^(1) … S_side^(6): from De_1 … De_5 and En_6.
        side_ch = [stage.out_ch for stage in reversed(decoder)] + [encoder[-1].out_ch]
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, kernel_size=3, padding=1) for channels in side_ch)
        self.fuse = nn.Conv2d(SIDE_OUTPUTS, 1, kernel_size=1)

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        """Return seven logit maps, the fused one first, then the side outputs 1 to 6.

        Args:
            normalised: (N, 3, H, W) float32, normalised by mean and standard deviation. H and W are at
                least 32.

        Returns:
            Seven (N, 1, H, W) float32; the loss or the served graph applies the sigmoid.
        """
        skips: list[Tensor] = []
        features = normalised
        for depth, stage in enumerate(self.encoder):
            if depth:
                features = _halve(features)  # (N, C, H, W) -> (N, C, ceil(H/2), ceil(W/2))
            features = stage(features)  # (N, in_ch, H, W) -> (N, out_ch, H, W)
            skips.append(features)
        tops = [skips.pop()]
        for stage in self.decoder:
            skip = skips.pop()
            joined = torch.cat((_resize_like(tops[-1], skip), skip), dim=1)  # -> (N, C_below + C_skip, H, W)
            tops.append(stage(joined))
        side_outputs = [side(top) for side, top in zip(self.sides, reversed(tops), strict=True)]
        side_outputs = [_resize_like(logits, normalised) for logits in side_outputs]  # -> (N, 1, H, W) each
        fused = self.fuse(torch.cat(side_outputs, dim=1))  # (N, 6, H, W) -> (N, 1, H, W)
        return (fused, *side_outputs)


class RSU(nn.Module):
    """Residual U-block: a small U-Net whose result is added to the block's own input features.

    RSU-L has L - 1 encoder layers with L - 2 poolings between them, a bottom layer with dilation instead of
    pooling, and L - 1 decoder layers. The dilated variant, RSU-4F, has no pooling: its layers have dilations
    of 1, 2, 4 and 8 pixels, so that the deep, small maps keep their resolution.

    Args:
        height: L, the number of layers from the top to the bottom.
        in_ch: Channels of the input.
        mid_ch: Channels inside the small U.
        out_ch: Channels of the output.
        dilated: Build the variant without pooling.
    """

    def __init__(self, height: int, in_ch: int, mid_ch: int, out_ch: int, *, dilated: bool = False) -> None:
        super().__init__()
        levels = range(height - 1)
        reach = [2**level if dilated else 1 for level in levels]
        self.pools = not dilated
        self.entry = ConvBnRelu(in_ch, out_ch)
        self.encoder = nn.ModuleList(
            ConvBnRelu(mid_ch if level else out_ch, mid_ch, dilation=reach[level]) for level in levels
        )
        self.bottom = ConvBnRelu(mid_ch, mid_ch, dilation=2 ** (height - 1) if dilated else 2)
        self.decoder = nn.ModuleList(
            ConvBnRelu(2 * mid_ch, mid_ch if level else out_ch, dilation=reach[level])
            for level in reversed(levels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, H, W) float32 for (N, in_ch, H, W) float32, of any H and W."""
        entry = self.entry(features)  # (N, in_ch, H, W) -> (N, out_ch, H, W)
        skips: list[Tensor] = []
        inner = entry
        for depth, layer in enumerate(self.encoder):
            if depth and self.pools:
                inner = _halve(inner)  # (N, mid_ch, H, W) -> (N, mid_ch, ceil(H/2), ceil(W/2))
            inner = layer(inner)
            skips.append(inner)
        inner = self.bottom(inner)
        for layer in self.decoder:
            skip = skips.pop()
            inner = layer(torch.cat((_resize_like(inner, skip), skip), dim=1))
        return inner + entry


class ConvBnRelu(nn.Module):
    """A 3×3 convolution with bias that keeps the size, batch normalisation, ReLU."""

    def __init__(self, in_ch: int, out_ch: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_ch, out_ch, kernel_size=3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(out_ch)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, H, W) float32 for (N, in_ch, H, W) float32."""
        return functional.relu(self.norm(self.conv(features)))


def _block(stage: Stage) -> RSU:
    return RSU(stage.height, stage.in_ch, stage.mid_ch, stage.out_ch, dilated=stage.dilated)


def _halve(features: Tensor) -> Tensor:
    # Rounding up keeps the last row and column of an odd size.
    return functional.max_pool2d(features, kernel_size=2, stride=2, ceil_mode=True)


def _resize_like(features: Tensor, target: Tensor) -> Tensor:
    size = target.shape[-2:]
    if features.shape[-2:] == size:
        return features
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
