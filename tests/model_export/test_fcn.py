import pytest
import torch
from torch import nn
from torch.nn import functional

from model_export.architectures.fcn import FCN, Bilinear
from model_export.cost import count_parameters
from tests.model_export.runs import on_meta_device

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("stride", "millions"), [(32, 136.2), (16, 134.8), (8, 134.5)])
def test_fcn_with_21_classes_and_fixed_kernels_has_the_papers_parameters(
    stride: int, millions: float
) -> None:
    """The authors' files hold upsampling kernels between all pairs of classes; only 21 are not zero."""
    network = on_meta_device(lambda: FCN(stride, classes=21))  # type: ignore[arg-type]
    used = {32: ("enlarge",), 16: ("double32", "enlarge"), 8: ("double32", "double16", "enlarge")}[stride]
    fixed = sum(21 * 21 * getattr(network, name).weight.shape[-1] ** 2 for name in used)

    assert (count_parameters(network) + fixed) / 1e6 == pytest.approx(millions, abs=0.06)


def test_fcn_upsampling_is_bilinear() -> None:
    """Away from the border, the result equals interpolation."""
    scores = torch.rand(1, 2, 9, 11)
    larger = Bilinear(2, 8)(scores)
    expected = functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=False)

    assert torch.allclose(larger[:, :, 12:-12, 12:-12], expected[:, :, 8:-8, 8:-8], atol=1e-5)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_fcn_map_is_aligned_with_the_picture(stride: int) -> None:
    """A network whose scores are the mean brightness marks a bright spot at its place, not shifted."""
    network = FCN(stride, width=1).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.zero_()
        picture = torch.zeros(1, 3, 224, 288)
        picture[:, :, 96:128, 160:192] = 1
        result = network(picture)[0][0, 0]
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in result.shape)
        result = result - result.min()
        centre = (result.sum(1) @ rows / result.sum(), result.sum(0) @ columns / result.sum())

    assert abs(float(centre[0]) - 111.5) < 12
    assert abs(float(centre[1]) - 175.5) < 12
