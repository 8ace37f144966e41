"""Port: the published convolutions move into the network, in the order its layers execute.

The published file has every batch normalisation folded into the convolution before it and knows
no layer names. What it does have is the order of execution, so the k-th published convolution
belongs to the k-th convolution that runs here. That order is observed, not read off the
constructor: a forward hook notes each layer as it runs.
"""

from collections.abc import Sequence

import torch
from torch import nn

from model_export.weights import Convolution, PublishedWeightsInvalid

# Large enough that no pooling reaches a single pixel, small enough to cost nothing.
PROBE_SIZE_PX = 64


def port(network: nn.Module, convolutions: Sequence[Convolution]) -> nn.Module:
    """Put published convolutions into a network and make its normalisations the identity.

    Args:
        network: Any network over (N, 3, S, S); changed in place.
        convolutions: One for each Conv2d that runs, in the order of execution.

    Returns:
        The same network, in evaluation mode.

    Raises:
        PublishedWeightsInvalid: The count differs, or the k-th shapes do.
    """
    network.eval()
    layers = convolutions_in_execution_order(network)
    if len(layers) != len(convolutions):
        raise PublishedWeightsInvalid(
            f"The network runs {len(layers)} convolutions; the weights hold {len(convolutions)}."
        )
    with torch.no_grad():
        for place, (layer, published) in enumerate(zip(layers, convolutions, strict=True)):
            if tuple(layer.weight.shape) != published.kernel.shape:
                raise PublishedWeightsInvalid(
                    f"Convolution {place} of the network is {tuple(layer.weight.shape)}; "
                    f"the weights hold {published.kernel.shape}."
                )
            layer.weight.copy_(torch.from_numpy(published.kernel.copy()))
            layer.bias.copy_(torch.from_numpy(published.bias.copy()))
    return with_identity_norms(network)


def convolutions_in_execution_order(network: nn.Module) -> list[nn.Conv2d]:
    """Return the network's Conv2d layers in the order in which one forward pass runs them."""
    order: list[nn.Conv2d] = []

    def note(layer: nn.Module, _inputs: object, _output: object) -> None:
        order.append(layer)

    hooks = [layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.inference_mode():
        network(torch.zeros(1, 3, PROBE_SIZE_PX, PROBE_SIZE_PX))
    for hook in hooks:
        hook.remove()
    return order


def with_identity_norms(network: nn.Module) -> nn.Module:
    """Make every batch normalisation of a network return its input bit for bit.

    It divides by sqrt(variance + eps): with a variance of 1 the result would be off by eps / 2,
    so the variance is 1 - eps. Holds in evaluation mode, at the network's present precision.

    Args:
        network: Changed in place.

    Returns:
        The same network.
    """
    with torch.no_grad():
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.fill_(1.0)
                norm.bias.zero_()
                norm.running_mean.zero_()
                norm.running_var.fill_(1.0 - norm.eps)
    return network
