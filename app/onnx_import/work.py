"""Work: carries out the order to make a file into the files of a model; runs in the child process."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.engine.models.manifest import MODEL_FILE, write_manifest
from app.onnx_import.build import Request, build
from app.onnx_import.description import Origin, describe, write_card, write_preview
from app.onnx_import.variants import make_variants
from app.weights.catalogue import entry_with


@dataclass(frozen=True, slots=True)
class Order:
    """One import, as JSON can hold it.

    Attributes:
        file: The ONNX file.
        name: The model's name.
        size: [height, width] of the network's input, or None.
        fields: Those fields of ``Preprocessing`` that the user named.
        origin: The members of ``Origin``.
        staging: The folder for the files.
        precisions: Those to make besides the file's own.
        data: The folder of pictures for them, or None.
    """

    file: str
    name: str
    size: list[int] | None
    fields: dict[str, Any]  # Any: each field has its own type
    origin: dict[str, str]
    staging: str
    precisions: list[str] = field(default_factory=list)
    data: str | None = None


def carry_out(members: dict[str, Any]) -> None:
    """Write a model's files into the staging folder.

    Raises:
        GraphRefused: The file cannot become a model.
        OSError: A file cannot be read or written.
    """
    order = Order(**members)
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in order.fields.items()}
    size = None if order.size is None else (order.size[0], order.size[1])
    file, staging = Path(order.file), Path(order.staging)
    built = build(Request(file, size, tuple(fields.items())))
    manifest = describe(built, order.name, file, Origin(**order.origin), entry_with(built.source_sha256))
    variants = make_variants(built, order.precisions, None if order.data is None else Path(order.data))
    manifest = replace(manifest, precisions={name: entry for name, (_, entry) in variants.items()})
    (staging / MODEL_FILE).write_bytes(built.model_bytes)
    for variant_bytes, entry in variants.values():
        (staging / entry.file).write_bytes(variant_bytes)
    write_preview(built, staging)
    write_card(manifest, staging)
    write_manifest(manifest, staging)
