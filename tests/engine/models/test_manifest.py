import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engine.models.manifest import (
    MANIFEST_FILE,
    Manifest,
    Variant,
    read_manifest,
    read_model,
    write_manifest,
)
from app.errors import ModelUnavailable
from tests.networks import redness_model

FIGURES = dict.fromkeys(("d", "d_p95", "d_worst", "mae", "mae_float32", "maxf", "maxf_float32"), 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a second file that stands for its int8 graph."""
    folder = redness_model(tmp_path, "redness")
    (folder / "model.int8.onnx").write_bytes(b"int8")
    variant = Variant("model.int8.onnx", hashlib.sha256(b"int8").hexdigest(), 4, FIGURES)
    write_manifest(replace(read_manifest(folder), precisions={"int8": variant}), folder)
    return folder


def change(folder: Path, **members: Any) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def stored(folder: Path, **members: Any) -> dict[str, Any]:
    variant = json.loads((folder / MANIFEST_FILE).read_text())["precisions"]["int8"]
    return {"int8": {**variant, **members}}


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)

    write_manifest(manifest, folder)

    assert read_manifest(folder) == manifest
    assert manifest.precisions["int8"].quality == FIGURES


@pytest.mark.parametrize("threshold", [0.1, 1, None])
def test_a_network_may_have_a_threshold_of_the_verdict(folder: Path, threshold: float | None) -> None:
    change(folder, uncertain_from=threshold)

    assert threshold == read_manifest(folder).uncertain_from


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, "0.1", True, [0.1]])
def test_a_threshold_that_is_no_part_of_1_is_refused(folder: Path, threshold: Any) -> None:
    change(folder, uncertain_from=threshold)

    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder)
    assert "uncertain_from" in caught.value.reason


def test_a_manifest_without_precisions_is_valid(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    members = json.loads(path.read_text())
    del members["precisions"]
    path.write_text(json.dumps(members))

    manifest = read_manifest(folder)

    assert manifest.precisions == {}
    assert isinstance(manifest, Manifest)


def test_every_precision_is_read_from_its_own_file(folder: Path) -> None:
    manifest = read_manifest(folder)

    assert read_model(folder, manifest) == (folder / "model.onnx").read_bytes()
    assert read_model(folder, manifest, "int8") == b"int8"


def test_a_changed_file_of_a_precision_is_refused_with_both_hashes(folder: Path) -> None:
    (folder / "model.int8.onnx").write_bytes(b"int9")

    with pytest.raises(ModelUnavailable) as caught:
        read_model(folder, read_manifest(folder), "int8")

    for content in (b"int8", b"int9"):
        assert hashlib.sha256(content).hexdigest() in caught.value.reason


def test_a_precision_that_the_manifest_does_not_name_is_refused(folder: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        read_model(folder, read_manifest(folder), "fp16")

    assert "no fp16 model" in caught.value.reason


@pytest.mark.parametrize("name", ["", "..", "../model.onnx", "/etc/passwd", "folder\\model.onnx"])
def test_a_file_outside_the_folder_is_refused(name: str, folder: Path) -> None:
    change(folder, precisions=stored(folder, file=name))

    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder)

    assert "not a plain file name" in caught.value.reason


@pytest.mark.parametrize("precisions", [None, 5, {"int4": 1}, {"int8": {"file": "model.int8.onnx"}}])
def test_precisions_of_another_form_are_refused(precisions: Any, folder: Path) -> None:
    change(folder, precisions=precisions)

    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder)

    assert "cannot be read" in caught.value.reason


def test_an_unknown_precision_is_refused(folder: Path) -> None:
    change(folder, precisions={"int4": stored(folder)["int8"]})

    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder)

    assert "unknown precision 'int4'" in caught.value.reason


def test_a_missing_model_names_the_commands_and_the_models_that_are_there(folder: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        read_manifest(folder.parent / "u2net")

    assert caught.value.reason == (
        f"{folder.parent}/u2net/manifest.json is missing; run: cutout models add u2net, or in a checkout: "
        "make export MODEL=u2net; the models here: redness (--model redness)"
    )
    with pytest.raises(ModelUnavailable) as alone:
        read_manifest(folder.parent / "empty" / "u2net")
    assert alone.value.reason.endswith("make export MODEL=u2net")
