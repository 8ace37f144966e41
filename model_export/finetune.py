"""Fine-tune: the published network becomes one that can go on learning.

Its file has every batch normalisation folded into the convolution before it, so what comes back has
normalisations that do nothing. Two ways lead on:

freeze        They stay the identity, and are no part of what learns. Right for few pictures and small
batches. re-estimate   Mean and variance of each are measured on some pictures, and scale and shift set so
              that it still does nothing; from then on it normalises by the batch, as in training from
              scratch. The network answers as before at first, up to what those pictures say of the rest.
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
    """Return a network with the published weights, ready to be trained.

    Args:
        name: ``u2net`` or ``u2netp``.
        norms: What becomes of the normalisations; ``train`` is ``re-estimate`` here.
        sample: Normalised pictures (N, 3, S, S) to measure by.

    Raises:
        NothingPublished: There are no weights of that name.
        WeightsUnavailable: No source gave them.
    """
    if name not in PUBLISHED:
        raise NothingPublished(
            f"There are no published weights of {name}, only of {', '.join(sorted(PUBLISHED))}."
        )
    weights = fetch_weights(name, MODELS_DIR / WEIGHTS_FOLDER)
    network = port(ARCHITECTURES[name](), read_convolutions(weights))
    if norms == "freeze":
        hold_norms(network)
    else:
        re_estimate(network, sample)
    return network


def hold_norms(network: nn.Module) -> None:
    """Take every normalisation out of training: it uses what it has, and neither scale nor shift learns."""
    for norm in _norms(network):
        norm.eval()
        norm.requires_grad_(requires_grad=False)


def re_estimate(network: nn.Module, sample: Tensor) -> None:
    """Measure mean and variance at each normalisation, and let scale and shift undo them.

    Each is measured in turn on what its predecessors, unchanged in what they do, pass on.

    Args:
        network: In evaluation mode, of which each normalisation is the identity.
        sample: Normalised pictures (N, 3, S, S).
    """
    sums: dict[nn.BatchNorm2d, tuple[Tensor, Tensor, int]] = {}

    def note(norm: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        features = inputs[0].double()
        total, squares, count = sums.get(norm, (0.0, 0.0, 0))
        sums[norm] = (
            total + features.sum((0, 2, 3)),
            squares + features.square().sum((0, 2, 3)),
            count + features.numel() // features.shape[1],
        )

    hooks = [norm.register_forward_hook(note) for norm in _norms(network)]
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
