"""Serving graph: wraps a network in the serving contract, uint8 pictures in, raw saliency out.

The graph contains all preprocessing that depends on the weights, so the service needs only one contract for
all models. Rule: every number is computed per picture; the pictures of a batch do not affect each other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pictures in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)


class ServedGraph(nn.Module):
    """A network with the serving contract.

    The authors divide a picture by its own maximum, not by 255; the two differ on dark pictures.

    Args:
        network: Takes float32 (N, 3, S, S), returns a sequence of logits (N, 1, S, S), or (N, K, S, S) for K
            classes, the map to serve first.
        foreground: The labels of the classes whose probabilities are the saliency; none for one logit.
    """

    def __init__(self, network: nn.Module, foreground: Sequence[int] = ()) -> None:
        super().__init__()
        self.network = network
        self.foreground = tuple(foreground)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN))
        self.register_buffer("std", torch.tensor(IMAGENET_STD))

    def forward(self, network_input: Tensor) -> Tensor:
        """Return the raw saliency, float32 (N, S, S) in [0, 1], for uint8 (N, S, S, 3) RGB."""
        rgb = network_input.to(self.mean.dtype)  # float32; float64 after the module is converted
        normalised = normalise(rgb, self.mean, self.std)
        channels_first = normalised.permute(0, 3, 1, 2)  # (N, S, S, 3) -> (N, 3, S, S)
        fused = self.network(channels_first)[0]  # (N, 3, S, S) -> (N, 1, S, S), or (N, K, S, S)
        return saliency_of(fused, self.foreground)  # -> (N, S, S)


def saliency_of(logits: Tensor, foreground: Sequence[int] = ()) -> Tensor:
    """Return the probability of the foreground, (N, S, S) in [0, 1].

    Args:
        logits: (N, 1, S, S), or (N, K, S, S) for K classes.
        foreground: The labels of the classes whose softmax is summed; none for one logit and its sigmoid.
    """
    if not foreground:
        return torch.sigmoid(logits).squeeze(1)
    labels = torch.tensor(foreground, device=logits.device)
    probabilities = torch.softmax(logits, dim=1).index_select(1, labels)
    return probabilities.sum(1).clamp(max=1)  # rounding may exceed 1


def normalise(rgb: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Divide each picture by its own maximum, then normalise by mean and standard deviation.

    Args:
        rgb: (N, S, S, 3) float from 0 to 255.
        mean: (3,), of pictures in [0, 1].
        std: (3,).
    """
    brightest = torch.amax(rgb, dim=(1, 2, 3), keepdim=True)  # (N, S, S, 3) -> (N, 1, 1, 1)
    # An all-black picture has the maximum 0; any divisor from 0 to 1 leaves it black.
    return (rgb / torch.clamp(brightest, min=1.0) - mean) / std
