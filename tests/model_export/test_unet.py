import pytest
import torch
from torch import nn

from model_export.architectures.unet import ValidUNet, overlap_tile
from model_export.cost import count_macs
from tests.model_export.runs import on_meta_device

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("side", "expected"), [(188, 4), (252, 68), (316, 132), (508, 324), (572, 388)])
def test_the_valid_u_net_removes_184_pixels(side: int, expected: int) -> None:
    network = on_meta_device(ValidUNet)

    assert network.valid(torch.empty(1, 3, side, side, device="meta")).shape[-1] == expected


def test_the_valid_u_net_has_23_convolutions_and_the_tables_cost() -> None:
    network = on_meta_device(ValidUNet)
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]

    assert len(convolutions) == 23
    # 572 pixels of input give 388 of output.
    assert count_macs(network, 388) / 1e9 == pytest.approx(150.4, abs=0.5)


@pytest.mark.parametrize(("size", "tile_px"), [((109, 130), 68)])
def test_tiles_equal_one_large_run(size: tuple[int, int], tile_px: int) -> None:
    """In float64 the sums agree except for the last bits, for every size of the run."""
    torch.manual_seed(3)
    network = ValidUNet().eval().double()
    picture = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        large, tiled = network(picture)[0], overlap_tile(network, picture, tile_px=tile_px)

    assert float((large - tiled).abs().max()) <= 1e-12


def test_an_impossible_tile_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4 \\+ 16 k"):
        overlap_tile(ValidUNet(), torch.zeros(1, 3, 120, 120), tile_px=101)
