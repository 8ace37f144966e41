"""Training: a killed run resumes, a run stops when it should, and the trained network can be served."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from app.options import CutoutOptions, MaskOptions
from model_export.__main__ import main
from model_export.checkpoint import (
    CheckpointInvalid,
    CheckpointNotWritten,
    Progress,
    TrainingRun,
    read_training_run,
    trained_network,
    write_checkpoint,
)
from model_export.errors import CommandFailed
from model_export.predictions import open_predictor
from model_export.train import TrainOptions, train
from model_export.trainer import TrainingFailed
from tests.model_export.runs import QUIET, same, small
from tests.pictures import disc_alpha, noise, photo

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    fields = small().model_dump()
    moves = fields.pop("augmentation")
    changes = {**fields, **{f"augmentation.{name}": value for name, value in moves.items()}}
    sets = [word for name in changes for word in ("--set", f"{name}={json.dumps(changes[name])}")]
    return ["train", "stdc1", "--data", str(data), "--out", str(out), "--threads", "1", *sets, *more]


def kill_after_an_epoch(data: Path, out: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "model_export", *arguments(data, out)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while not (out / "curves.csv").exists() or "\n1," not in (out / "curves.csv").read_text():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_and_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    data: Path, tmp_path: Path
) -> None:
    kill_after_an_epoch(data, tmp_path / "killed")
    epochs_before = read_training_run(tmp_path / "killed" / "last.safetensors").progress.epoch
    assert main(arguments(data, tmp_path / "killed", "--resume")) == 0
    assert main(arguments(data, tmp_path / "whole")) == 0

    assert 1 <= epochs_before < 4
    for name in ("last", "best"):
        assert same(tmp_path / "killed" / f"{name}.safetensors", tmp_path / "whole" / f"{name}.safetensors")
    runs = [read_training_run(tmp_path / each / "last.safetensors") for each in ("killed", "whole")]
    curves = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.progress.curves] for r in runs]
    assert curves[0] == curves[1]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run on eight pictures."""
    out = tmp_path_factory.mktemp("runs") / "run"
    changes = {"architecture": "unetpp_l2", "loss": "bce_dice", "learning_rate": 3e-3, "epochs": 40}
    recipe = small(**changes, sizes_px=[], augmentation={"flip_horizontally": True})
    train(recipe, TrainOptions(data, out), console=QUIET)
    return out


def test_training_generalises_to_held_out_pictures(trained: Path) -> None:
    progress = read_training_run(trained / "best.safetensors").progress

    assert progress.best_mae < 0.05
    assert progress.best_row()["max_f"] >= 0.97


def test_a_run_writes_curves_splits_and_a_plot(trained: Path) -> None:
    rows = list(csv.DictReader((trained / "curves.csv").open()))
    learned, held_out = ((trained / f"{n}.txt").read_text().split() for n in ("learned", "held_out"))

    assert [int(row["epoch"]) for row in rows] == list(range(41))
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[1]["loss"])
    assert sorted((*learned, *held_out)) == [str(number) for number in range(10)]
    assert Image.open(trained / "curves.png").width == 1200


def test_the_trained_network_is_exported_and_serves_both_endpoints(trained: Path, tmp_path: Path) -> None:
    checkpoint = str(trained / "best.safetensors")
    options = ["--authors", "Ada", "--license", "CC0-1.0", "--models-dir", str(tmp_path)]
    assert main(["export", "discs", "--checkpoint", checkpoint, "--depth", "2", *options]) == 0
    manifest = json.loads((tmp_path / "discs" / "manifest.json").read_text())
    card = (tmp_path / "discs" / "README.md").read_text()
    upload = (trained.parent / "picture.png", disc_alpha(90, 120)[..., None])
    mixed = upload[1] * (40, 190, 90) + (1 - upload[1]) * photo(90, 120)
    Image.fromarray(mixed.astype(np.uint8)).save(upload[0])
    with open_predictor("discs", tmp_path) as predictor:
        mask = predictor.predict(upload[0].read_bytes(), MaskOptions())
        cutout = predictor.predict(upload[0].read_bytes(), CutoutOptions())

    assert manifest["parameters"] == 511_714
    assert manifest["quality"]["parity_served_float32_max_abs"] <= 1e-4
    assert manifest["quality"]["held_out_max_f"] >= 0.97
    assert (manifest["weights"]["license"], manifest["input_size_px"]) == ("CC0-1.0", 64)
    assert "held_out_mae" in card
    for result in (mask, cutout):
        assert np.mean((result.grey > 127) == (disc_alpha(90, 120) >= 0.5)) > 0.95


def test_a_taken_name_and_a_file_that_is_not_a_checkpoint_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(trained / "best.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "junk").write_bytes(b"junk")
    models_dir = ["--models-dir", str(tmp_path / "models")]

    assert main(["export", "u2net", "--checkpoint", checkpoint, *models_dir]) == 1
    assert main(["export", "../up", "--checkpoint", checkpoint, *models_dir]) == 1
    assert main(["export", "x", "--checkpoint", checkpoint, "--depth", "3", *models_dir]) == 1
    for name in ("other.safetensors", "junk", "missing"):
        assert main(["export", "x", "--checkpoint", str(tmp_path / name), *models_dir]) == 1
    assert capsys.readouterr().err.count("error: ") == 6
    assert not (tmp_path / "models" / "x").exists()


def test_the_moving_average_is_served(trained: Path) -> None:
    network, run = trained_network(trained / "last.safetensors")
    tensors = load_file(trained / "last.safetensors")
    kept = network.state_dict()

    assert run.recipe.ema
    assert all(torch.equal(kept[name], tensors[f"average/{name}"]) for name in kept)


def test_a_run_stops_early_without_improvement(data: Path, tmp_path: Path) -> None:
    recipe = small(learning_rate=1e-12, epochs=50, patience=2, schedule="constant", warm_up_steps=0)
    progress = train(recipe, TrainOptions(data, tmp_path / "run"), console=QUIET)

    assert progress.epoch < 50
    assert progress.epoch - progress.best_epoch == 2


def test_a_run_pauses_after_its_minutes_and_continues_when_resumed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = train(small(), TrainOptions(data, out, pause_after_minutes=0), console=QUIET)
    with pytest.raises(TrainingFailed, match="holds a run"):
        train(small(), TrainOptions(data, out), console=QUIET)
    with pytest.raises(TrainingFailed, match="another recipe"):
        train(small(batch=2), TrainOptions(data, out, resume=True), console=QUIET)
    last = train(small(), TrainOptions(data, out, resume=True), console=QUIET)

    assert (first.epoch, last.epoch) == (1, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet"}, "no architecture resnet"),
        ({"weights": "published"}, "no published weights of stdc1"),
        ({"learning_rate": 1e30, "optimizer": "sgd", "warm_up_steps": 0}, "lower the rate"),
    ],
)
def test_a_run_that_cannot_start_gives_the_reason(
    data: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CommandFailed, match=message):
        train(small(**changes), TrainOptions(data, tmp_path / "run"), console=QUIET)


@pytest.mark.parametrize(
    ("initialise", "variance"),
    [("he", lambda fan_in, _: 2 / fan_in), ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out))],
)
def test_convolutions_are_initialised_as_in_the_recipe(
    data: Path, tmp_path: Path, initialise: str, variance: Callable[[int, int], float]
) -> None:
    recipe = small(
        architecture="unetpp_l2",
        initialise=initialise,
        loss="bce_dice",
        learning_rate=1e-12,
        epochs=1,
        ema=0,
        size_px=32,
        sizes_px=[],
    )
    train(recipe, TrainOptions(data, tmp_path / "run"), console=QUIET)
    network, _ = trained_network(tmp_path / "run" / "last.safetensors")

    layers = [
        each for each in network.modules() if isinstance(each, nn.Conv2d) and each.weight.numel() > 9_000
    ]
    assert len(layers) > 5
    for layer in layers:
        fan_out, fan_in, *kernel = layer.weight.shape
        expected = variance(fan_in * math.prod(kernel), fan_out * math.prod(kernel))
        assert float(layer.weight.detach().var()) == pytest.approx(expected, rel=0.05)


def test_a_checkpoint_of_another_network_is_refused(trained: Path, tmp_path: Path) -> None:
    run = read_training_run(trained / "last.safetensors")
    with pytest.raises(CheckpointInvalid):
        read_training_run(tmp_path / "missing")

    assert run.recipe.architecture == "unetpp_l2"
    assert run.versions["torch"] == torch.__version__
    assert os.sep not in run.data


def test_noise_is_not_marked_as_subject(trained: Path) -> None:
    """The network learned to find discs, not to mark one in every picture."""
    network, _ = trained_network(trained / "best.safetensors")
    speckle = torch.from_numpy(noise((64, 64, 3))).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        result = torch.sigmoid(network((speckle - 0.45) / 0.22)[0])

    assert float(result.mean()) < 0.9


def test_the_old_name_of_the_sweep_command_still_works(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sweep", "series"):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])

        assert caught.value.code == 0
        assert "--at-once" in capsys.readouterr().out


def test_a_checkpoint_of_an_earlier_version_can_be_resumed(trained: Path) -> None:
    """The file format calls the number of iterations ``step``."""
    with safe_open(trained / "last.safetensors", framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])

    assert "iteration" not in progress
    assert progress["step"] == read_training_run(trained / "last.safetensors").progress.iteration == 80


@pytest.mark.whole
def test_a_sweep_trains_in_parallel_judges_and_writes_half_precision(data: Path, tmp_path: Path) -> None:
    for name, network in (("one", "unetpp_l1"), ("two", "unetpp_l2")):
        (tmp_path / f"{name}.toml").write_text(
            f"[ours]\narchitecture = '{network}'\nloss = 'bce_dice'\nsize_px = 32\nbatch = 4\nepochs = 2\n"
            "held_out = 2\n"
        )
    recipes = [str(tmp_path / f"{name}.toml") for name in ("one", "two")]
    options = ["--data", str(data), "--judge", str(data), "--out", str(tmp_path / "runs"), "--at-once", "2"]
    assert main(["sweep", *recipes, *options]) == 0
    table = (tmp_path / "runs" / "summary.md").read_text()
    half, whole = (tmp_path / "runs" / "two" / f"{name}.safetensors" for name in ("half", "best"))
    network, run = trained_network(half)

    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["2", "2"]
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert run.recipe.architecture == "unetpp_l2"
    assert next(network.parameters()).dtype == torch.float32


def test_a_checkpoint_that_cannot_be_stored_ends_with_the_reason(tmp_path: Path) -> None:
    run = TrainingRun(small(), "data", ("a",), ("b",), Progress(), {})

    with pytest.raises(CheckpointNotWritten, match=r"cannot be written.*--resume"):
        write_checkpoint(tmp_path / "absent" / "last.safetensors", run, nn.Conv2d(1, 1, 1))


def test_a_negative_number_of_threads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="--threads is a number of threads"):
        train(small(), TrainOptions(tmp_path, tmp_path / "run", threads=-1))
