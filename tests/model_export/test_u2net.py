import pytest
import torch

from model_export.architectures import ARCHITECTURES
from model_export.architectures.u2net import RSU, ConvBnRelu
from model_export.cost import count_parameters

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("name", "parameters"), [("u2net", 44_009_869), ("u2netp", 1_131_181)])
def test_the_number_of_parameters_is_that_of_the_authors(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = ARCHITECTURES[name]()

    assert count_parameters(network) == parameters


@pytest.mark.parametrize("name", ["u2net", "u2netp"])
@pytest.mark.parametrize("size", [(320, 320), (33, 70), (288, 97)])
def test_seven_maps_have_the_size_of_the_picture(name: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        maps = ARCHITECTURES[name]()(torch.empty(2, 3, *size))

    assert [tuple(logits.shape) for logits in maps] == [(2, 1, *size)] * 7


@pytest.mark.parametrize(("height", "dilated"), [(7, False), (6, False), (5, False), (4, False), (4, True)])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 23), (64, 64)])
def test_a_block_keeps_any_size_and_returns_its_channels(
    height: int, dilated: bool, size: tuple[int, int]
) -> None:
    block = RSU(height, 3, 2, 5, dilated=dilated).eval()

    with torch.inference_mode():
        features = block(torch.rand(2, 3, *size))

    assert tuple(features.shape) == (2, 5, *size)


@pytest.mark.parametrize(("height", "dilated"), [(7, False), (5, False), (4, True)])
def test_a_block_of_height_l_has_2_l_convolutions(height: int, dilated: bool) -> None:
    block = RSU(height, 3, 2, 5, dilated=dilated)

    assert sum(isinstance(layer, ConvBnRelu) for layer in block.modules()) == 2 * height


def test_the_dilated_block_has_dilations_1_2_4_8_4_2_1() -> None:
    block = RSU(4, 3, 2, 5, dilated=True)

    assert [layer.dilation[0] for layer in block.modules() if isinstance(layer, torch.nn.Conv2d)] == [
        *(1, 1, 2, 4),
        8,
        *(4, 2, 1),
    ]


def test_a_block_adds_its_own_input_features() -> None:
    """With the last decoder layer set to zero, the block returns its first layer's output."""
    block = RSU(5, 3, 2, 4).eval()
    with torch.no_grad():
        block.decoder[-1].conv.weight.zero_()
        block.decoder[-1].conv.bias.zero_()
        picture = torch.rand(1, 3, 21, 34)

        assert torch.equal(block(picture), block.entry(picture))


def test_the_fused_map_is_a_weighted_sum_of_the_six_side_outputs() -> None:
    network = ARCHITECTURES["u2netp"]().eval()
    with torch.inference_mode():
        fused, *side_outputs = network(torch.rand(1, 3, 64, 64))

        expected = torch.full_like(fused, float(network.fuse.bias[0]))
        for weight, logits in zip(network.fuse.weight.flatten(), side_outputs, strict=True):
            expected += weight * logits

    assert torch.allclose(fused, expected, atol=1e-5)
