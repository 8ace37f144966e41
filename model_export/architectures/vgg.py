"""VGG-16: the ImageNet classifier that FCN starts from, and its conversion to convolutions.

A fully connected layer on 7 × 7 features is a 7 × 7 convolution that fits into them once, and one on a vector
is a 1 × 1 convolution. So the converted classifier returns the same scores for a picture of its own size, and
a map of scores for a larger one. Tensors have the names of torchvision's files.

References:
    Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015, arXiv:1409.1556.
    Long, Shelhamer and Darrell 2015, arXiv:1411.4038, section 3.1 (conversion).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

Levels = Sequence[Sequence[int]]
VGG16_CH: Levels = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HIDDEN_CH = 4096
FEATURES_PX = 7  # side of the last features for a picture of 224 pixels


class VGG16(nn.Module):
    """The classifier for pictures of 224 × 224 pixels.

    Args:
        classes: Number of scores.
        channels: Channels of each convolution, level by level.
        hidden: Units of the two hidden layers.
        batch_norm: Normalise before each ReLU of the convolutions.
    """

    def __init__(
        self,
        classes: int = 1000,
        *,
        channels: Levels = VGG16_CH,
        hidden: int = HIDDEN_CH,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_ch = 3
        for widths in channels:
            layers += convolutions(in_ch, widths, batch_norm=batch_norm)
            layers.append(nn.MaxPool2d(2))
            in_ch = widths[-1]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(in_ch * FEATURES_PX**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, normalised: Tensor) -> Tensor:
        """Return the scores, (N, classes), for (N, 3, 224, 224) float32."""
        scores: Tensor = self.classifier(self.features(normalised).flatten(1))
        return scores


def convolutions(
    in_ch: int, widths: Sequence[int], *, batch_norm: bool, padding_px: int = 1
) -> list[nn.Module]:
    """Return the 3 × 3 convolutions of one level, each with ReLU.

    Args:
        in_ch: Channels of the input.
        widths: Channels of each convolution.
        batch_norm: Normalise before each ReLU.
        padding_px: Padding of the first convolution; that of the others is 1.
    """
    layers: list[nn.Module] = []
    for index, out_ch in enumerate(widths):
        layers.append(nn.Conv2d(in_ch, out_ch, 3, padding=1 if index else padding_px))
        if batch_norm:
            layers.append(nn.BatchNorm2d(out_ch))
        layers.append(nn.ReLU(inplace=True))
        in_ch = out_ch
    return layers


def is_vgg16(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of a VGG classifier with three fully connected layers."""
    return {"features.0.weight", *(f"classifier.{layer}.weight" for layer in (0, 3, 6))} <= tensors.keys()


def as_convolutions(classifier: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of a VGG-16 classifier to those of FCN.

    Args:
        classifier: Tensors by torchvision's names.

    Returns:
        The same numbers under the names of ``fcn.FCN``: kernels (4096, 512, 7, 7), (4096, 4096, 1, 1) and,
        as ``score``, (classes, 4096, 1, 1).
    """
    has_norms = "features.1.running_mean" in classifier
    converted: dict[str, Tensor] = {}
    start = 0  # index of a level's first layer in ``features``
    for level, widths in enumerate(VGG16_CH):
        end = start + len(widths) * (3 if has_norms else 2)
        for name, tensor in classifier.items():
            group, _, rest = name.partition(".")
            index, _, kind = rest.partition(".")
            if group == "features" and start <= int(index) < end:
                converted[f"levels.{level}.{int(index) - start}.{kind}"] = tensor
        start = end + 1  # after the pooling
    for theirs, ours, side in (
        ("classifier.0", "classifier.0", FEATURES_PX),
        ("classifier.3", "classifier.3", 1),
        ("classifier.6", "score", 1),
    ):
        units, inputs = classifier[f"{theirs}.weight"].shape
        kernel = classifier[f"{theirs}.weight"].reshape(units, inputs // side**2, side, side)
        converted |= {f"{ours}.weight": kernel, f"{ours}.bias": classifier[f"{theirs}.bias"]}
    return converted
