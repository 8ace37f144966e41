"""Manifest: the export's description of a model, and the check that the model's file matches it.

Rule: a model whose bytes differ from the sha256 in its manifest is never loaded. A model is a single file,
loaded from bytes; the runtime never gets a path, so external data cannot refer to other files.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from app.errors import ModelUnavailable
from app.system_errors import reason_of

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """The source and the licence of a model's weights."""

    source: str
    sha256: str
    license: str
    authors: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contract between the export and the service, one per model.

    ``input_size_px`` is S of the served graph ``uint8 (N, S, S, 3) -> float32 (N, S, S)``;
    ``output`` is the meaning of its values; ``quality`` maps names of metrics to measured values.
    """

    name: str
    architecture: str
    sha256: str
    size_bytes: int
    opset: int
    input_size_px: int
    output: str
    precision: str
    parameters: int
    weights: WeightsOrigin
    quality: dict[str, float]


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write ``manifest.json`` into ``folder`` and return its path."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in ``folder``.

    Raises:
        ModelUnavailable: It is missing, is not JSON, or lacks a field.
    """
    path = folder / MANIFEST_FILE
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Manifest)}
        unknown = sorted(set(members) - known)
        if unknown:
            raise ModelUnavailable(folder.name, f"{path}: unknown members {unknown}")
        return Manifest(**{**members, "weights": WeightsOrigin(**members["weights"])})
    except FileNotFoundError as error:
        raise ModelUnavailable(
            folder.name, f"{path} is missing; run: make export MODEL={folder.name}"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelUnavailable(folder.name, f"{path} cannot be read: {reason_of(error)}") from error


def read_model(folder: Path, manifest: Manifest) -> bytes:
    """Return the bytes of the model in ``folder`` after checking their sha256 against the manifest.

    Raises:
        ModelUnavailable: The file is missing or differs; the reason includes both hashes.
    """
    path = folder / MODEL_FILE
    try:
        model_bytes = path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(manifest.name, f"{path} cannot be read: {reason_of(error)}") from error
    actual = hashlib.sha256(model_bytes).hexdigest()
    if actual != manifest.sha256:
        raise ModelUnavailable(
            manifest.name,
            f"{path} is not the file its manifest names: expected sha256 {manifest.sha256}, found {actual}",
        )
    return model_bytes
