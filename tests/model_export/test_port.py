from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_export.architectures import ARCHITECTURES
from model_export.port import convolutions_in_execution_order, port, with_identity_norms
from model_export.weights import Convolution, PublishedWeightsInvalid, read_convolutions

pytestmark = pytest.mark.torch


class Backwards(nn.Module):
    """Two convolutions that run in reverse order of their construction."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 1, kernel_size=1)
        self.first = nn.Conv2d(3, 4, kernel_size=1)
        self.never = nn.Conv2d(1, 1, kernel_size=1)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(rgb))


def convolution(*shape: int, value: float = 1.0) -> Convolution:
    return Convolution(np.full(shape, value, np.float32), np.zeros(shape[0], np.float32))


def test_the_order_is_that_of_execution_not_construction() -> None:
    network = Backwards()

    assert convolutions_in_execution_order(network) == [network.first, network.second]


def test_each_convolution_gets_the_published_one_at_its_position() -> None:
    network = port(Backwards(), [convolution(4, 3, 1, 1, value=2.0), convolution(1, 4, 1, 1, value=3.0)])

    assert torch.equal(network(torch.ones(1, 3, 1, 1)), torch.full((1, 1, 1, 1), 2.0 * 3 * 3 * 4))


def test_observing_the_order_leaves_no_hooks() -> None:
    network = Backwards()
    convolutions_in_execution_order(network)

    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_missing_convolution_is_refused() -> None:
    with pytest.raises(PublishedWeightsInvalid, match="runs 2 convolutions; the weights hold 1"):
        port(Backwards(), [convolution(4, 3, 1, 1)])


def test_a_convolution_of_another_shape_is_refused() -> None:
    with pytest.raises(PublishedWeightsInvalid, match=r"Convolution 1 of the network is \(1, 4, 1, 1\)"):
        port(Backwards(), [convolution(4, 3, 1, 1), convolution(1, 5, 1, 1)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_identity_normalisation_returns_its_input_bit_for_bit(dtype: torch.dtype) -> None:
    norm = with_identity_norms(nn.BatchNorm2d(8).eval().to(dtype))
    features = torch.randn(2, 8, 33, 17, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 1000

    with torch.inference_mode():
        assert torch.equal(norm(features), features)


def test_the_small_network_takes_all_119_convolutions_in_order(weights_folder: Path) -> None:
    published = read_convolutions(weights_folder / "u2netp.onnx")
    network = port(ARCHITECTURES["u2netp"](), published)

    layers = convolutions_in_execution_order(network)

    assert len(layers) == 119
    for layer, convolution in zip(layers, published, strict=True):
        assert np.array_equal(layer.weight.detach().numpy(), convolution.kernel)
        assert np.array_equal(layer.bias.detach().numpy(), convolution.bias)


def test_a_ported_network_is_in_evaluation_mode(weights_folder: Path) -> None:
    network = port(ARCHITECTURES["u2netp"](), read_convolutions(weights_folder / "u2netp.onnx"))

    assert not any(layer.training for layer in network.modules())
