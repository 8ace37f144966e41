import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model_export.__main__ import main
from model_export.judge_saliency import SaliencyJudge
from model_export.metrics import max_f_beta, mean_absolute_error, relaxed_boundary_f
from tests.pictures import disc_alpha, jpeg, noise, photo

pytestmark = pytest.mark.torch

Grey = NDArray[np.uint8]


def pairs(count: int = 4) -> list[tuple[Grey, Grey]]:
    """Return masks that are soft, shifted and speckled, with the true masks."""
    made = []
    for number in range(count):
        shape = 60 + 7 * number, 80 - 5 * number
        truth = (disc_alpha(*shape) >= 0.5).astype(np.uint8) * np.uint8(255)
        soft = 255 * disc_alpha(*shape, softness=0.3, centre=(0.45, 0.55))
        speckled = np.maximum(soft.astype(np.uint8), noise(shape, number) // 255 * np.uint8(200))
        made.append((speckled, truth))
    return made


def judged(dataset: list[tuple[Grey, Grey]]) -> dict[str, float]:
    judge = SaliencyJudge()
    for mask, truth in dataset:
        judge.add(mask, truth, None)
    return judge.figures()["whole"]


def scaled(dataset: list[tuple[Grey, Grey]]) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    return [((mask / 255).astype(np.float32), truth > 127) for mask, truth in dataset]


def test_both_implementations_of_the_mean_absolute_error_agree() -> None:
    ours = np.mean([mean_absolute_error(*pair) for pair in scaled(pairs())])

    assert judged(pairs())["MAE"] == pytest.approx(ours, abs=1e-7)


@pytest.mark.parametrize("number", range(4))
def test_both_protocols_give_the_same_f_for_one_picture(number: int) -> None:
    found = judged([pairs()[number]])

    assert found["maxF"] == pytest.approx(found["maxF (paper)"], abs=1e-9)


def test_a_picture_without_a_subject_counts_in_the_mean_absolute_error_alone() -> None:
    empty = np.zeros((10, 10), np.uint8)
    stray = np.full((10, 10), 51, np.uint8)
    without, found = judged(pairs()), judged([*pairs(), (stray, empty)])
    count = len(pairs())

    assert found["MAE"] == pytest.approx((count * without["MAE"] + 0.2) / (count + 1))
    assert {**found, "MAE": 0} == {**without, "MAE": 0}
    assert judged([(stray, empty)]) == pytest.approx({"MAE": 0.2})


def test_the_protocols_differ_for_a_set() -> None:
    hard = [*pairs(), (noise((50, 50)), pairs(1)[0][1][:50, :50])]
    found = judged(hard)

    assert found["maxF (paper)"] == pytest.approx(max_f_beta(scaled(hard)))
    assert abs(found["maxF"] - found["maxF (paper)"]) > 1e-3


def test_the_boundary_measure_is_averaged_over_pictures() -> None:
    ours = np.mean([relaxed_boundary_f(*pair) for pair in scaled(pairs())])

    assert judged(pairs())["relaxed boundary F"] == pytest.approx(ours)


def test_a_perfect_set_is_perfect_in_every_figure() -> None:
    found = judged([(truth, truth) for _, truth in pairs()])

    assert found.pop("MAE") == 0.0
    # pysodmetrics divides the E-measure by one pixel too few; the mean figures include threshold 0.
    assert all(figure == pytest.approx(1.0, abs=0.01) for figure in found.values()), found


def test_masks_are_not_stretched() -> None:
    half = [(mask // 2, truth) for mask, truth in pairs()]

    assert judged(half)["MAE"] == pytest.approx(
        np.mean([mean_absolute_error(*pair) for pair in scaled(half)]), abs=1e-7
    )


def test_the_command_judges_a_folder_of_masks(
    tmp_path: Path, models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("T-Image", "T-Mask"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        (tmp_path / "T-Image" / f"{number}.jpg").write_bytes(jpeg(photo(120, 160, number)))
        Image.fromarray((disc_alpha(120, 160) >= 0.5).astype(np.uint8) * np.uint8(255)).save(
            tmp_path / "T-Mask" / f"{number}.png"
        )
    written = tmp_path / "figures.json"
    arguments = ["--data", str(tmp_path), "--models-dir", str(models_dir), "--json", str(written)]
    status = main(["evaluate", "--model", "u2netp", *arguments])
    (row,) = json.loads(written.read_text())["rows"]

    assert status == 0
    assert "2 pictures, saliency, judged by the mask" in capsys.readouterr().out
    assert 0.9 < row["figures"]["maxF"] <= 1
