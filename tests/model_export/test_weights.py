from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from model_export.weights import PublishedWeightsInvalid, read_convolutions

pytestmark = pytest.mark.torch


def write_model(path: Path, *, kernel: np.ndarray, bias: np.ndarray | None) -> Path:
    """Write an ONNX file of one convolution."""
    parameters = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    node = helper.make_node("Conv", ["features", *parameters], ["maps"], name="conv")
    value = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("features", "maps")
    ]
    graph = helper.make_graph(
        [node],
        "one",
        value[:1],
        value[1:],
        initializer=[numpy_helper.from_array(array, name) for name, array in parameters.items()],
    )
    onnx.save(helper.make_model(graph), path)
    return path


def test_kernel_and_bias_are_read_as_written(tmp_path: Path) -> None:
    kernel = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
    bias = np.array([1.5, -2.5], dtype=np.float32)

    (convolution,) = read_convolutions(write_model(tmp_path / "m.onnx", kernel=kernel, bias=bias), expected=1)

    assert np.array_equal(convolution.kernel, kernel)
    assert np.array_equal(convolution.bias, bias)


def test_the_published_file_holds_119_convolutions(weights_folder: Path) -> None:
    convolutions = read_convolutions(weights_folder / "u2netp.onnx")

    assert len(convolutions) == 119
    assert convolutions[0].kernel.shape == (64, 3, 3, 3)
    assert convolutions[-1].kernel.shape == (1, 6, 1, 1)


@pytest.mark.parametrize(
    ("kernel", "bias", "reason"),
    [
        pytest.param(np.ones((2, 3, 3, 3), np.float32), None, "lacks its kernel or its bias", id="no bias"),
        pytest.param(
            np.ones((2, 3, 3, 3), np.float32), np.ones(3, np.float32), "has kernel", id="bias of another"
        ),
        pytest.param(
            np.ones((2, 3, 3, 3), np.float16), np.ones(2, np.float16), "is not float32", id="half precision"
        ),
    ],
)
def test_a_convolution_that_cannot_be_ported_is_refused(
    kernel: np.ndarray, bias: np.ndarray | None, reason: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.onnx", kernel=kernel, bias=bias)

    with pytest.raises(PublishedWeightsInvalid, match=reason):
        read_convolutions(path, expected=1)


def test_a_wrong_number_of_convolutions_is_refused(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx", kernel=np.ones((2, 3, 3, 3), np.float32), bias=np.ones(2, np.float32)
    )

    with pytest.raises(PublishedWeightsInvalid, match="holds 1 convolutions; the network has 119"):
        read_convolutions(path)


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_file_that_is_not_onnx_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(PublishedWeightsInvalid, match="cannot be read as ONNX"):
        read_convolutions(path)
