"""Manifest: the export's description of a model, and the check that the model's file matches it.

Rule: a model whose bytes differ from the sha256 in its manifest is never loaded. A model is a single file,
loaded from bytes; the runtime never gets a path, so external data cannot refer to other files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from app.errors import ModelUnavailable
from app.system_errors import reason_of

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
FLOAT32 = "float32"
VARIANT_FILES: Mapping[str, str] = {"int8": "model.int8.onnx", "fp16": "model.fp16.onnx"}
"""The further precisions that a model can have, and the names of their files next to ``model.onnx``."""


@dataclass(frozen=True, slots=True)
class WeightsOrigin:
    """The source and the licence of a model's weights.

    ``commercial`` is ``yes``, ``contested``, ``no`` or ``unclear``, and ``basis`` the public place that this
    rests on; both are empty if that was not looked up.
    """

    source: str
    sha256: str
    license: str
    authors: str
    commercial: str = ""
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """The same network in another precision, with the same serving contract.

    ``file`` is a plain name in the model's folder. ``quality`` has ``d``, ``d_p95`` and ``d_worst``, the mean
    |difference| to the float32 map at network size over a set's pictures (mean, 95th percentile and largest);
    ``mae`` and ``maxf`` of this precision on the set, and ``mae_float32`` and ``maxf_float32``. A model that
    was made of a third party's file has d alone, over the user's pictures.
    """

    file: str
    sha256: str
    size_bytes: int
    quality: dict[str, float]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contract between the export and the service, one per model.

    ``input_size_px`` is S of the served graph ``uint8 (N, S, S, 3) -> float32 (N, S, S)``;
    ``output`` is the meaning of its values; ``quality`` maps names of metrics to measured values;
    ``precisions`` has the variants by precision, the keys of ``VARIANT_FILES``. ``purpose`` is what the
    network is for, as a phrase. ``max_batch`` is the most pictures that the graph can run together; None has
    no limit. ``preprocessing`` is how a third party's graph was wrapped. ``uncertain_from``
    is the uncertainty from which a result is called uncertain, if that is not the service's own.
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
    precisions: Mapping[str, Variant] = field(default_factory=dict)
    purpose: str = ""
    max_batch: int | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    uncertain_from: float | None = None


def sha256_of(manifest: Manifest, precision: str) -> str:
    """Return the sha256 of the graph that is served in a precision, which the manifest must have."""
    return manifest.sha256 if precision == FLOAT32 else manifest.precisions[precision].sha256


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write ``manifest.json`` into ``folder`` and return its path."""
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in ``folder``.

    Raises:
        ModelUnavailable: It is missing, is not JSON, lacks a field, or names an unknown precision or a file
            outside the folder, or its threshold of the verdict is no part of 1.
    """
    path = folder / MANIFEST_FILE
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        known = {each.name for each in fields(Manifest)}
        unknown = sorted(set(members) - known)
        if unknown:
            raise ModelUnavailable(folder.name, f"{path}: unknown members {unknown}")
        nested = {
            "weights": WeightsOrigin(**members["weights"]),
            "precisions": {
                precision: _variant(precision, stored)
                for precision, stored in dict(members.get("precisions", {})).items()
            },
        }
        _check_threshold(members.get("uncertain_from"))
        manifest = Manifest(**{**members, **nested})
        if manifest.max_batch is not None and not (
            isinstance(manifest.max_batch, int) and manifest.max_batch >= 1
        ):
            raise ValueError(f"max_batch is {manifest.max_batch!r}, not a number from 1")
        return manifest
    except FileNotFoundError as error:
        raise ModelUnavailable(
            folder.name,
            f"{path} is missing; run: cutout models add {folder.name}, or in a checkout: "
            f"make export MODEL={folder.name}{_others_in(folder.parent)}",
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelUnavailable(folder.name, f"{path} cannot be read: {reason_of(error)}") from error


def read_model(folder: Path, manifest: Manifest, precision: str = FLOAT32) -> bytes:
    """Return the bytes of the model in ``folder`` after checking their sha256 against the manifest.

    Args:
        folder: The model's folder.
        manifest: Its manifest.
        precision: ``float32``, or a key of ``manifest.precisions``.

    Raises:
        ModelUnavailable: The manifest has no such precision, or the file is missing or differs; the reason
            includes both hashes.
    """
    if precision == FLOAT32:
        path, expected = folder / MODEL_FILE, manifest.sha256
    elif precision in manifest.precisions:
        variant = manifest.precisions[precision]
        path, expected = folder / variant.file, variant.sha256
    else:
        raise ModelUnavailable(manifest.name, f"{folder} has no {precision} model; its manifest names none")
    try:
        model_bytes = path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(manifest.name, f"{path} cannot be read: {reason_of(error)}") from error
    actual = hashlib.sha256(model_bytes).hexdigest()
    if actual != expected:
        raise ModelUnavailable(
            manifest.name,
            f"{path} is not the file its manifest names: expected sha256 {expected}, found {actual}",
        )
    return model_bytes


def _others_in(models_dir: Path) -> str:
    """Return the end of a sentence that names the models of a folder, or nothing if it has none."""
    names = sorted(path.parent.name for path in models_dir.glob(f"*/{MANIFEST_FILE}"))
    return f"; the models here: {', '.join(names)} (--model {names[0]})" if names else ""


def _check_threshold(uncertain_from: Any) -> None:  # Any: parsed JSON
    is_number = isinstance(uncertain_from, int | float) and not isinstance(uncertain_from, bool)
    if uncertain_from is not None and not (is_number and 0 < uncertain_from <= 1):
        raise ValueError(f"uncertain_from is {uncertain_from!r}, not a number above 0 and up to 1")


def _variant(precision: str, stored: Mapping[str, Any]) -> Variant:  # Any: parsed JSON
    variant = Variant(**stored)
    if precision not in VARIANT_FILES:
        raise ValueError(f"unknown precision {precision!r}")
    if variant.file in ("", ".", "..") or "/" in variant.file or "\\" in variant.file:
        raise ValueError(f"{variant.file!r} is not a plain file name")
    return variant
