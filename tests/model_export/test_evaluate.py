"""Evaluate: the whole command, with the small model and the service's own pipeline."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import publish, resize_saliency, stretch, to_grey
from app.imaging.prepare import prepare
from app.options import CutoutOptions, MaskOptions
from model_export.__main__ import main
from model_export.evaluate import format_figure
from model_export.matting_metrics import absolute_error
from model_export.predictions import Predictor, open_predictor
from tests.pictures import disc_alpha, jpeg, photo

SIZES = [(120, 160), (150, 110)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two photos of a disc with its alpha, as a matting set."""
    for folder in ("images", "alphas", "trimaps"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number, (height, width) in enumerate(SIZES):
        alpha = to_grey(disc_alpha(height, width))
        trimap = np.where((alpha > 0) & (alpha < 255), np.uint8(128), alpha)
        (tmp_path / "set" / "images" / f"{number}.jpg").write_bytes(jpeg(photo(height, width, number)))
        Image.fromarray(alpha).save(tmp_path / "set" / "alphas" / f"{number}.png")
        Image.fromarray(trimap).save(tmp_path / "set" / "trimaps" / f"{number}.png")
    return tmp_path / "set"


@pytest.fixture(scope="module")
def predictor(models_dir: Path) -> Iterator[Predictor]:
    with open_predictor("u2netp", models_dir) as predictor:
        yield predictor


def evaluate(data: Path, models_dir: Path, *more: str) -> int:
    return main(
        ["evaluate", "--model", "u2netp", "--data", str(data), "--models-dir", str(models_dir), *more]
    )


def test_the_table_and_the_file_have_the_same_figures(
    data: Path, models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "figures.json"
    status = evaluate(data, models_dir, "--matting", "none", "fast", "--json", str(written))
    lines = capsys.readouterr().out.splitlines()
    evaluation = json.loads(written.read_text())

    assert status == 0
    assert lines[0].startswith(
        "u2netp on CPUExecutionProvider in float32, set: 2 pictures, matting, judged by the cutout"
    )
    assert lines[2] == "| matting | region | SAD/1000 | MSE | Grad/1000 | Conn/1000 | empty |"
    assert lines[4:] == [
        f"| {row['matting']} | {row['region']} | "
        + " | ".join(format_figure(figure) for figure in row["figures"].values())
        + " | 0 |"
        for row in evaluation["rows"]
    ]
    assert [(row["matting"], row["region"]) for row in evaluation["rows"]] == [
        (matting, region) for matting in ("none", "fast") for region in ("unknown", "whole")
    ]


@pytest.mark.parametrize(("figure", "text"), [(0.03057, "0.0306"), (1.0, "1.0000"), (19.3928, "19.39")])
def test_decimals_of_a_figure_depend_on_its_size(figure: float, text: str) -> None:
    assert text == format_figure(figure)


def test_the_figures_are_those_of_the_results(
    data: Path, models_dir: Path, tmp_path: Path, predictor: Predictor
) -> None:
    written = tmp_path / "figures.json"
    evaluate(data, models_dir, "--matting", "fast", "--json", str(written))
    errors = []
    for path in sorted((data / "images").iterdir()):
        alpha = predictor.predict(path.read_bytes(), CutoutOptions()).grey
        truth = np.asarray(Image.open(data / "alphas" / f"{path.stem}.png"))
        errors.append(absolute_error(alpha, truth, truth > -1))

    assert json.loads(written.read_text())["rows"][1]["figures"]["SAD/1000"] == pytest.approx(np.mean(errors))


def test_a_result_equals_the_steps_run_one_by_one(predictor: Predictor) -> None:
    upload = jpeg(photo(120, 160))
    rgb = decode(upload, sniff(upload)).rgb
    (raw,) = raw_maps(predictor, prepare(rgb, 320)[None])
    refined = to_grey(refine_alpha(rgb, stretch(raw)))
    coarse = to_grey(resize_saliency(stretch(raw), 120, 160))

    assert np.array_equal(predictor.predict(upload, CutoutOptions(haze="keep")).grey, refined)
    assert np.array_equal(predictor.predict(upload, CutoutOptions(matting="none", haze="keep")).grey, coarse)
    assert np.array_equal(predictor.predict(upload, MaskOptions()).grey, publish(stretch(raw), 120, 160))


def raw_maps(predictor: Predictor, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return predictor._local.pipeline.models.prepare_run("u2netp", batch).result()


def test_a_picture_without_a_subject_is_counted(predictor: Predictor) -> None:
    judged = predictor.predict(jpeg(np.full((90, 120, 3), 128, np.uint8)), MaskOptions())

    assert judged.is_empty
    assert not judged.grey.any()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--matting", "magic"), "'matting'"),
        (("--option", "flavour=sweet"), "no option"),
        (("--option", "format=zip"), "'format'"),
        (("--model", "nope"), "nope"),
    ],
)
def test_an_invalid_option_is_named(
    data: Path, models_dir: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    status = evaluate(data, models_dir, *more)

    assert (status, words in capsys.readouterr().err) == (1, True)


@pytest.mark.parametrize("option", ["--result", "--answer"])
def test_the_result_to_judge_can_be_chosen(
    data: Path, models_dir: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """``--answer`` is the old name."""
    status = evaluate(data, models_dir, option, "mask")

    assert (status, "judged by the mask" in capsys.readouterr().out) == (0, True)


def test_a_truth_of_another_size_is_named(
    data: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(data / "alphas" / "1.png")
    status = evaluate(data, models_dir)
    message = capsys.readouterr().err

    assert status == 1
    assert "1.png and the result for 1.jpg differ in size: 60 × 50 px and 110 × 150 px" in message


def test_a_picture_that_the_service_refuses_is_named(
    data: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "images" / "1.jpg").write_bytes(b"no picture")
    status = evaluate(data, models_dir)

    assert (status, "1.jpg: This is not an accepted image type" in capsys.readouterr().err) == (1, True)


def test_only_the_pictures_of_a_split_are_judged(
    data: Path, models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held_out.txt").write_text("1\n")
    (tmp_path / "other.txt").write_text("1.jpg\n")

    assert evaluate(data, models_dir, "--only", str(tmp_path / "held_out.txt")) == 0
    assert "set: 1 pictures" in capsys.readouterr().out
    assert evaluate(data, models_dir, "--only", str(tmp_path / "other.txt")) == 1
    assert "not in the data: 1.jpg" in capsys.readouterr().err
