"""Networks: small ONNX files written by hand, with behaviour that no published network has.

The serving environment has no package that writes ONNX, and needs none: a protobuf message is a list
of numbered fields, and a graph of ten nodes has few of them.

References:
    onnx/onnx.proto (field numbers); https://protobuf.dev/programming-guides/encoding
"""

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

from app.engine.models.manifest import (
    MODEL_FILE,
    Manifest,
    Variant,
    WeightsOrigin,
    read_manifest,
    write_manifest,
)

SIDE = 32
FLOAT, UINT8, INT64, BOOL = 1, 2, 7, 9
_INT, _GRAPH = 2, 5  # AttributeProto.AttributeType


def hanging_model(folder: Path, name: str = "hangs") -> Path:
    """Write a model that returns the mean brightness as saliency, and hangs on a picture with a white pixel.

    It hangs in a Loop, whose number of iterations is the brightest value's excess over 254, times 10^15.
    """
    excess = _node("Sub", ["brightest", "almost_white"], ["excess"])
    nodes = [
        _node("Cast", ["network_input"], ["colours"], _attribute("to", _INT, FLOAT)),
        _node("ReduceMax", ["colours"], ["brightest"], _attribute("keepdims", _INT, 0)),
        excess,
        _node("Relu", ["excess"], ["positive"]),
        _node("Mul", ["positive", "very_many"], ["iterations_float"]),
        _node("Cast", ["iterations_float"], ["iterations"], _attribute("to", _INT, INT64)),
        _node("Loop", ["iterations", "", "zero"], ["nothing"], _attribute("body", _GRAPH, _loop_body())),
        _node("ReduceMean", ["colours", "channels"], ["means"], _attribute("keepdims", _INT, 0)),
        _node("Div", ["means", "white"], ["bright"]),
        _node("Add", ["bright", "nothing"], ["saliency"]),
    ]
    constants = [
        _tensor("almost_white", FLOAT, [], struct.pack("<f", 254.0)),
        _tensor("very_many", FLOAT, [], struct.pack("<f", 1e15)),
        _tensor("zero", FLOAT, [], struct.pack("<f", 0.0)),
        _tensor("white", FLOAT, [], struct.pack("<f", 255.0)),
        _tensor("channels", INT64, [1], struct.pack("<q", 3)),
    ]
    return _write(folder, name, SIDE, nodes, constants)


FULL_REDNESS = 120.0


def redness_model(folder: Path, name: str = "u2netp", side: int = 320) -> Path:
    """Write a model whose saliency is how much redder than blue a pixel is, in place of a real network.

    It finds the subject of ``photo()`` and most of docs/images/astronaut.jpg, thousands of times as fast.
    """
    return _write(folder, name, side, *_redness_graph(FULL_REDNESS))


def add_redness_precision(
    target: Path, precision: str = "int8", *, full: float = FULL_REDNESS, difference: float = 0.0
) -> None:
    """Add a graph in another precision to the folder of a ``redness_model``.

    Args:
        target: The folder of the model.
        precision: Its name in the manifest.
        full: The redness of saliency 1; with another one than ``FULL_REDNESS`` the maps differ.
        difference: The mean difference of the maps according to the manifest.
    """
    manifest = read_manifest(target)
    model = _serialized(manifest.input_size_px, *_redness_graph(full), producer=precision)
    file = f"model.{precision}.onnx"
    (target / file).write_bytes(model)
    quality = dict.fromkeys(("d_p95", "d_worst", "mae", "mae_float32", "maxf", "maxf_float32"), 0.0)
    variant = Variant(file, hashlib.sha256(model).hexdigest(), len(model), {"d": difference, **quality})
    write_manifest(replace(manifest, precisions={**manifest.precisions, precision: variant}), target)


def _redness_graph(full: float) -> tuple[list[bytes], list[bytes]]:
    """Return the nodes and the constants."""
    nodes = [
        _node("Cast", ["network_input"], ["colours"], _attribute("to", _INT, FLOAT)),
        _node("Mul", ["colours", "red_minus_blue"], ["weighted"]),
        _node("ReduceSum", ["weighted", "channels"], ["redness"], _attribute("keepdims", _INT, 0)),
        _node("Clip", ["redness", "none", "full"], ["clipped"]),
        _node("Div", ["clipped", "full"], ["saliency"]),
    ]
    constants = [
        _tensor("red_minus_blue", FLOAT, [3], struct.pack("<3f", 1.0, 0.0, -1.0)),
        _tensor("channels", INT64, [1], struct.pack("<q", 3)),
        _tensor("none", FLOAT, [], struct.pack("<f", 0.0)),
        _tensor("full", FLOAT, [], struct.pack("<f", full)),
    ]
    return nodes, constants


def _write(folder: Path, name: str, side: int, nodes: list[bytes], constants: list[bytes]) -> Path:
    """Write a model and its manifest, and return their folder."""
    model = _serialized(side, nodes, constants)
    target = folder / name
    target.mkdir(parents=True)
    (target / MODEL_FILE).write_bytes(model)
    origin = WeightsOrigin(source="tests", sha256="0" * 64, license="CC0-1.0", authors="none")
    manifest = Manifest(
        name, "by hand", hashlib.sha256(model).hexdigest(), len(model), 18, side, "", "float32", 0, origin, {}
    )
    write_manifest(manifest, target)
    return target


def _serialized(side: int, nodes: list[bytes], constants: list[bytes], producer: str = "") -> bytes:
    """Return the bytes of a model; another producer gives the same graph other bytes."""
    graph = b"".join(
        (
            *(_bytes(1, node) for node in nodes),
            _bytes(2, b"served"),
            *(_bytes(5, constant) for constant in constants),
            _bytes(11, _value("network_input", UINT8, ["N", side, side, 3])),
            _bytes(12, _value("saliency", FLOAT, ["N", side, side])),
        )
    )
    named = _bytes(2, producer.encode()) if producer else b""
    return _number(1, 8) + named + _bytes(7, graph) + _bytes(8, _number(2, 18))


def _loop_body() -> bytes:
    """Return the graph of one iteration: an addition, with the condition unchanged."""
    return b"".join(
        (
            _bytes(1, _node("Add", ["sum", "sum"], ["sum_out"])),
            _bytes(1, _node("Identity", ["condition"], ["condition_out"])),
            _bytes(2, b"iteration"),
            _bytes(11, _value("iteration_number", INT64, [])),
            _bytes(11, _value("condition", BOOL, [])),
            _bytes(11, _value("sum", FLOAT, [])),
            _bytes(12, _value("condition_out", BOOL, [])),
            _bytes(12, _value("sum_out", FLOAT, [])),
        )
    )


def _node(operator: str, inputs: list[str], outputs: list[str], attribute: bytes = b"") -> bytes:
    names = (*(_bytes(1, name.encode()) for name in inputs), *(_bytes(2, name.encode()) for name in outputs))
    return b"".join(names) + _bytes(4, operator.encode()) + (_bytes(5, attribute) if attribute else b"")


def _attribute(name: str, kind: int, value: int | bytes) -> bytes:
    held = _bytes(6, value) if isinstance(value, bytes) else _number(3, value)
    return _bytes(1, name.encode()) + held + _number(20, kind)


def _tensor(name: str, element: int, dims: list[int], raw: bytes) -> bytes:
    sizes = b"".join(_number(1, size) for size in dims)
    return sizes + _number(2, element) + _bytes(8, name.encode()) + _bytes(9, raw)


def _value(name: str, element: int, dims: list[int | str]) -> bytes:
    sizes = b"".join(
        _bytes(1, _bytes(2, size.encode()) if isinstance(size, str) else _number(1, size)) for size in dims
    )
    tensor = _number(1, element) + _bytes(2, sizes)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
