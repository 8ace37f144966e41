"""Lite: a light saliency network on an ImageNet encoder, EfficientNet-Lite0, with a narrow decoder.

U²-Net† spends its work on many channels at high resolution and has never seen ImageNet. This network does the
opposite: an encoder of depthwise convolutions that can start from published weights
(``model_export.encoder_weights``), and a decoder of 64 channels that becomes narrower towards the full size.

References:
    Tan and Le 2019, arXiv:1905.11946 (EfficientNet); the Lite variant has no squeeze-and-excitation, uses
    ReLU6, and does not scale stem and last stage. Lin et al. 2017, arXiv:1612.03144 (feature pyramid).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.layers import ConvNormRelu, resize, size_of
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD

STEM_CH = 32
STAGES = (  # repeats, kernel, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURE_STAGES = (0, 1, 2, 4, 6)  # the last stages of strides 2, 4, 8, 16 and 32
FEATURE_CH = tuple(STAGES[stage][4] for stage in FEATURE_STAGES)
NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.02  # slower than torch's 0.1: the published statistics come from far more pictures
ENCODER_MEAN, ENCODER_SCALE = 127.0, 128.0  # the published weights expect (x - 127) / 128, x from 0 to 255
DECODER_CH = 64
DETAIL_CH = 16


def lite(*, channels: int = DECODER_CH, classes: int = 1) -> nn.Module:
    """Build the network: 3.32 million parameters, 1.75 billion multiplications at 320 × 320.

    Args:
        channels: Width of the decoder.
        classes: Number of score maps of each head.
    """
    return Lite(channels=channels, classes=classes)


class Lite(nn.Module):
    """EfficientNet-Lite0, a decoder, and a head per level that exists only in training.

    Args:
        channels: Width of the decoder at strides 4 to 32.
        detail_ch: Width at stride 2, the features of the encoder not counted.
        classes: Number of score maps of each head.
    """

    def __init__(self, *, channels: int = DECODER_CH, detail_ch: int = DETAIL_CH, classes: int = 1) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        self.decoder = Decoder(FEATURE_CH, channels, detail_ch, classes)
        self.training_heads = nn.ModuleList(
            nn.Conv2d(channels, classes, 3, padding=1) for _ in FEATURE_CH[1:]
        )
        std, mean = torch.tensor(IMAGENET_STD)[:, None, None], torch.tensor(IMAGENET_MEAN)[:, None, None]
        self.register_buffer("scale", 255 * std / ENCODER_SCALE, persistent=False)
        self.register_buffer("shift", (255 * mean - ENCODER_MEAN) / ENCODER_SCALE, persistent=False)

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        """Return the logits to serve; in training also those of strides 4, 8, 16 and 32.

        Args:
            normalised: (N, 3, H, W) float32, normalised by ImageNet's mean and standard deviation.

        Returns:
            One (N, classes, H, W), or five.
        """
        size = size_of(normalised)
        features = self.encoder(normalised * self.scale + self.shift)
        logits, levels = self.decoder(features)
        maps = [logits]
        if self.training:
            maps += [head(level) for head, level in zip(self.training_heads, levels, strict=True)]
        return tuple(resize(each, size) for each in maps)


class EfficientNetLite0(nn.Module):
    """The encoder, without the last 1×1 convolution and the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, STEM_CH, 3, stride=2)
        blocks, in_ch, self.last_blocks = [], STEM_CH, []
        for repeats, kernel, stride, expansion, out_ch in STAGES:
            for number in range(repeats):
                first_stride = stride if number == 0 else 1
                blocks.append(
                    InvertedResidual(in_ch, out_ch, kernel, stride=first_stride, expansion=expansion)
                )
                in_ch = out_ch
            self.last_blocks.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, scaled: Tensor) -> list[Tensor]:
        """Return the features at strides 2, 4, 8, 16 and 32, with 16, 24, 40, 112 and 320 channels.

        Args:
            scaled: (N, 3, H, W), (x - 127) / 128 of RGB from 0 to 255.
        """
        wanted = {self.last_blocks[stage] for stage in FEATURE_STAGES}
        deeper, features = self.stem(scaled), []
        for number, block in enumerate(self.blocks):
            deeper = block(deeper)
            if number in wanted:
                features.append(deeper)
        return features


class InvertedResidual(nn.Module):
    """MBConv: 1×1 to ``expansion`` times the channels, depthwise k×k, 1×1 without activation.

    The input is added if the block keeps its shape. With an expansion of 1 there is no first convolution.
    """

    def __init__(self, in_ch: int, out_ch: int, kernel: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        mid_ch = in_ch * expansion
        self.expand = _convolution(in_ch, mid_ch, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _convolution(mid_ch, mid_ch, kernel, stride=stride, groups=mid_ch)
        self.project = nn.Sequential(nn.Conv2d(mid_ch, out_ch, 1, bias=False), _norm(out_ch))
        self.is_residual = stride == 1 and in_ch == out_ch

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, H/stride, W/stride), rounded up."""
        deeper: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + deeper if self.is_residual else deeper


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which a stride of 2 makes uneven.

    The result has ceil(H / stride) rows. The padding that this takes is split in halves; an odd pixel goes to
    the bottom and to the right, while torch pads all sides alike.

    Depthwise convolutions stay in float32 on a CPU: their backward pass in bfloat16 takes up to five times as
    long, while all others are up to three times as fast.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, out_ch, ceil(H/stride), ceil(W/stride))."""
        pads: list[int] = []
        for length, kernel, stride in zip(
            reversed(size_of(features)), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        padded = functional.pad(features, pads) if any(pads) else features
        if self.groups > 1 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(padded.float())
        return super().forward(padded)


class Decoder(nn.Module):
    """A feature pyramid: from the deepest level up, each level is enlarged and joined with the next one.

    Args:
        feature_ch: Channels of the encoder's features at strides 2 to 32.
        channels: Width at strides 4 to 32.
        detail_ch: Width that the stride of 4 is narrowed to before it is enlarged to the stride of 2.
        classes: Number of score maps.
    """

    def __init__(self, feature_ch: Sequence[int], channels: int, detail_ch: int, classes: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, channels, 1) for each in feature_ch[1:])
        self.whole = nn.Sequential(nn.Conv2d(feature_ch[-1], channels, 1), nn.ReLU(inplace=True))
        self.levels = nn.ModuleList(
            nn.Sequential(ConvNormRelu(channels, channels), ConvNormRelu(channels, channels))
            for _ in feature_ch[1:]
        )
        self.narrow = ConvNormRelu(channels, detail_ch, kernel=1)
        self.details = nn.Sequential(
            ConvNormRelu(detail_ch + feature_ch[0], 2 * detail_ch),
            ConvNormRelu(2 * detail_ch, detail_ch),
            nn.Conv2d(detail_ch, classes, 3, padding=1),
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the logits at stride 2, (N, classes, H/2, W/2), and the levels at strides 4 to 32."""
        finest, *coarser = features
        joined = self.whole(coarser[-1].mean(dim=(2, 3), keepdim=True))  # (N, 64, 1, 1), added everywhere
        levels: list[Tensor] = []
        for lateral, level, feature in zip(
            reversed(self.laterals), reversed(self.levels), reversed(coarser), strict=True
        ):
            joined = level(lateral(feature) + resize(joined, size_of(feature)))
            levels.insert(0, joined)
        detail = resize(self.narrow(joined), size_of(finest))  # (N, 64, H/4, W/4) -> (N, 16, H/2, W/2)
        return self.details(torch.cat((detail, finest), dim=1)), levels


def _convolution(in_ch: int, out_ch: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, normalisation and ReLU6."""
    convolution = SameConv2d(in_ch, out_ch, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(convolution, _norm(out_ch), nn.ReLU6(inplace=True))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=NORM_MOMENTUM)
