"""Graphs: small networks as other people export them, each with one trait, and what their maps should be.

All but a few compute the same map: the sigmoid of a weighted sum of a pixel's three normalised channels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.weights.preprocessing import IMAGENET_MEAN, IMAGENET_STD

SIDE = 32
WEIGHTS = np.array([3.0, 1.0, -2.0], np.float32)
BIAS = -1.0
OPSET = 17


def expected_map(
    picture: NDArray[np.uint8], mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> NDArray[np.float64]:
    """Return the map of (S, S, 3) by the definition, pixel by pixel, in float64."""
    height, width, _ = picture.shape
    saliency = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            logit = BIAS
            for channel in range(3):
                value = (int(picture[y, x, channel]) / 255 - mean[channel]) / std[channel]
                logit += float(WEIGHTS[channel]) * value
            saliency[y, x] = 1 / (1 + np.exp(-logit))
    return saliency


def convolution(
    source: str = "picture", target: str = "logits", *, outputs: int = 1, kind: type = np.float32
) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Return the weighted sum as a convolution; with two outputs, the first is the background's, 0."""
    weights = np.zeros((outputs, 3, 1, 1), kind)
    bias = np.zeros(outputs, kind)
    weights[-1, :, 0, 0], bias[-1] = WEIGHTS, BIAS
    return (
        [helper.make_node("Conv", [source, "weights", "bias"], [target], name="conv")],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )


def model_of(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[TensorProto] = (),
    *,
    takes: Sequence[int | str | None] = (1, 3, SIDE, SIDE),
    gives: Sequence[tuple[str, Sequence[int | str | None]]] = (("saliency", (1, 1, SIDE, SIDE)),),
    kind: int = TensorProto.FLOAT,
    opset: int = OPSET,
    domains: Sequence[tuple[str, int]] = (),
) -> onnx.ModelProto:
    """Return a model; the names of its tensors may be those of the serving contract."""
    output_kind = TensorProto.FLOAT16 if kind == TensorProto.FLOAT16 else TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info("picture", kind, takes)],
        [helper.make_tensor_value_info(name, output_kind, shape) for name, shape in gives],
        list(constants),
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*each) for each in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def plain(**changes: object) -> onnx.ModelProto:
    """Return the network with channels first and a sigmoid at its end."""
    nodes, constants = convolution()
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["saliency"])
    return model_of([*nodes, sigmoid], constants, **changes)  # type: ignore[arg-type]


def saved(model: onnx.ModelProto, folder: Path, name: str = "tiny.onnx") -> Path:
    """Write a model and return its path."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def channels_last() -> onnx.ModelProto:
    """Return the network with channels last, as TensorFlow exports it."""
    nodes, constants = convolution("first")
    first = helper.make_node("Transpose", ["picture"], ["first"], perm=[0, 3, 1, 2])
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["map"])
    last = helper.make_node("Transpose", ["map"], ["saliency"], perm=[0, 2, 3, 1])
    shapes = {"takes": (1, SIDE, SIDE, 3), "gives": [("saliency", (1, SIDE, SIDE, 1))]}
    return model_of([first, *nodes, sigmoid, last], constants, **shapes)  # type: ignore[arg-type]


def logits() -> onnx.ModelProto:
    """Return the network without its sigmoid."""
    nodes, constants = convolution(target="saliency")
    return model_of(nodes, constants)


def two_outputs() -> onnx.ModelProto:
    """Return the network with a vector before its map."""
    nodes, constants = convolution()
    vector = helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[2, 3], keepdims=0)
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["saliency"])
    gives = [("mean", (1, 1)), ("saliency", (1, 1, SIDE, SIDE))]
    return model_of([*nodes, vector, sigmoid], constants, gives=gives)


def softmax(*, is_inside: bool) -> onnx.ModelProto:
    """Return the network with two channels, and perhaps the softmax over them."""
    nodes, constants = convolution(outputs=2)
    operator, options = ("Softmax", {"axis": 1}) if is_inside else ("Identity", {})
    last = helper.make_node(operator, ["logits"], ["saliency"], **options)
    return model_of([*nodes, last], constants, gives=[("saliency", (1, 2, SIDE, SIDE))])


def half() -> onnx.ModelProto:
    """Return the network in half precision, input and output too."""
    nodes, constants = convolution(kind=np.float16)
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["saliency"])
    return model_of([*nodes, sigmoid], constants, kind=TensorProto.FLOAT16)


def dynamic() -> onnx.ModelProto:
    """Return the network for any number of pictures of any size."""
    axes = ("n", 3, "h", "w")
    return plain(takes=axes, gives=[("saliency", ("n", 1, "h", "w"))])


def slow() -> onnx.ModelProto:
    """Return a network whose run takes a minute or more."""
    side, depth = 768, 60
    first = np.full((32, 3, 1, 1), 0.1, np.float32)
    middle = np.full((32, 32, 7, 7), 1 / (32 * 49), np.float32)
    nodes = [helper.make_node("Conv", ["picture", "first"], ["features0"])]
    for number in range(depth):
        names = [f"features{number}", "middle"], [f"features{number + 1}"]
        nodes.append(helper.make_node("Conv", *names, pads=[3] * 4))
    nodes.append(helper.make_node("ReduceMean", [f"features{depth}"], ["saliency"], axes=[1]))
    constants = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(middle, "middle")]
    shapes = {"takes": (1, 3, side, side), "gives": [("saliency", (1, 1, side, side))]}
    return model_of(nodes, constants, **shapes)  # type: ignore[arg-type]


def fixed_reshape() -> onnx.ModelProto:
    """Return the network with one picture written into a reshape and a resize."""
    nodes, constants = convolution()
    shape = numpy_helper.from_array(np.array([1, 1, SIDE, SIDE], np.int64), "shape")
    nodes += [
        helper.make_node("Reshape", ["logits", "shape"], ["reshaped"]),
        helper.make_node("Resize", ["reshaped", "", "", "shape"], ["resized"], mode="nearest"),
        helper.make_node("Sigmoid", ["resized"], ["saliency"]),
    ]
    return model_of(nodes, [*constants, shape])


def mixes_pictures() -> onnx.ModelProto:
    """Return a network that subtracts the mean over the batch, so that a batch mixes its pictures."""
    nodes, constants = convolution()
    nodes += [
        helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Mul", ["mean", "half"], ["part"]),
        helper.make_node("Sub", ["logits", "part"], ["rest"]),
        helper.make_node("Sigmoid", ["rest"], ["saliency"]),
    ]
    return model_of(nodes, [*constants, numpy_helper.from_array(np.float32(0.5), "half")])


def quantised(*, is_dynamic: bool) -> onnx.ModelProto:
    """Return the network in 8 bits: with fixed ranges, or with those of each run's tensor."""
    weights = numpy_helper.from_array(
        np.rint(WEIGHTS / 3 * 127).astype(np.int8).reshape(1, 3, 1, 1), "weights"
    )
    scale = numpy_helper.from_array(np.float32(3 / 127), "weight_scale")
    bias = numpy_helper.from_array(np.float32(BIAS), "bias")
    if is_dynamic:
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["picture"], ["q", "q_scale", "q_zero"]),
            helper.make_node("ConvInteger", ["q", "weights", "q_zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["floats", "q_scale"], ["scaled"]),
            helper.make_node("Mul", ["scaled", "weight_scale"], ["weighted"]),
        ]
        constants = [weights, scale, bias]
    else:
        step = numpy_helper.from_array(np.float32(6 / 255), "step")
        zero = numpy_helper.from_array(np.uint8(128), "zero")
        no_offset = numpy_helper.from_array(np.int8(0), "no_offset")
        nodes = [
            helper.make_node("QuantizeLinear", ["picture", "step", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["values"]),
            helper.make_node("DequantizeLinear", ["weights", "weight_scale", "no_offset"], ["kernel"]),
            helper.make_node("Conv", ["values", "kernel"], ["weighted"]),
        ]
        constants = [weights, scale, bias, step, zero, no_offset]
    nodes += [
        helper.make_node("Add", ["weighted", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["saliency"]),
    ]
    return model_of(nodes, constants)


def with_external(folder: Path, location: str, *, offset: int = 0, length: int | None = None) -> Path:
    """Write the network with its kernel stored in another file, and return its path."""
    model = plain()
    (tensor,) = (each for each in model.graph.initializer if each.name == "weights")
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length or len(content))):
        tensor.external_data.add(key=key, value=str(value))
    if "/" not in location and "\\" not in location:
        (folder / location).write_bytes(bytes(offset) + content)
    return saved(model, folder)


def layered(*, giant: float = 0.0, opset: int = OPSET) -> onnx.ModelProto:
    """Return a network of several layers, as exporters write them: see the comments.

    Args:
        giant: What the first channel of every layer multiplies the second one with. No later layer needs it,
            but it takes up the range of the layer's tensor.
        opset: The version of the operators.
    """
    rng = np.random.default_rng(7)
    constants: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def conv(
        source: str, target: str, kernel: NDArray[np.floating], *, bias: bool = True, group: int = 1
    ) -> None:
        names = [f"{target}.w", *([f"{target}.b"] if bias else [])]
        constants.append(numpy_helper.from_array(kernel.astype(np.float32), names[0]))
        if bias:
            constants.append(numpy_helper.from_array(np.full(len(kernel), 0.1, np.float32), names[1]))
        pads = [kernel.shape[-1] // 2] * 4
        nodes.append(helper.make_node("Conv", [source, *names], [target], group=group, pads=pads))

    def signal(inputs: int) -> NDArray[np.floating]:
        kernel = np.abs(rng.normal(0.1, 0.05, (8, inputs, 3, 3)))
        if inputs == 8:
            kernel[:, 0] = 0
        if giant:
            kernel[0] = giant * kernel[1]
        return kernel

    conv("picture", "a", signal(3), bias=False)  # no bias
    nodes.append(helper.make_node("Relu", ["a"], ["a.relu"]))
    nodes.append(helper.make_node("MaxPool", ["a.relu"], ["half"], kernel_shape=[2, 2], strides=[2, 2]))
    conv("half", "b", signal(8))
    normalisation = [np.ones(8), np.zeros(8), np.zeros(8), np.full(8, 1.5)]  # scale, bias, mean, variance
    names = [f"norm.{number}" for number in range(4)]
    constants += [
        numpy_helper.from_array(each.astype(np.float32), name)
        for name, each in zip(names, normalisation, strict=True)
    ]
    nodes.append(helper.make_node("BatchNormalization", ["b", *names], ["b.norm"]))  # not folded
    nodes.append(helper.make_node("Relu", ["b.norm"], ["b.relu"]))
    conv("b.relu", "c", signal(8)[:, :1] if not giant else signal(8), group=1 if giant else 8)  # depthwise
    nodes.append(helper.make_node("Shape", ["a"], ["size"]))  # the size of a resize is computed
    nodes.append(helper.make_node("Resize", ["c", "", "", "size"], ["up"], mode="linear"))
    nodes.append(helper.make_node("Concat", ["up", "a.relu"], ["joined"], axis=1))
    kernel = np.concatenate([signal(8), signal(8)], axis=1)
    conv("joined", "d", kernel)
    nodes.append(helper.make_node("Add", ["d", "offset"], ["moved"]))  # a sum with a stored tensor
    nodes.append(helper.make_node("Add", ["moved", "up"], ["sum"]))  # and one of two layers
    constants.append(numpy_helper.from_array(np.float32(0.25), "offset"))
    last = 0.05 * rng.normal(0, 1, (1, 8, 3, 3))
    last[:, 0] = 0
    conv("sum", "logits", last)
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["saliency"]))
    return model_of(nodes, constants, opset=opset)


def branches() -> onnx.ModelProto:
    """Return the network with an If inside an If, whose condition is stored outside both."""
    chosen, outer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("c", "d"))
    inside = helper.make_graph(
        [helper.make_node("Add", ["logits", "nothing"], ["c"])], "inside", [], [chosen]
    )
    again = helper.make_node("If", ["yes"], ["d"], then_branch=inside, else_branch=inside)
    around = helper.make_graph([again], "around", [], [outer])
    nodes, constants = convolution()
    nodes += [
        helper.make_node("If", ["yes"], ["more"], then_branch=around, else_branch=around),
        helper.make_node("Sigmoid", ["more"], ["saliency"]),
    ]
    stored = [
        numpy_helper.from_array(value, name)
        for value, name in ((np.array(True), "yes"), (np.float32(0), "nothing"))
    ]
    return model_of(nodes, [*constants, *stored])


def shape_in_whole_numbers() -> onnx.ModelProto:
    """Return the network with one picture written into a constant of whole numbers, as torch does."""
    nodes, constants = convolution()
    nodes += [
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 1, SIDE, SIDE]),
        helper.make_node("Reshape", ["logits", "shape"], ["reshaped"]),
        helper.make_node("Sigmoid", ["reshaped"], ["saliency"]),
    ]
    return model_of(nodes, constants)


def softmax_by_hand() -> onnx.ModelProto:
    """Return the network with two channels, and a softmax written out as operators."""
    nodes, constants = convolution(outputs=2)
    nodes += [
        helper.make_node("Exp", ["logits"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "channels"], ["total"], keepdims=1),
        helper.make_node("Div", ["powers", "total"], ["saliency"]),
    ]
    channels = numpy_helper.from_array(np.array([1], np.int64), "channels")
    return model_of(nodes, [*constants, channels], gives=[("saliency", (1, 2, SIDE, SIDE))])


def double_output() -> onnx.ModelProto:
    """Return the network with a map in double precision."""
    nodes, constants = convolution()
    nodes += [
        helper.make_node("Sigmoid", ["logits"], ["single"]),
        helper.make_node("Cast", ["single"], ["saliency"], to=TensorProto.DOUBLE),
    ]
    model = model_of(nodes, constants)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def flattened() -> onnx.ModelProto:
    """Return the network with two classes of each pixel in a row."""
    nodes, constants = convolution(outputs=2)
    nodes += [
        helper.make_node("Reshape", ["logits", "row"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["pixels"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["pixels"], ["saliency"], axis=2),
    ]
    row = numpy_helper.from_array(np.array([1, 2, -1], np.int64), "row")
    return model_of(nodes, [*constants, row], gives=[("saliency", (1, SIDE * SIDE, 2))])


def of_bytes() -> onnx.ModelProto:
    """Return the network with its map as 0 to 255."""
    nodes, constants = convolution()
    nodes += [
        helper.make_node("Sigmoid", ["logits"], ["map"]),
        helper.make_node("Mul", ["map", "white"], ["saliency"]),
    ]
    return model_of(nodes, [*constants, numpy_helper.from_array(np.float32(255), "white")])


def two_sigmoids() -> onnx.ModelProto:
    """Return the network with two channels, each with a sigmoid of its own."""
    nodes, constants = convolution(outputs=2)
    sigmoid = helper.make_node("Sigmoid", ["logits"], ["saliency"])
    return model_of([*nodes, sigmoid], constants, gives=[("saliency", (1, 2, SIDE, SIDE))])


def of_whole_numbers() -> onnx.ModelProto:
    """Return the network for a picture's bytes, which it divides by 255."""
    model = plain(kind=TensorProto.UINT8)
    model.graph.node[0].input[0] = "floats"
    model.graph.node.insert(0, helper.make_node("Cast", ["picture"], ["reals"], to=TensorProto.FLOAT))
    model.graph.node.insert(1, helper.make_node("Div", ["reals", "white"], ["floats"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(255), "white"))
    return model
