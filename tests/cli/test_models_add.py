"""``cutout models add`` and ``cutout models list --all``."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.catalogue_table import catalogue_table, describe_entry
from app.engine.models.manifest import read_manifest, read_model
from app.onnx_import.refusal import GraphRefused
from app.weights.catalogue import CATALOGUE
from tests.cli.conftest import Command
from tests.onnx_import import graphs
from tests.onnx_import.graphs import saved
from tests.pictures import photo, png


@pytest.mark.process
def test_a_file_becomes_a_model_by_one_command(command: Command, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    saved(graphs.dynamic(), tmp_path, "My Network.onnx")
    arguments = [
        "--size",
        "32",
        "--mean",
        "0.5",
        "--std",
        "0.5,0.5,0.5",
        "--license",
        "MIT",
        "--authors",
        "A. B.",
    ]
    result = command(
        "models", "add", "My Network.onnx", *arguments, "--yes", CUTOUT_MODELS_DIR=str(models_dir)
    )

    assert result.exit_code == 0, result.output
    manifest = read_manifest(models_dir / "my-network")
    assert (manifest.weights.license, manifest.weights.authors) == ("MIT", "A. B.")
    assert (manifest.weights.commercial, manifest.max_batch) == ("unclear", None)
    assert manifest.preprocessing["mean"] == [0.5, 0.5, 0.5]
    assert len(read_model(models_dir / "my-network", manifest)) == manifest.size_bytes
    assert "as named" in result.output
    assert "assumed; name it if it is another" in result.output  # the scale cannot be read off
    assert "cutout serve --model my-network" in result.output
    shown = re.findall(r"Photographs with their maps: (\S+)", result.output)
    assert [models_dir / "my-network" / "preview.png"] == [Path(each) for each in shown]
    assert Path(shown[0]).exists()


@pytest.mark.process
def test_a_file_becomes_a_model_in_further_precisions(command: Command, tmp_path: Path) -> None:
    models_dir, data = tmp_path / "models", tmp_path / "pictures"
    data.mkdir()
    for number in range(8):
        (data / f"{number}.png").write_bytes(png(photo(graphs.SIDE, graphs.SIDE, seed=number)))
    saved(graphs.layered(), tmp_path)
    arguments = ["--precision", "fp16,int8", "--data", str(data), "--yes"]
    result = command("models", "add", "tiny.onnx", *arguments, CUTOUT_MODELS_DIR=str(models_dir))
    folder = models_dir / "tiny"
    manifest = read_manifest(folder)

    assert result.exit_code == 0, result.output
    for precision in ("int8", "fp16"):
        variant = manifest.precisions[precision]
        assert len(read_model(folder, manifest, precision)) == variant.size_bytes
        assert f"d {variant.quality['d']:.4f}" in result.output
        assert f"| `model.{precision}.onnx` |" in (folder / "README.md").read_text()


@pytest.mark.process
def test_a_network_that_int8_breaks_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    models_dir, data = tmp_path / "models", tmp_path / "pictures"
    data.mkdir()
    for number in range(8):
        (data / f"{number}.png").write_bytes(png(photo(graphs.SIDE, graphs.SIDE, seed=number)))
    saved(graphs.layered(giant=3000.0), tmp_path)
    arguments = ["--precision", "int8", "--data", str(data), "--yes"]

    with pytest.raises(GraphRefused, match=r"too far from float32.*Nothing was added"):
        command("models", "add", "tiny.onnx", *arguments, CUTOUT_MODELS_DIR=str(models_dir))

    assert [*models_dir.iterdir()] == []


@pytest.mark.process
def test_without_a_terminal_and_without_yes_nothing_is_written(command: Command, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    saved(graphs.plain(), tmp_path)

    with pytest.raises(ValueError, match="add --yes"):
        command("models", "add", "tiny.onnx", CUTOUT_MODELS_DIR=str(models_dir))

    assert [*models_dir.iterdir()] == []


@pytest.mark.process
@pytest.mark.parametrize("replace", [[], ["--replace"]], ids=["added", "replaced"])
def test_what_is_no_model_is_never_replaced(replace: list[str], command: Command, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    (models_dir / "mine").mkdir(parents=True)
    file = saved(graphs.plain(), models_dir / "mine", "mine.onnx")
    (models_dir / "notes").write_text("of the user")
    (models_dir / "gone").symlink_to("nowhere")

    for name in ("mine", "notes", "gone"):
        with pytest.raises(OSError, match="is no model, so it is not replaced"):
            command(
                *("models", "add", str(file), "--name", name, "--yes", *replace),
                CUTOUT_MODELS_DIR=str(models_dir),
            )

    assert sorted(path.name for path in models_dir.iterdir()) == ["gone", "mine", "notes"]
    assert [path.name for path in (models_dir / "mine").iterdir()] == ["mine.onnx"]


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_stopped_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    process = subprocess.Popen(
        [
            sys.executable,
            *("-c", "from app.cli.commands import run; run()"),
            *("models", "add", str(saved(graphs.slow(), tmp_path, "slow.onnx")), "--yes"),
        ],
        env={**os.environ, "CUTOUT_MODELS_DIR": str(models_dir)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not [*models_dir.glob(".slow-*/slow")]:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)

    assert process.wait(30) == 128 + number
    assert [*models_dir.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.onnx"], "neither a file nor a model of the catalogue"),
        (["rmbg"], "the catalogue, which has: u2net, u2netp"),
        (["tiny.onnx", "--size", "big"], "--size is a number or HEIGHTxWIDTH"),
        (["tiny.onnx", "--mean", "1,2"], "--mean is one number or three"),
        (["tiny.onnx", "--order", "gbr"], "--order is rgb or bgr"),
        (["tiny.onnx", "--name", "../up"], "cannot be a model's name"),
        (["tiny.onnx", "--name", "weights"], "cannot be a model's name"),
        (["tiny.onnx", "--name", "u2netp"], "there is a model u2netp already; add --replace"),
        (["tiny.onnx", "--from", "tiny.onnx"], "--from belongs to a name of the catalogue"),
        (["tiny.onnx", "--precision", "int4"], "--precision is int8, fp16 or int8,fp16, not 'int4'"),
        (["tiny.onnx", "--precision", ""], "--precision is int8, fp16 or int8,fp16, not ''"),
        (["tiny.onnx", "--precision", "int8"], "name their folder by --data DIR"),
        (["tiny.onnx", "--data", "."], "--data belongs to --precision"),
        (["tiny.onnx", "--precision", "fp16", "--data", "."], "has 0 pictures (JPEG, PNG, WebP); at least 8"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_runs(
    arguments: list[str], reason: str, command: Command, tmp_path: Path
) -> None:
    saved(graphs.plain(), tmp_path)

    with pytest.raises(ValueError, match=re.escape(reason)):
        command("models", "add", *arguments, "--yes")


def test_a_download_is_asked_for_with_what_may_be_done_with_the_weights(
    command: Command, tmp_path: Path
) -> None:
    models_dir = tmp_path / "models"
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(describe_entry(CATALOGUE["isnet-general-use"]))
    shown = console.export_text()

    with pytest.raises(ValueError, match=r"Download 178\.6 MB\?"):
        command("models", "add", "isnet-general-use", CUTOUT_MODELS_DIR=str(models_dir))

    assert not models_dir.exists()
    for text in ("unclear", "https://github.com/xuebinqin/DIS/issues/150", "DIS5K", "178,648,008 bytes"):
        assert text in shown


def test_all_networks_are_listed_with_their_licences(command: Command) -> None:
    output = command("models", "list", "--all").output

    for shown in (
        "u2netp ✓",
        "modnet",
        "birefnet-general-lite",
        "contested",
        "unclear",
        "159.7",
        "166",
        "people",
    ):
        assert shown in output


def test_80_columns_cut_no_name_and_no_licence_in_the_catalogue() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(catalogue_table(set()))
    shown = console.export_text()

    rows = [row.split("│") for row in shown.splitlines() if row.startswith("│")]
    names = [row[1].strip() for row in rows if row[-2].strip()]
    assert names == list(CATALOGUE)
    assert [row[-2].strip() for row in rows if row[-2].strip()] == [e.commercial for e in CATALOGUE.values()]
    text = " ".join(row[1].strip() for row in rows)
    assert all(f"{entry.purpose}. {entry.weights.license}" in text for entry in CATALOGUE.values())


def test_80_columns_cut_no_checksum_in_a_description() -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(describe_entry(CATALOGUE["modnet"]))

    rows = [row.split("│")[2].strip() for row in console.export_text().splitlines() if row.startswith("│")]
    assert CATALOGUE["modnet"].weights.sha256 in "".join(rows)


def test_a_model_that_was_trained_here_is_made_in_a_checkout(command: Command) -> None:
    with pytest.raises(ValueError, match=r"lite was trained in this project; .*: make export MODEL=lite"):
        command("models", "add", "lite", "--yes")
    assert "lite" in command("models", "list").output
