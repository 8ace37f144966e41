"""STDC-Seg: short-term dense concatenation, two context branches, and auxiliary supervision of details.

A block halves its channels layer by layer and concatenates all outputs, so its output covers several scales.
As in the published network, the auxiliary heads and the detail head exist only in training. The encoder is
pretrained as a classifier, whose sixth stage the segmentation network does without.

References:
    Fan et al., "Rethinking BiSeNet for Real-time Semantic Segmentation", CVPR 2021, arXiv:2104.13188.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.layers import ConvNormRelu, resize, size_of

STDC1_BLOCKS = (2, 2, 2)  # STDC813: blocks in stages 3, 4 and 5
STDC2_BLOCKS = (4, 5, 3)  # STDC1446
STAGE_CH = (256, 512, 1024)
CONTEXT_CH = 128
FUSED_CH = 256
SIDE_CH = 64
CLASSIFIER_DROPOUT = 0.2


def stdc1(*, classes: int = 1) -> nn.Module:
    """Build STDC1-Seg: 8.27 million parameters at inference, 8.28 with the paper's 19 classes."""
    return STDCSeg(STDC1_BLOCKS, classes=classes)


def stdc2(*, classes: int = 1) -> nn.Module:
    """Build STDC2-Seg: 12.30 million parameters at inference, 12.31 with the paper's 19 classes."""
    return STDCSeg(STDC2_BLOCKS, classes=classes)


class STDCSeg(nn.Module):
    """The segmentation network.

    Args:
        blocks: STDC modules in stages 3, 4 and 5.
        classes: Number of score maps.
    """

    def __init__(self, blocks: Sequence[int], *, classes: int = 1) -> None:
        super().__init__()
        self.stem, self.stages = _stem(), _stages(blocks)
        self.whole = ConvNormRelu(STAGE_CH[2], CONTEXT_CH, kernel=1)
        self.attend32 = AttentionRefinement(STAGE_CH[2], CONTEXT_CH)
        self.attend16 = AttentionRefinement(STAGE_CH[1], CONTEXT_CH)
        self.smooth32 = ConvNormRelu(CONTEXT_CH, CONTEXT_CH)
        self.smooth16 = ConvNormRelu(CONTEXT_CH, CONTEXT_CH)
        self.fuse = FeatureFusion(STAGE_CH[0] + CONTEXT_CH, FUSED_CH)
        self.head = _head(FUSED_CH, FUSED_CH, classes)
        self.training_heads = nn.ModuleDict(
            {
                "context8": _head(CONTEXT_CH, SIDE_CH, classes),
                "context16": _head(CONTEXT_CH, SIDE_CH, classes),
                "detail": _head(STAGE_CH[0], SIDE_CH, 1),
            }
        )

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        """Return the logits to serve; in training also those of the context at 1/8, 1/16 and of the details.

        Args:
            normalised: (N, 3, H, W) float32, normalised by mean and standard deviation. In training N is at
                least 2, because the global context is normalised only over the batch.

        Returns:
            One (N, classes, H, W) float32; in training four, of which the details are (N, 1, H, W).
        """
        size = size_of(normalised)
        stage3 = self.stages[0](self.stem(normalised))  # -> (N, 256, H/8, W/8)
        stage4 = self.stages[1](stage3)  # -> (N, 512, H/16, W/16)
        stage5 = self.stages[2](stage4)  # -> (N, 1024, H/32, W/32)
        whole = self.whole(stage5.mean(dim=(2, 3), keepdim=True))  # (N, 128, 1, 1), added everywhere
        context16 = self.smooth32(_nearest(self.attend32(stage5) + whole, size_of(stage4)))
        context8 = self.smooth16(_nearest(self.attend16(stage4) + context16, size_of(stage3)))
        logits = [self.head(self.fuse(stage3, context8))]
        if self.training:
            sides = {"context8": context8, "context16": context16, "detail": stage3}
            logits += [self.training_heads[name](features) for name, features in sides.items()]
        return tuple(resize(each, size, align_corners=True) for each in logits)


class STDCClassifier(nn.Module):
    """The classifier whose stem and stages 3 to 5 begin the segmentation network.

    Its stage 6 is a 1×1 convolution, global average pooling and two fully connected layers.

    Args:
        blocks: STDC modules in stages 3, 4 and 5.
        classes: Number of scores; ImageNet has 1000.
    """

    def __init__(self, blocks: Sequence[int], *, classes: int = 1000) -> None:
        super().__init__()
        self.stem, self.stages = _stem(), _stages(blocks)
        width = STAGE_CH[2]
        self.last = ConvNormRelu(width, width, kernel=1)
        self.classifier = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.ReLU(inplace=True),
            nn.Dropout(CLASSIFIER_DROPOUT),
            nn.Linear(width, classes, bias=False),
        )

    def forward(self, normalised: Tensor) -> Tensor:
        """Return the scores, (N, classes), for (N, 3, H, W) float32 normalised by mean and deviation."""
        features = self.stem(normalised)
        for stage in self.stages:
            features = stage(features)
        scores: Tensor = self.classifier(self.last(features).mean(dim=(2, 3)))
        return scores


class ShortTermDenseConcat(nn.Module):
    """STDC module: 1×1 to N/2, then 3×3 to N/4, N/8 and N/8; the output is all four, N channels.

    With stride 2, a depthwise convolution without ReLU halves the input of the later layers, and average
    pooling halves the first layer's part of the output.

    Args:
        in_ch: M, channels of the input.
        out_ch: N, channels of the output.
        stride: 1 or 2.
        layers: Number of convolutions, at least 2; each has half the channels of the one before, and the
            last as many as that.
    """

    def __init__(self, in_ch: int, out_ch: int, *, stride: int, layers: int = 4) -> None:
        super().__init__()
        half = out_ch // 2
        widths = [out_ch // 2**power for power in (*range(1, layers), layers - 1)]
        self.first = ConvNormRelu(in_ch, half, kernel=1)
        self.rest = nn.ModuleList(ConvNormRelu(before, after) for before, after in pairwise(widths))
        self.shrink: nn.Module | None = None
        if stride == 2:
            self.shrink = nn.Sequential(
                nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False), nn.BatchNorm2d(half)
            )

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, H/stride, W/stride), rounded up."""
        first = self.first(features)
        deeper = first
        if self.shrink is not None:
            deeper = self.shrink(first)
            first = functional.avg_pool2d(first, kernel_size=3, stride=2, padding=1)
        parts = [first]
        for layer in self.rest:
            deeper = layer(deeper)
            parts.append(deeper)
        return torch.cat(parts, dim=1)


class AttentionRefinement(nn.Module):
    """ARM: a 3×3 convolution whose channels are weighted by their global average."""

    def __init__(self, in_ch: int, out_ch: int) -> None:
        super().__init__()
        self.conv = ConvNormRelu(in_ch, out_ch)
        self.weigh = nn.Sequential(nn.Conv2d(out_ch, out_ch, 1, bias=False), nn.BatchNorm2d(out_ch))

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, H, W) for (N, in_ch, H, W)."""
        refined = self.conv(features)
        return refined * torch.sigmoid(self.weigh(refined.mean(dim=(2, 3), keepdim=True)))


class FeatureFusion(nn.Module):
    """FFM: concatenates details and context, and weights their channels; ``f · a + f``."""

    def __init__(self, in_ch: int, out_ch: int) -> None:
        super().__init__()
        self.join = ConvNormRelu(in_ch, out_ch, kernel=1)
        self.weigh = nn.Sequential(
            nn.Conv2d(out_ch, out_ch // 4, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_ch // 4, out_ch, 1, bias=False),
        )

    def forward(self, details: Tensor, context: Tensor) -> Tensor:
        """Return (N, out_ch, H, W) for two maps of the same size."""
        joined = self.join(torch.cat((details, context), dim=1))
        return joined * torch.sigmoid(self.weigh(joined.mean(dim=(2, 3), keepdim=True))) + joined


def _stem() -> nn.Sequential:
    return nn.Sequential(ConvNormRelu(3, 32, stride=2), ConvNormRelu(32, 64, stride=2))


def _stages(blocks: Sequence[int]) -> nn.ModuleList:
    """Return stages 3, 4 and 5, with a number of STDC modules each."""
    channels = pairwise((64, *STAGE_CH))
    return nn.ModuleList(_stage(*ends, count) for ends, count in zip(channels, blocks, strict=True))


def _stage(in_ch: int, out_ch: int, count: int) -> nn.Sequential:
    return nn.Sequential(
        ShortTermDenseConcat(in_ch, out_ch, stride=2),
        *(ShortTermDenseConcat(out_ch, out_ch, stride=1) for _ in range(count - 1)),
    )


def _head(in_ch: int, mid_ch: int, classes: int) -> nn.Sequential:
    return nn.Sequential(ConvNormRelu(in_ch, mid_ch), nn.Conv2d(mid_ch, classes, 1, bias=False))


def _nearest(features: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(features, size=size, mode="nearest")
