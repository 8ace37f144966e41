"""Fine-tune: prepares the published network for further training.

In the published file every batch normalisation is folded into the convolution before it, so the ported
network has normalisations that do nothing. There are two ways to continue training:

freeze        The normalisations stay the identity and are not trained. Suits few pictures and small batches.
re-estimate   Mean and variance of each normalisation are measured on sample pictures, and scale and shift are
              set so that it still does nothing; afterwards it normalises by the batch, as in training from
              scratch. At first the network's output is unchanged, as far as the sample represents other
              pictures.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from app.weights.fetch import PUBLISHED, WEIGHTS_FOLDER, fetch_weights
from model_export.architectures import ARCHITECTURES
from model_export.errors import CommandFailed
from model_export.port import port
from model_export.weights import read_convolutions

MODELS_DIR = Path("models")


class NothingPublished(CommandFailed):
    """There are no published weights of this architecture."""


def published_network(
    name: str, norms: Literal["train", "freeze", "re-estimate"], sample: Tensor
) -> nn.Module:
    """Return a network with the published weights, ready for training.

    Args:
        name: ``u2net`` or ``u2netp``.
        norms: How to treat the normalisations; ``train`` means ``re-estimate`` here.
        sample: Normalised pictures (N, 3, S, S) to measure the statistics on.

    Raises:
        NothingPublished: There are no published weights with that name.
        WeightsUnavailable: No source has the weights.
    """
    if name not in PUBLISHED:
        raise NothingPublished(
            f"There are no published weights of {name}, only of {', '.join(sorted(PUBLISHED))}."
        )
    weights = fetch_weights(name, MODELS_DIR / WEIGHTS_FOLDER)
    network = port(ARCHITECTURES[name](), read_convolutions(weights))
    if norms == "freeze":
        freeze_norms(network)
    else:
        re_estimate(network, sample)
    return network


def freeze_norms(network: nn.Module) -> None:
    """Freeze every normalisation: its statistics, scale and shift stay as they are."""
    for norm in _norms(network):
        norm.eval()
        norm.requires_grad_(requires_grad=False)


def re_estimate(network: nn.Module, sample: Tensor) -> None:
    """Measure mean and variance at each normalisation, and set scale and shift to undo them.

    The statistics are those of the unchanged network: every normalisation is still the identity meanwhile.

    Args:
        network: In evaluation mode; each normalisation is the identity.
        sample: Normalised pictures (N, 3, S, S).
    """
    sums: dict[nn.BatchNorm2d, tuple[Tensor, Tensor, int]] = {}

    def add_to_sums(norm: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        features = inputs[0].double()
        total, squares, count = sums.get(norm, (0.0, 0.0, 0))
        sums[norm] = (
            total + features.sum((0, 2, 3)),
            squares + features.square().sum((0, 2, 3)),
            count + features.numel() // features.shape[1],
        )

    hooks = [norm.register_forward_hook(add_to_sums) for norm in _norms(network)]
    with torch.inference_mode():
        for picture in sample:
            network(picture[None])
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for norm, (total, squares, count) in sums.items():
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.bias.copy_(mean)
            norm.weight.copy_((variance + norm.eps).sqrt())


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
