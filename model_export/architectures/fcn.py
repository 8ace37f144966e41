"""FCN: VGG-16 with a convolutional classifier, whose scores are summed over three depths.

The scores at stride 32 are upsampled by two and added to those of ``pool4`` (16s), and again to those of
``pool3`` (8s). As in the authors' networks, the first convolution pads by 100 and poolings round up, and
crops compensate for the offset; the upsampling kernels are bilinear and fixed.

References:
    Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    arXiv:1411.4038; Shelhamer et al., PAMI 2017, arXiv:1605.06211.
    Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, arXiv:1409.1556 (VGG-16).
"""

from typing import Literal

import torch
from torch import Tensor, nn

Stride = Literal[8, 16, 32]
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
PADDING_PX = 100  # of the first convolution
CLASSIFIER_CH = 4096
FINAL_CROP_PX = {32: 19, 16: 27, 8: 31}
POOL4_CROP_PX, POOL3_CROP_PX = 5, 9


def fcn32s() -> nn.Module:
    """Build FCN-32s."""
    return FCN(32)


def fcn16s() -> nn.Module:
    """Build FCN-16s."""
    return FCN(16)


def fcn8s() -> nn.Module:
    """Build FCN-8s: 134.27 million parameters."""
    return FCN(8)


def fcn8s_bn() -> nn.Module:
    """Build FCN-8s with batch normalisation in VGG, so that it can be trained without ImageNet's weights."""
    return FCN(8, batch_norm=True)


class FCN(nn.Module):
    """The FCN network, for one class by default.

    Args:
        stride: The stride of the finest scores: 32, 16 or 8 pixels.
        classes: Number of score maps; 1 for serving.
        batch_norm: Use batch normalisation in VGG. Not in the paper, which starts from trained weights.
        width: Channels of the two classifier layers; 1024 would save 93 million parameters.
    """

    def __init__(
        self, stride: Stride, *, classes: int = 1, batch_norm: bool = False, width: int = CLASSIFIER_CH
    ) -> None:
        super().__init__()
        self.stride = stride
        in_ch = 3
        levels = []
        for level, widths in enumerate(VGG16):
            layers: list[nn.Module] = []
            for index, out_ch in enumerate(widths):
                padding = PADDING_PX if level == index == 0 else 1
                layers.append(nn.Conv2d(in_ch, out_ch, 3, padding=padding))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(out_ch))
                layers.append(nn.ReLU(inplace=True))
                in_ch = out_ch
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            levels.append(nn.Sequential(*layers))
        self.levels = nn.ModuleList(levels)
        self.classifier = nn.Sequential(
            nn.Conv2d(in_ch, width, 7),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
        )
        self.score = nn.Conv2d(width, classes, 1)
        self.score_pool4 = nn.Conv2d(512, classes, 1) if stride <= 16 else None
        self.score_pool3 = nn.Conv2d(256, classes, 1) if stride == 8 else None
        self.double32 = Bilinear(classes, 2)
        self.double16 = Bilinear(classes, 2)
        self.enlarge = Bilinear(classes, stride)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, classes, H, W), for (N, 3, H, W) float32 of any H and W."""
        height, width = normalised.shape[-2:]
        features, pools = normalised, []
        for level in self.levels:
            features = level(features)
            pools.append(features)
        scores = self.score(self.classifier(features))  # -> (N, classes, about H/32, W/32)
        if self.score_pool4 is not None:
            scores = _summed(self.double32(scores), self.score_pool4(pools[3]), POOL4_CROP_PX)
        if self.score_pool3 is not None:
            scores = _summed(self.double16(scores), self.score_pool3(pools[2]), POOL3_CROP_PX)
        crop = FINAL_CROP_PX[self.stride]
        return (self.enlarge(scores)[:, :, crop : crop + height, crop : crop + width],)


class Bilinear(nn.ConvTranspose2d):
    """A transposed convolution that interpolates each channel bilinearly, with a fixed kernel.

    Args:
        channels: Channels of input and output.
        factor: The enlargement; the output is (H - 1) · factor + 2 · factor, because no border is cropped.
    """

    def __init__(self, channels: int, factor: int) -> None:
        side = 2 * factor
        super().__init__(channels, channels, side, stride=factor, groups=channels, bias=False)
        ramp = 1 - (torch.arange(side) - (side - 1) / 2).abs() / factor
        kernel = (ramp[:, None] * ramp[None, :]).expand(channels, 1, side, side)
        del self.weight
        self.register_buffer("weight", kernel.contiguous(), persistent=False)


def _summed(coarse: Tensor, skip: Tensor, crop_px: int) -> Tensor:
    """Add the scores of a pooling, with the margin cropped, to coarse scores."""
    height, width = coarse.shape[-2:]
    return coarse + skip[:, :, crop_px : crop_px + height, crop_px : crop_px + width]
