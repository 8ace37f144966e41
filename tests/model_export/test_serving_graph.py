import numpy as np
import pytest
import torch
from torch import nn

from model_export.parity import normalise
from model_export.pictures import synthetic_pictures
from model_export.serving_graph import ServedGraph

pytestmark = pytest.mark.torch


class Echo(nn.Module):
    """A network whose first map is one channel of its input."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, normalised: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (normalised[:, self.channel : self.channel + 1],)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_pictures_are_normalised_as_the_authors_do(channel: int) -> None:
    pictures = synthetic_pictures(32)

    saliency = ServedGraph(Echo(channel))(torch.from_numpy(pictures)).numpy()

    assert saliency.dtype == np.float32
    assert saliency.shape == (4, 32, 32)
    expected = 1 / (1 + np.exp(-normalise(pictures)[:, channel]))
    assert np.abs(saliency - expected).max() < 1e-6


def test_a_picture_is_divided_by_its_own_maximum_not_by_255() -> None:
    bright = synthetic_pictures(16)[:1]
    bright[0, 0, 0] = 240
    dark = bright // 2 * 2 // 2
    even = bright // 2 * 2
    graph = ServedGraph(Echo(0))

    assert torch.allclose(graph(torch.from_numpy(even)), graph(torch.from_numpy(dark)), atol=1e-6)


def test_an_all_black_picture_gives_finite_numbers() -> None:
    saliency = ServedGraph(Echo(1))(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))

    assert torch.isfinite(saliency).all()
    assert torch.allclose(saliency, torch.sigmoid(torch.tensor(-0.456 / 0.224)))


def test_the_map_of_a_picture_does_not_depend_on_the_rest_of_the_batch() -> None:
    pictures = torch.from_numpy(synthetic_pictures(16))
    graph = ServedGraph(Echo(0))

    assert torch.equal(graph(pictures)[2], graph(pictures[2:3])[0])
