"""Models that were trained in this project, made from the weights in the repository."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.engine.models.manifest import Manifest, read_manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime
from app.weights.own import OWN
from model_export.__main__ import main
from model_export.architectures.lite import Lite
from model_export.checkpoint import CheckpointInvalid
from model_export.export_own import TRAINED_FOLDER, verified_checkpoint
from model_export.parity import normalise
from model_export.pictures import synthetic_pictures

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a new export of lite, in float32 and int8."""
    folder = tmp_path_factory.mktemp("models")
    assert main(["export", "lite", "--models-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return read_manifest(models_dir / "lite")


def test_the_manifest_says_what_it_was_made_of_and_what_may_be_done_with_it(manifest: Manifest) -> None:
    weights = manifest.weights

    assert weights.sha256 == OWN["lite"].sha256
    assert "DUTS-TR (for research)" in weights.source
    assert (weights.license, weights.commercial) == ("Apache-2.0", "unclear")
    assert weights.basis.startswith("http")
    assert manifest.purpose
    assert manifest.precisions.keys() == {"int8"}
    assert 3.2e6 < manifest.parameters < 3.4e6
    assert manifest.quality["held_out_mae"] < manifest.quality["held_out_mae_empty"] / 4


def test_the_served_graph_is_the_network_with_the_weights_in_the_repository(
    models_dir: Path, manifest: Manifest
) -> None:
    stored = load_file(TRAINED_FOLDER / "lite.safetensors")
    network = Lite()
    network.load_state_dict({name.removeprefix("network/"): each.float() for name, each in stored.items()})
    pictures = synthetic_pictures(320)[:2]
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(normalise(pictures).astype(np.float32)))[0]
    session = onnxruntime.InferenceSession(
        read_model(models_dir / "lite", manifest), providers=["CPUExecutionProvider"]
    )

    saliency = session.run(None, {session.get_inputs()[0].name: pictures})[0]

    assert np.abs(saliency - torch.sigmoid(logits)[:, 0].numpy()).max() < 1e-4


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    copy = shutil.copy(TRAINED_FOLDER / "lite.safetensors", tmp_path)
    content = bytearray(Path(copy).read_bytes())
    content[-1] ^= 1
    Path(copy).write_bytes(content)

    with pytest.raises(CheckpointInvalid, match="missing or damaged"):
        verified_checkpoint(OWN["lite"], tmp_path)
    with pytest.raises(CheckpointInvalid, match="missing or damaged"):
        verified_checkpoint(OWN["lite"], tmp_path / "nowhere")


def test_no_training_run_can_take_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = str(TRAINED_FOLDER / "lite.safetensors")

    assert main(["export", "lite", "--checkpoint", checkpoint, "--models-dir", str(tmp_path)]) == 1
    assert "'lite' is a published model's name" in capsys.readouterr().err
