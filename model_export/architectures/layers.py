"""Layers: blocks and functions that several networks share."""

from torch import Tensor, nn
from torch.nn import functional


class ConvNormRelu(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU; "same" padding.

    Args:
        in_ch: Channels of the input.
        out_ch: Channels of the output.
        kernel: Side of the square kernel, odd.
        stride: 1 keeps (H, W), 2 gives (ceil(H/2), ceil(W/2)).
    """

    def __init__(self, in_ch: int, out_ch: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_ch, out_ch, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(out_ch),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions with bias, each with ReLU; the block of one level in U-Net and U-Net++.

    Args:
        in_ch: Channels of the input.
        out_ch: Channels of the output.
        padding: 1 keeps (H, W); with 0 ("valid") each convolution removes 2 pixels per axis.
        batch_norm: Normalise before each ReLU. Not in the papers, but useful for training from scratch.
    """

    def __init__(self, in_ch: int, out_ch: int, *, padding: int = 1, batch_norm: bool = False) -> None:
        layers: list[nn.Module] = []
        for channels in (in_ch, out_ch):
            layers.append(nn.Conv2d(channels, out_ch, 3, padding=padding))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_ch))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


def resize(features: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Resize (N, C, H, W) to another (H, W), bilinearly."""
    if tuple(features.shape[-2:]) == size:
        return features
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=align_corners)


def size_of(features: Tensor) -> tuple[int, int]:
    """Return (H, W) of (N, C, H, W)."""
    return features.shape[-2], features.shape[-1]
