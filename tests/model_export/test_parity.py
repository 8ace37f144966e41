import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from model_export.architectures import ARCHITECTURES
from model_export.float64_reference import ExactModel
from model_export.parity import Parity, ParityFailed, compare_published, max_abs
from model_export.pictures import synthetic_pictures
from model_export.port import port, with_identity_norms
from model_export.weights import read_convolutions

pytestmark = pytest.mark.torch

GOOD = Parity(published=1e-13, served=1e-13, batch=0.0, published_float32=3e-5, served_float32=3e-5)


def float64_network(name: str, weights_folder: Path) -> nn.Module:
    network = port(ARCHITECTURES[name](), read_convolutions(weights_folder / f"{name}.onnx"))
    return with_identity_norms(network.double())


@pytest.mark.parametrize("size_px", [64, 75])
def test_seven_outputs_of_the_small_network_equal_the_published_ones(
    size_px: int, weights_folder: Path
) -> None:
    """The odd size also checks the rounding of poolings and resizes."""
    published = ExactModel(onnx.load(weights_folder / "u2netp.onnx"))
    pictures = synthetic_pictures(size_px)

    assert compare_published(float64_network("u2netp", weights_folder), published, pictures) < 1e-10


@pytest.mark.slow
def test_seven_outputs_of_the_full_network_equal_the_published_ones(weights_folder: Path) -> None:
    published = ExactModel(onnx.load(weights_folder / "u2net.onnx"))
    pictures = synthetic_pictures(64)[:2]

    assert compare_published(float64_network("u2net", weights_folder), published, pictures) < 1e-10


def test_two_swapped_convolutions_are_detected(weights_folder: Path) -> None:
    convolutions = list(read_convolutions(weights_folder / "u2netp.onnx"))
    convolutions[3], convolutions[4] = convolutions[4], convolutions[3]  # of one shape
    network = with_identity_norms(port(ARCHITECTURES["u2netp"](), convolutions).double())
    published = ExactModel(onnx.load(weights_folder / "u2netp.onnx"))

    assert compare_published(network, published, synthetic_pictures(64)) > 1e-3


def test_figures_within_their_limits_pass() -> None:
    assert GOOD.require() is None


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("published", 2e-5),
        ("served", 2e-5),
        ("batch", 2e-5),
        ("published_float32", 1e-3),
        ("served_float32", 1e-3),
        ("served", math.nan),
    ],
)
def test_a_figure_over_its_limit_is_named(name: str, figure: float) -> None:
    figures = {**{key: getattr(GOOD, key) for key in Parity.__slots__}, name: figure}

    with pytest.raises(ParityFailed, match=f"{name} differs by"):
        Parity(**figures).require()


def test_maps_of_different_shapes_are_refused() -> None:
    with pytest.raises(ParityFailed, match="shapes"):
        max_abs([np.zeros((1, 2), np.float32)], [np.zeros((2, 1), np.float32)])
