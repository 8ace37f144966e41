"""Build: a file becomes a served graph, step by step, or is refused.

read → check operators → read off → propose → run the file → wrap → prove the batch → compare with the file
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from app.arrays import NetworkInput, SaliencyMap
from app.onnx_import.anatomy import MAX_SIDE_PX, Anatomy, read_anatomy
from app.onnx_import.batch_axis import free_batch_axis
from app.onnx_import.proposal import propose_output
from app.onnx_import.reading import read_model_file
from app.onnx_import.refusal import GraphRefused, RunFailed
from app.onnx_import.runner import Outputs
from app.onnx_import.safety import require_safe
from app.onnx_import.trial import (
    BATCH_LIMIT,
    FILE_LIMITS,
    largest_difference,
    map_of,
    require_map,
    run_file,
    run_served,
)
from app.onnx_import.wrapping import MapShape, wrap
from app.pipeline.photographs import photographs
from app.weights.catalogue import CatalogueEntry, entry_with
from app.weights.preprocessing import Preprocessing

MIN_OPSET = 9
MIN_SIDE_PX = 16
NORMALISATION = {"scale", "mean", "std"}


@dataclass(frozen=True, slots=True)
class Request:
    """What the user said about a file; None where the graph, the catalogue or a default decides.

    ``size`` is (height, width); the others are the fields of ``Preprocessing``.
    """

    file: Path
    size: tuple[int, int] | None = None
    fields: tuple[tuple[str, Any], ...] = ()  # Any: each field has its own type


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """A served graph, with what was found out about it.

    Attributes:
        model_bytes: The served graph.
        source_sha256: Of the file.
        anatomy: What was read off the graph.
        size: (height, width) of the network's input.
        preprocessing: As it was wrapped.
        output: The shape of the network's map.
        max_batch: 1 if the graph runs one picture at a time, else None.
        batch_difference: The largest difference between maps alone and in a batch; None without batches.
        file_difference: The largest difference between the served graph's maps and the file's.
        stored_as: The precision of most of the file's parameters.
        parameters: Their number.
        pictures: The photographs that it ran on, uint8 (N, S, S, 3).
        maps: Their maps, float32 (N, S, S).
    """

    model_bytes: bytes
    source_sha256: str
    anatomy: Anatomy
    size: tuple[int, int]
    preprocessing: Preprocessing
    output: MapShape
    max_batch: int | None
    batch_difference: float | None
    file_difference: float
    stored_as: str
    parameters: int
    pictures: NetworkInput
    maps: SaliencyMap


def build(request: Request) -> BuiltGraph:
    """Make a served graph from a file.

    Raises:
        GraphRefused: The file cannot become a model.
        OSError: It cannot be read.
    """
    model, sha256 = read_model_file(request.file)
    model = require_safe(model)
    anatomy = read_anatomy(model)
    if anatomy.opset < MIN_OPSET:
        raise GraphRefused(f"The graph has opset {anatomy.opset}; export it again with {MIN_OPSET} or newer.")
    if anatomy.input.batch not in (None, 1):
        raise GraphRefused(f"The graph takes exactly {anatomy.input.batch} pictures; export it for one.")
    entry = entry_with(sha256)
    size = _size(request, anatomy, None if entry is None else (entry.size_px, entry.size_px))
    preprocessing = _preprocessing(request, entry, anatomy)
    pictures = photographs(max(size))
    raw = run_file(model.SerializeToString(), anatomy, preprocessing, pictures, size)
    known = {"output", "activation"} if entry is not None else set(dict(request.fields))
    preprocessing, output = propose_output(raw, anatomy, preprocessing, size=size, known=known)
    expected = _maps(raw, preprocessing, output, side_px=max(size))
    require_map(expected)
    model_bytes, maps, batch_difference = _wrap_and_prove(
        model, anatomy, preprocessing, size, output, pictures
    )
    stored_as, parameters = _parameters(model)
    file_difference = largest_difference(maps, expected)
    if not file_difference <= FILE_LIMITS[stored_as]:
        raise GraphRefused(
            f"The served graph's maps differ from the file's by {file_difference:.2g}, more than "
            f"{FILE_LIMITS[stored_as]:g}."
        )
    return BuiltGraph(
        model_bytes,
        sha256,
        anatomy,
        size,
        preprocessing,
        output,
        None if batch_difference is not None else 1,
        batch_difference,
        file_difference,
        stored_as,
        parameters if entry is None else entry.parameters,
        pictures,
        maps,
    )


def _preprocessing(request: Request, entry: CatalogueEntry | None, anatomy: Anatomy) -> Preprocessing:
    """Return the catalogue's preprocessing or the usual one, with what the user named."""
    known = Preprocessing() if entry is None else entry.preprocessing
    fields = dict(request.fields)
    if anatomy.input.kind == "uint8":
        if named := sorted(NORMALISATION & set(fields)):
            raise GraphRefused(
                f"The graph takes a picture's bytes and normalises them itself; leave out --{named[0]}."
            )
        known = replace(known, scale="1", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    try:
        return replace(known, **fields)
    except ValueError as error:
        raise GraphRefused(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _maps(raw: list[Outputs], preprocessing: Preprocessing, output: MapShape, *, side_px: int) -> SaliencyMap:
    """Return the file's maps, (N, S, S), computed in NumPy."""
    number = preprocessing.output
    return np.stack([map_of(each[number], output, preprocessing, side_px=side_px) for each in raw])


def _size(request: Request, anatomy: Anatomy, known: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size of the network's input, from the graph, the user or the catalogue."""
    fixed = (anatomy.input.height, anatomy.input.width)
    wanted = request.size or known
    if wanted is None:
        if fixed[0] is None or fixed[1] is None:
            raise GraphRefused(
                "The graph takes pictures of any size, so its size cannot be read off. Name the one that its "
                "authors use, for example: --size 512"
            )
        wanted = (fixed[0], fixed[1])
    for name, is_fixed, side in zip(("height", "width"), fixed, wanted, strict=True):
        if is_fixed not in (None, side):
            raise GraphRefused(f"The graph takes a {name} of {is_fixed} px, not {side} px. Leave out --size.")
    if min(wanted) < MIN_SIDE_PX:
        raise GraphRefused(f"A network's input has at least {MIN_SIDE_PX} px a side, not {min(wanted)}.")
    if max(wanted) > MAX_SIDE_PX:
        raise GraphRefused(f"A network's input has at most {MAX_SIDE_PX} px a side, not {max(wanted)}.")
    return wanted


def _wrap_and_prove(
    model: onnx.ModelProto,
    anatomy: Anatomy,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    output: MapShape,
    pictures: NetworkInput,
) -> tuple[bytes, SaliencyMap, float | None]:
    """Return the served graph, its maps, and the difference in a batch; None if it takes one at a time."""

    def wrapped(network: onnx.ModelProto, batch: int | None) -> bytes:
        return wrap(network, anatomy, preprocessing, size=size, output=output, batch=batch)

    try:
        freed = wrapped(free_batch_axis(model, anatomy.input.name), None)
        maps, difference = run_served(freed, pictures)
        if difference is not None and difference <= BATCH_LIMIT:
            return freed, maps, difference
    except RunFailed:
        pass  # the graph computes with its fixed axis, so it keeps it
    try:
        fixed = wrapped(model, 1)
        maps, _ = run_served(fixed, pictures)
    except RunFailed as error:
        raise GraphRefused(f"ONNX Runtime cannot run the served graph: {error}") from error
    return fixed, maps, None


def _parameters(model: onnx.ModelProto) -> tuple[str, int]:
    """Return the precision of most parameters, and the number of all."""
    counts: dict[str, int] = {}
    names = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.FLOAT16: "fp16"}
    names |= dict.fromkeys((onnx.TensorProto.INT8, onnx.TensorProto.UINT8), "int8")
    constants = (a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute)
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type in names and tensor.dims:
            kind = names[tensor.data_type]
            counts[kind] = counts.get(kind, 0) + int(np.prod(tensor.dims))
    return max(counts, key=lambda kind: counts[kind], default="float32"), sum(counts.values())
