"""FCN: VGG-16 with a convolutional classifier, whose scores are summed over three depths.

The scores at stride 32 are upsampled by two and added to those of ``pool4`` (16s), and again to those of
``pool3`` (8s). As in the authors' networks, the first convolution pads by 100 and poolings round up, and
crops compensate for the offset; the upsampling kernels are bilinear, and fixed unless an option lets those
between the scores learn. The three networks are trained in turn, each from the one before: what a coarser
network lacks begins at zero, so the finer one begins with its scores.

References:
    Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    arXiv:1411.4038; Shelhamer et al., PAMI 2017, arXiv:1605.06211.
"""

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from model_export.architectures.vgg import HIDDEN_CH, VGG16_CH, Levels, convolutions

Stride = Literal[8, 16, 32]
PADDING_PX = 100  # of the first convolution
SCORES = ("score", "score_pool4", "score_pool3")
AT_ONCE = {"score_pool4": 1e-2, "score_pool3": 1e-4}  # scales of the features
FINAL_CROP_PX = {32: 19, 16: 27, 8: 31}
POOL4_CROP_PX, POOL3_CROP_PX = 5, 9


def fcn(
    stride: Stride,
    *,
    batch_norm: bool = False,
    learned_deconvolution: bool = False,
    at_once: bool = False,
    width: int = HIDDEN_CH,
    classes: int = 1,
) -> nn.Module:
    """Build FCN-32s, 16s or 8s; FCN-8s has 134.27 million parameters.

    Args:
        stride: The stride of the finest scores: 32, 16 or 8 pixels.
        batch_norm: Use batch normalisation in VGG.
        learned_deconvolution: Learn the upsampling between the scores.
        at_once: Scale the features of the poolings, for training without stages.
        width: Channels of the two classifier layers.
        classes: Number of score maps.
    """
    return FCN(
        stride,
        classes=classes,
        batch_norm=batch_norm,
        learned_deconvolution=learned_deconvolution,
        at_once=at_once,
        width=width,
    )


fcn32s, fcn16s, fcn8s = (partial(fcn, stride) for stride in (32, 16, 8))


class FCN(nn.Module):
    """The FCN network, for one class by default.

    Args:
        stride: The stride of the finest scores: 32, 16 or 8 pixels.
        classes: Number of score maps; 1 for serving.
        batch_norm: Use batch normalisation in VGG. Not in the paper, which starts from trained weights.
        learned_deconvolution: Learn the kernels that double the scores, from bilinear ones, as in the CVPR
            paper; the last one is fixed there too.
        at_once: Scale the features of pool4 by 0.01 and of pool3 by 0.0001 before they are scored, as the
            authors do to train the whole network at once instead of in stages.
        width: Channels of the two classifier layers; 1024 would save 93 million parameters.
        channels: Channels of the convolutions, level by level.
        padding_px: Padding of the first convolution. With another one the maps are not aligned.
    """

    def __init__(
        self,
        stride: Stride,
        *,
        classes: int = 1,
        batch_norm: bool = False,
        learned_deconvolution: bool = False,
        at_once: bool = False,
        width: int = HIDDEN_CH,
        channels: Levels = VGG16_CH,
        padding_px: int = PADDING_PX,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.scales = AT_ONCE if at_once else dict.fromkeys(AT_ONCE, 1.0)
        in_ch, levels = 3, []
        for level, widths in enumerate(channels):
            padding = 1 if level else padding_px
            layers = convolutions(in_ch, widths, batch_norm=batch_norm, padding_px=padding)
            levels.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
            in_ch = widths[-1]
        self.levels = nn.ModuleList(levels)
        self.classifier = nn.Sequential(
            nn.Conv2d(in_ch, width, 7),
            nn.ReLU(inplace=True),
            nn.Dropout(),  # of single elements, as in the authors' code, not of whole channels
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(),
        )
        self.score = nn.Conv2d(width, classes, 1)
        self.score_pool4 = nn.Conv2d(channels[3][-1], classes, 1) if stride <= 16 else None
        self.score_pool3 = nn.Conv2d(channels[2][-1], classes, 1) if stride == 8 else None
        self.double32 = Bilinear(classes, 2, is_learned=learned_deconvolution and stride <= 16)
        self.double16 = Bilinear(classes, 2, is_learned=learned_deconvolution and stride == 8)
        self.enlarge = Bilinear(classes, stride)

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return the logits, one (N, classes, H, W), for (N, 3, H, W) float32 of any H and W."""
        height, width = normalised.shape[-2:]
        scores, pools = self.coarse_scores(normalised)
        if self.score_pool4 is not None:
            scores = _summed(
                self.double32(scores), self.score_pool4(self.scales["score_pool4"] * pools[3]), POOL4_CROP_PX
            )
        if self.score_pool3 is not None:
            scores = _summed(
                self.double16(scores), self.score_pool3(self.scales["score_pool3"] * pools[2]), POOL3_CROP_PX
            )
        crop = FINAL_CROP_PX[self.stride]
        return (self.enlarge(scores)[:, :, crop : crop + height, crop : crop + width],)

    def coarse_scores(self, normalised: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the scores, (N, classes, about H/32, W/32), and the features of the five levels."""
        features, pools = normalised, []
        for level in self.levels:
            features = level(features)
            pools.append(features)
        return self.score(self.classifier(features)), pools

    def zero_scores(self, names: Iterable[str]) -> None:
        """Set those layers of ``names`` that score to zero; for weights that came without them.

        For a whole network from fresh weights, it would hold back what is below the scores.
        """
        with torch.no_grad():
            for name in set(names) & set(SCORES):
                layer = getattr(self, name)
                layer.weight.zero_()
                layer.bias.zero_()


class Bilinear(nn.ConvTranspose2d):
    """A transposed convolution that interpolates each channel bilinearly, at least to begin with.

    Args:
        channels: Channels of input and output.
        factor: The enlargement; the output is (H - 1) · factor + 2 · factor, because no border is cropped.
        is_learned: The kernels are parameters; otherwise they are fixed.
    """

    def __init__(self, channels: int, factor: int, *, is_learned: bool = False) -> None:
        side = 2 * factor
        super().__init__(channels, channels, side, stride=factor, groups=channels, bias=False)
        ramp = 1 - (torch.arange(side) - (side - 1) / 2).abs() / factor
        kernel = (ramp[:, None] * ramp[None, :]).expand(channels, 1, side, side)
        if is_learned:
            self.weight = nn.Parameter(kernel.clone())
            return
        del self.weight
        self.register_buffer("weight", kernel.contiguous(), persistent=False)


def _summed(coarse: Tensor, skip: Tensor, crop_px: int) -> Tensor:
    """Add the scores of a pooling, with the margin cropped, to coarse scores."""
    height, width = coarse.shape[-2:]
    return coarse + skip[:, :, crop_px : crop_px + height, crop_px : crop_px + width]
