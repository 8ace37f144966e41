"""Reading: a file on the disk becomes a parsed model in memory, complete in itself and within limits.

Rule 1: the file is parsed without any of its external data; each reference is checked before it is followed.
Rule 2: external data is read only from regular files in the model's own folder, links resolved.
Rule 3: sizes are added up before anything is read, so that a file of a few bytes cannot fill the memory.
"""

import hashlib
import stat
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from app.onnx_import.refusal import GraphRefused
from app.onnx_import.traversal import tensors_of

MAX_BYTES = 2**31 - 1
"""The largest protobuf message, and so the largest model in one file."""
MIN_BYTES = 16
INLINED = TensorProto.DataLocation.Value("DEFAULT")
EXTERNAL = TensorProto.DataLocation.Value("EXTERNAL")


def read_model_file(path: Path) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file, and fold its external data into it.

    Args:
        path: The file.

    Returns:
        The model, and the sha256 of the file alone.

    Raises:
        GraphRefused: It is no ONNX file, is too large, or refers to data outside its folder.
        OSError: It cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise GraphRefused(f"{path} is not a regular file.")
    if status.st_size > MAX_BYTES:
        raise GraphRefused(
            f"{path} has {status.st_size:,} bytes; a model in one file has at most {MAX_BYTES:,}. "
            "Export it in half precision."
        )
    content = path.read_bytes()
    model = _parse(content, path)
    _fold_external_data(model, path)
    return model, hashlib.sha256(content).hexdigest()


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    if content.lstrip()[:64].lower().startswith((b"<!doctype", b"<html")):
        raise GraphRefused(f"{path} is a web page, not an ONNX file. Download the file itself.")
    if content.startswith(b"version https://git-lfs"):
        raise GraphRefused(f"{path} is a pointer of Git LFS, not an ONNX file. Run: git lfs pull")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RuntimeError) as error:
        raise GraphRefused(f"{path} is not an ONNX file, or it is cut or damaged.") from error
    if len(content) < MIN_BYTES or not model.graph.node or not model.opset_import:
        raise GraphRefused(f"{path} is not an ONNX file: it has no graph.")
    return model


def _fold_external_data(model: onnx.ModelProto, path: Path) -> None:
    external = [tensor for tensor in tensors_of(model) if tensor.data_location == EXTERNAL]
    places = [_place(tensor, path) for tensor in external]
    total_bytes = path.stat().st_size + sum(length for _, _, length in places)
    if total_bytes > MAX_BYTES:
        raise GraphRefused(
            f"{path} and its external data have {total_bytes:,} bytes; a model in one file has at most "
            f"{MAX_BYTES:,}. Export it in half precision."
        )
    for tensor, (file, offset, length) in zip(external, places, strict=True):
        with file.open("rb") as data:
            data.seek(offset)
            tensor.raw_data = data.read(length)
        tensor.data_location = INLINED
        del tensor.external_data[:]


def _place(tensor: TensorProto, path: Path) -> tuple[Path, int, int]:
    """Return the file, the offset and the length of a tensor's external data, all checked."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    file = (folder / location).resolve() if location and "\0" not in location else folder
    # A cache may keep the model and its data elsewhere, with links to both.
    is_near = any(file.is_relative_to(each) for each in (folder, path.resolve().parent))
    if not is_near or Path(location).is_absolute() or ".." in Path(location).parts:
        raise GraphRefused(
            f"The tensor {tensor.name!r} is stored in {location!r}, outside the folder of {path.name}. "
            "Only files next to the model are read."
        )
    if not file.is_file():
        raise GraphRefused(f"The tensor {tensor.name!r} is stored in {location!r}, which is not in {folder}.")
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length") or file.stat().st_size - offset)
    except ValueError as error:
        raise GraphRefused(f"The tensor {tensor.name!r} has a malformed place in {location!r}.") from error
    if offset < 0 or length < 0 or offset + length > file.stat().st_size:
        raise GraphRefused(f"The tensor {tensor.name!r} lies outside {location!r}; the file may be cut.")
    return file, offset, length
