"""Port: copies the published convolutions into a network, in the order its layers execute.

In the published file every batch normalisation is folded into the convolution before it, and the layers have
no names. The file keeps the order of execution, so the k-th published convolution belongs to the k-th
convolution that runs here. A forward hook records each layer as it runs, because the order of construction
may differ.
"""

from collections.abc import Sequence

import torch
from torch import nn

from model_export.weights import Convolution, PublishedWeightsInvalid

# Large enough that no pooling ends at a single pixel, small enough to be fast.
PROBE_SIZE_PX = 64


def port(network: nn.Module, convolutions: Sequence[Convolution]) -> nn.Module:
    """Copy published convolutions into a network, and make its normalisations the identity.

    Args:
        network: Any network over (N, 3, S, S); changed in place.
        convolutions: One per Conv2d that runs, in the order of execution.

    Returns:
        The same network, in evaluation mode.

    Raises:
        PublishedWeightsInvalid: The number of convolutions differs, or the shapes of a pair do.
    """
    network.eval()
    layers = convolutions_in_execution_order(network)
    if len(layers) != len(convolutions):
        raise PublishedWeightsInvalid(
            f"The network runs {len(layers)} convolutions; the weights hold {len(convolutions)}."
        )
    with torch.no_grad():
        for index, (layer, published) in enumerate(zip(layers, convolutions, strict=True)):
            if tuple(layer.weight.shape) != published.kernel.shape:
                raise PublishedWeightsInvalid(
                    f"Convolution {index} of the network is {tuple(layer.weight.shape)}; "
                    f"the weights hold {published.kernel.shape}."
                )
            layer.weight.copy_(torch.from_numpy(published.kernel.copy()))
            layer.bias.copy_(torch.from_numpy(published.bias.copy()))
    return with_identity_norms(network)


def convolutions_in_execution_order(network: nn.Module) -> list[nn.Conv2d]:
    """Return the network's Conv2d layers in the order in which a forward pass runs them."""
    order: list[nn.Conv2d] = []

    def record(layer: nn.Module, _inputs: object, _output: object) -> None:
        order.append(layer)

    hooks = [
        layer.register_forward_hook(record) for layer in network.modules() if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        network(torch.zeros(1, 3, PROBE_SIZE_PX, PROBE_SIZE_PX))
    for hook in hooks:
        hook.remove()
    return order


def with_identity_norms(network: nn.Module) -> nn.Module:
    """Make every batch normalisation of a network return its input bit for bit.

    A normalisation divides by sqrt(variance + eps): with a variance of 1 the result would be off by eps / 2,
    so the variance is set to 1 - eps. This holds in evaluation mode, at the network's current precision.

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
