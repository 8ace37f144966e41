"""The first command: training starts on any set; a mistake is reported with its remedy before decoding."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from model_export.__main__ import main
from model_export.batches import Batches
from model_export.checkpoint import Progress, TrainingRun, read_training_run
from model_export.datasets import decode_dataset
from model_export.errors import CommandFailed
from model_export.export_checkpoint import export_trained
from model_export.preflight import check_recipe
from model_export.recipe import read_recipe
from model_export.train import TrainOptions, train
from model_export.train_cli import run_folder
from model_export.trainer import BEST, LAST, set_up_trainer
from tests.fakes import CountingWriter, SteppingClock
from tests.model_export.runs import QUIET, small
from tests.pictures import disc_alpha, photo

pytestmark = pytest.mark.torch
TINY: dict[str, object] = {
    "architecture": "unetpp_l1",
    "loss": "bce_dice",
    "size_px": 32,
    "sizes_px": [],
    "epochs": 2,
    "held_out": 200,
    "warm_up_steps": 500,
    "teacher_trust": 0.5,
    "augmentation": {},
}
RECIPE = """[ours]
architecture = 'unetpp_l1'
loss = 'bce_dice'
size_px = 32
batch = 32
epochs = 2
teacher_trust = 0.5
held_out = 200
warm_up_steps = 500
"""


def command(data: Path, tmp_path: Path, *more: str) -> list[str]:
    """Return ``train`` with a recipe for thousands of pictures and a teacher."""
    (tmp_path / "mine.toml").write_text(RECIPE)
    out = ["--out", str(tmp_path / "run")]
    return ["train", str(tmp_path / "mine.toml"), "--data", str(data), *out, *more]


def test_a_recipe_for_thousands_of_pictures_with_a_teacher_runs_on_ten_without_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path)) == 0
    printed = capsys.readouterr().err
    run = read_training_run(tmp_path / "run" / LAST)

    assert "no teacher maps: the network learns from the masks alone" in printed
    assert "teach u2net --data" in printed
    assert run.recipe.teacher_trust == 0
    assert (len(run.learned), len(run.held_out)) == (8, 2)
    assert run.progress.curves[-1]["rate"] > 1e-4


def test_best_is_never_worse_than_the_network_before_training(data: Path) -> None:
    learned = decode_dataset(data, 32)
    run = TrainingRun(small(**{**TINY, "ema": 0}), "data", learned.names, learned.names, Progress(), {})
    trainer = set_up_trainer(run, learned, torch.device("cpu"), QUIET, resume_from=None)
    assert trainer.judge(learned)

    run.progress.epoch = 1
    with torch.no_grad():
        *_, last_bias = trainer.network.parameters()
        last_bias.fill_(50)  # everything is foreground, with certainty
    assert not trainer.judge(learned)
    assert run.progress.best_epoch == 0
    assert run.progress.best_row()["mae"] < run.progress.curves[1]["mae"]


def test_the_network_before_training_is_epoch_0_of_the_curves(data: Path, tmp_path: Path) -> None:
    progress = train(small(**TINY), TrainOptions(data, tmp_path), console=QUIET)
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    maes = [row["mae"] for row in progress.curves]

    assert (rows[0]["epoch"], rows[0]["loss"]) == ("0", "")
    assert progress.best_mae == min(maes) == read_training_run(tmp_path / BEST).progress.best_mae
    assert read_training_run(tmp_path / BEST).progress.epoch == maes.index(min(maes))


def test_a_resumed_run_keeps_its_recipe_and_can_be_extended(data: Path, tmp_path: Path) -> None:
    assert main(command(data, tmp_path, "--set", "batch=4")) == 0
    assert main(command(data, tmp_path, "--resume", "--set", "epochs=3")) == 0
    run = read_training_run(tmp_path / "run" / LAST)

    assert (run.progress.epoch, run.recipe.epochs, run.recipe.batch) == (3, 3, 4)


def test_a_resumed_run_cannot_change_otherwise(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path)) == 0
    assert main(command(data, tmp_path, "--resume", "--set", "batch=4")) == 1
    assert "its batch is 32, not 4. Only epochs, minutes, patience can change" in capsys.readouterr().err
    assert main(command(data, tmp_path)) == 1
    assert "holds a run already. Continue it with --resume" in capsys.readouterr().err


def test_minutes_end_a_run_with_the_rate_at_its_end(data: Path) -> None:
    """In virtual time: the clock goes on by a second whenever it is read."""
    recipe = small(
        **{**TINY, "epochs": 1000, "minutes": 1, "schedule": "cosine", "warm_up_steps": 3, "ema": 0}
    )
    learned = decode_dataset(data, 32)
    run = TrainingRun(recipe, "data", learned.names, learned.names, Progress(), {})
    trainer = set_up_trainer(run, learned, torch.device("cpu"), QUIET, resume_from=None)
    trainer = replace(trainer, clock=SteppingClock(1.0).now_s)
    batches = Batches(recipe, learned, torch.device("cpu"))
    rates = []
    while not trainer.is_over():
        trainer.train_epoch(batches)
        trainer.judge(learned)
        rates.append(run.progress.curves[-1]["rate"])

    assert 3 < run.progress.epoch < 60
    assert max(rates) > 0.8 * recipe.learning_rate
    assert rates[-1] < 0.05 * recipe.learning_rate


def test_the_data_are_checked_before_they_are_decoded(data: Path, tmp_path: Path) -> None:
    """The picture that cannot be decoded has a valid header, so decoding would fail first."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(4):
        Image.fromarray(photo(32, 32 + number)).save(tmp_path / "images" / f"{number}.png")
        Image.new("L", (32 if number == 3 else 32 + number, 32), 255).save(
            tmp_path / "masks" / f"{number}.png"
        )
    whole = (tmp_path / "images" / "0.png").read_bytes()
    (tmp_path / "images" / "0.png").write_bytes(whole[:200])
    with pytest.raises(CommandFailed, match=r"3: the picture is 35 × 32 px, its mask 32 × 32 px\. Make the"):
        train(small(**TINY), TrainOptions(tmp_path, tmp_path / "run"), console=QUIET)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "resnet"}, "no architecture resnet; the command `architectures`"),
        ({"weights": "published"}, "no published weights of unetpp_l1, .*--set weights=fresh"),
    ],
)
def test_a_recipe_that_names_nothing_is_refused_with_the_remedy(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(CommandFailed, match=words):
        check_recipe(small(**{**TINY, **changes}))


def test_a_batch_of_one_is_refused_where_it_leaves_nothing_to_normalise_by() -> None:
    one = {"batch": 1, "sizes_px": (), "weights": "fresh"}
    for name in ("lite", "u2netp"):
        with pytest.raises(CommandFailed, match=r"one value per channel only\. Enlarge it: --set batch=2"):
            check_recipe(read_recipe(name).model_copy(update={**one, "size_px": 32}))

    for name in ("lite", "u2netp", "fcn32s"):
        check_recipe(read_recipe(name).model_copy(update=one))


def test_a_split_of_other_pictures_is_refused_with_the_remedy(data: Path, tmp_path: Path) -> None:
    (tmp_path / "judged.txt").write_text("3.png\n")
    options = TrainOptions(data, tmp_path / "run", held_out=tmp_path / "judged.txt")
    with pytest.raises(
        CommandFailed, match=r"1 pictures that are not in the data, such as 3\.png\. .*suffix"
    ):
        train(small(**TINY), options, console=QUIET)


def test_the_folder_of_a_run_has_the_name_of_its_recipe() -> None:
    from model_export.__main__ import _parser

    parsed = [
        _parser().parse_args([name, "u2netp", "--data", "DIR", *more])
        for name, more in (("train", []), ("finetune", []), ("train", ["--recipe", "finetune"]))
    ]
    folders = [run_folder(args).as_posix() for args in parsed]

    assert folders == ["runs/u2netp", "runs/u2netp-finetune", "runs/u2netp-finetune"]


def test_teach_writes_a_models_maps_next_to_any_layout_and_they_are_trusted(
    models_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    for number in range(3):
        alpha = disc_alpha(64, 64)[..., None]
        mixed = alpha * (40, 190, 60) + (1 - alpha) * photo(64, 64, number)
        Image.fromarray(mixed.astype(np.uint8)).save(data / "images" / f"{number}.png")
        Image.fromarray((255 * alpha[..., 0]).astype(np.uint8)).save(data / "masks" / f"{number}.png")
    assert main(["teach", "u2netp", "--data", str(data), "--models-dir", str(models_dir)]) == 0
    maps = [np.asarray(Image.open(data / "teacher" / f"{number}.png")) for number in range(3)]
    train(small(**TINY), TrainOptions(data, tmp_path / "run"), console=QUIET)

    assert {each.shape for each in maps} == {(320, 320)}
    assert all(each[160, 160] > 200 > 50 > each[5, 5] for each in maps)
    assert read_training_run(tmp_path / "run" / LAST).recipe.teacher_trust == 0.5


def test_an_export_of_a_network_worse_than_the_empty_mask_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(**{**TINY, "learning_rate": 1e-9}), TrainOptions(data, tmp_path / "run"), console=QUIET)
    manifest = export_trained(
        "hasty", tmp_path / "run" / BEST, tmp_path / "models", authors="Ada", license_name="CC0-1.0"
    )
    quality = manifest.quality

    assert quality["held_out_mae"] > quality["held_out_mae_empty"] > 0
    assert "worse than an empty mask" in capsys.readouterr().err
    assert "held_out_mae_empty" in (tmp_path / "models" / "hasty" / "README.md").read_text()


def test_a_negative_counts_in_the_mean_error_alone(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(6):
        Image.fromarray(photo(32, 32, number)).save(tmp_path / "images" / f"{number}.png")
        truth = Image.new("L", (32, 32)) if number == 5 else Image.new("L", (32, 32), 255)
        truth.save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "judged.txt").write_text("4\n5\n")
    options = TrainOptions(tmp_path, tmp_path / "run", held_out=tmp_path / "judged.txt")
    row = train(small(**{**TINY, "epochs": 1}), options, console=QUIET).curves[-1]

    assert row["max_f"] == pytest.approx(1)
    assert 0 < row["mae"] < 1


def test_without_a_terminal_every_epoch_is_a_line(data: Path, tmp_path: Path) -> None:
    written = io.StringIO()
    train(small(**TINY), TrainOptions(data, tmp_path), console=Console(file=written, width=200))
    lines = [line for line in written.getvalue().splitlines() if line.startswith("epoch")]

    assert [line.split(":")[0] for line in lines] == ["epoch 0/2", "epoch 1/2", "epoch 2/2"]
    assert "before training" in lines[0]
    assert not math.isnan(float(lines[1].split("loss ")[1].split(",")[0]))


def test_tensorboard_gets_the_figures_of_each_epoch() -> None:
    from model_export.tensorboard_events import write_row

    writer = CountingWriter()
    write_row(writer, {"epoch": 0, "mae": 0.5, "max_f": 0.1, "seconds": 3.0})
    write_row(writer, {"epoch": 1, "loss": 2.0, "rate": 0.1, "mae": 0.4, "max_f": 0.2, "seconds": 6.0})

    assert writer.scalars["mae"] == {0: 0.5, 1: 0.4}
    assert writer.scalars["loss"] == {1: 2.0}
    assert writer.flushes == 2


def test_an_error_of_the_system_is_a_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path, "--hold-out", str(tmp_path / "absent.txt"))) == 1
    assert f"error: {tmp_path}/absent.txt: no such file or directory" in capsys.readouterr().err
