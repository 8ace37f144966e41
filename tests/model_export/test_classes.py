"""Classes: three classes are learned, judged, exported, and two of them served as saliency."""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from app.engine.models.session import OnnxSession
from app.options import CutoutOptions, MaskOptions
from app.pipeline.local import open_local_pipeline
from app.settings import read_settings
from benchmarks.three_classes import CLASSES, RECIPE, scene, write_set
from model_export.__main__ import main
from model_export.architectures import ARCHITECTURES
from model_export.architectures.unetpp import AccurateMode, UNetPlusPlus
from model_export.batches import Batches
from model_export.checkpoint import read_training_run, trained_network, write_checkpoint
from model_export.class_networks import CLASS_NETWORKS, build_for_recipe
from model_export.datasets import find_sources
from model_export.errors import CommandFailed
from model_export.held_out import judge, mae_of_empty_masks
from model_export.label_maps import VOID
from model_export.labelled import decode_for_recipe
from model_export.parity import normalise
from model_export.predictions import open_predictor
from model_export.preflight import check_recipe
from model_export.recipe import Recipe, read_recipe
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD
from model_export.train import TrainOptions, train
from model_export.trainer import BEST, LAST
from tests.model_export.runs import QUIET, on_meta_device, small

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]
LEARNED, HELD_OUT = 64, 16
CPU = torch.device("cpu")
SHAPES: dict[str, object] = {
    "architecture": "unetpp_l1",
    "loss": "class_cross_entropy",
    "classes": CLASSES,
    "foreground_classes": ["disc", "square"],
    "size_px": 32,
    "sizes_px": [],
    "epochs": 1,
    "ema": 0,
    "augmentation": {"flip_horizontally": True, "scale": [0.8, 1.4], "rotate_degrees": 20},
}


def shapes(**changes: object) -> Recipe:
    return small(**{**SHAPES, **changes})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of the documentation's example."""
    return write_set(tmp_path_factory.mktemp("shapes"), LEARNED + HELD_OUT)


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run by the documentation's example."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "recipe.toml").write_text(RECIPE)
    command = ["train", str(folder / "recipe.toml"), "--data", str(pictures), "--out", str(folder / "out")]
    assert main(command) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models with the exported run, ``shapes``."""
    models = tmp_path_factory.mktemp("models")
    command = ["export", "shapes", "--checkpoint", str(trained / BEST), "--models-dir", str(models)]
    assert main(command) == 0
    return models


@pytest.fixture(scope="module")
def session(exported: Path) -> Iterator[OnnxSession]:
    """The exported model in the service's engine."""
    with open_local_pipeline(read_settings(models=("shapes",), models_dir=exported)) as local:
        (opened,) = local.pipeline.models.in_memory()
        yield opened


def test_three_classes_are_learned_to_a_mean_iou_of_095(trained: Path) -> None:
    run = read_training_run(trained / BEST)
    rows = list(csv.DictReader((trained / "curves.csv").open()))
    best = run.progress.best_row()

    assert len(run.held_out) == HELD_OUT
    assert best["mean_iou"] >= 0.95
    assert best["mean_iou"] == max(float(row["mean_iou"]) for row in rows)
    assert best["frequency_weighted_iou"] >= 0.95
    assert best["mae"] < 0.02 < run.progress.empty_mae
    assert Image.open(trained / "curves.png").width == 1600


def test_the_served_saliency_is_the_sum_of_the_softmax_of_both_classes(
    trained: Path, session: OnnxSession
) -> None:
    """The softmax is computed here from the trained network's scores, in float64."""
    network, run = trained_network(trained / BEST)
    batch = np.stack([scene(seed, run.recipe.size_px)[0] for seed in range(1000, 1004)])
    with torch.inference_mode():
        scores = network.double()(torch.from_numpy(normalise(batch)))[0].numpy()
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = (powers[:, 1] + powers[:, 2]) / powers.sum(axis=1)
    served = session.infer(batch)

    assert (served.dtype, served.shape) == (np.float32, (4, 64, 64))
    assert np.abs(served - expected).max() <= 1e-4
    assert 0 <= served.min() < 0.05 < 0.95 < served.max() <= 1


def test_the_service_cuts_out_both_classes(exported: Path) -> None:
    picture, labels = scene(2000, 200)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    with open_predictor("shapes", exported) as predictor:
        results = [predictor.predict(file.getvalue(), each) for each in (MaskOptions(), CutoutOptions())]

    for result in results:
        assert np.mean((result.grey > 127) == (labels > 0)) > 0.97


def test_manifest_and_card_name_the_classes_and_their_figures(trained: Path, exported: Path) -> None:
    manifest = json.loads((exported / "shapes" / "manifest.json").read_text())
    best = read_training_run(trained / BEST).progress.best_row()
    card = (exported / "shapes" / "README.md").read_text()

    assert manifest["architecture"] == "unetpp_l1, 3 classes"
    assert manifest["output"] == "sum of the softmax of disc, square, in [0, 1], no min-max stretch"
    assert manifest["purpose"] == "disc and square"
    assert manifest["quality"]["held_out_mean_iou"] == best["mean_iou"]
    assert "Finds disc and square of a picture" in card
    assert "Long et al. 2015" in card


def test_evaluate_prints_the_figures_of_each_class(
    pictures: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures at full size are counted again here, class by class, from enlarged scores."""
    only = ["--only", str(trained / "held_out.txt"), "--json", str(tmp_path / "figures.json")]
    command = ["evaluate", "--checkpoint", str(trained / BEST), "--data", str(pictures)]
    assert main([*command, *only]) == 0
    printed = capsys.readouterr().out
    network, run = trained_network(trained / BEST)
    both, either = np.zeros(3), np.zeros(3)
    for name in run.held_out:
        picture, labels = scene(int(name))
        square = np.asarray(decode_one(pictures, name, run.recipe))
        with torch.inference_mode():
            scores = network(torch.from_numpy(normalise(square[None])).float())[0]
        full = torch.nn.functional.interpolate(scores, size=picture.shape[:2], mode="bilinear")
        predicted = full[0].numpy().argmax(0)
        for label in range(3):
            both[label] += ((predicted == label) & (labels == label)).sum()
            either[label] += ((predicted == label) | (labels == label)).sum()
    written = json.loads((tmp_path / "figures.json").read_text())["figures"]

    assert written["iou"] == pytest.approx(list(both / either), abs=1e-3)
    assert written["mean_iou"] == pytest.approx(float(np.mean(both / either)), abs=1e-3)
    assert written["mean_iou"] > 0.93
    for label, name in enumerate(CLASSES):
        assert f"| {name} | " in printed
        assert f" {written['iou'][label]:.4f} |" in printed
    assert f"mean IoU {written['mean_iou']:.4f}" in printed


def decode_one(folder: Path, name: str, recipe: Recipe) -> np.ndarray:
    return decode_for_recipe(find_sources(folder).only((name,)), recipe).pictures[0]


def test_options_of_the_service_and_runs_without_classes_are_refused(
    pictures: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = read_training_run(trained / BEST)
    run.recipe = small(architecture="unetpp_l1")
    write_checkpoint(tmp_path / "binary.safetensors", run, build_for_recipe(run.recipe))
    data = ["--data", str(pictures)]

    assert main(["evaluate", "--checkpoint", str(trained / BEST), *data, "--matting", "fast"]) == 1
    assert "with --checkpoint there is none" in capsys.readouterr().err
    assert main(["evaluate", "--checkpoint", str(tmp_path / "binary.safetensors"), *data]) == 1
    assert "was trained without classes. Export it" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["unetpp_l1", "stdc1"])
def test_a_run_with_classes_pauses_and_ends_with_the_weights_of_one_in_one_part(
    pictures: Path, tmp_path: Path, architecture: str
) -> None:
    recipe = shapes(architecture=architecture, epochs=2, class_weights="median_frequency", held_out=16)
    for out in (tmp_path / "whole", tmp_path / "parts"):
        pause = 0 if out.name == "parts" else float("inf")
        train(recipe, TrainOptions(pictures, out, pause_after_minutes=pause, threads=1), console=QUIET)
    first = read_training_run(tmp_path / "parts" / LAST)
    train(recipe, TrainOptions(pictures, tmp_path / "parts", resume=True, threads=1), console=QUIET)
    networks = [trained_network(tmp_path / name / LAST)[0] for name in ("whole", "parts")]

    assert first.progress.epoch == 1
    assert first.recipe.class_weights[0] < 1 < max(first.recipe.class_weights)  # the background is frequent
    for one, other in zip(*(each.state_dict().values() for each in networks), strict=True):
        assert torch.equal(one, other)


def test_batches_keep_every_label_whole_and_aligned(pictures: Path) -> None:
    """Every picture shows its own labels as grey values, so the two can be compared after all moves."""
    recipe = shapes(size_px=48, augmentation={"scale": [0.7, 1.5], "rotate_degrees": 40, "elastic_px": 3})
    learned = decode_for_recipe(find_sources(pictures), recipe)
    assert learned.labels is not None
    learned.labels[:, :4] = VOID
    learned.pictures[:] = learned.labels[..., None]
    for batch in Batches(recipe, learned, CPU).of_epoch(0, 0):
        red = batch.normalised[:, :1] * IMAGENET_STD[0] + IMAGENET_MEAN[0]
        brightest = batch.truth.amax(dim=(1, 2, 3), keepdim=True)  # pictures are divided by it
        differs = (red * brightest - batch.truth).abs() > 0.5

        assert set(batch.truth.unique().tolist()) <= {0, 1, 2, VOID}
        assert differs[brightest.expand_as(differs) == VOID].float().mean() < 0.1  # along the borders


def test_void_pixels_are_not_judged(pictures: Path) -> None:
    recipe = shapes()
    held_out = decode_for_recipe(find_sources(pictures), recipe)
    network = build_for_recipe(recipe).eval()
    assert held_out.labels is not None
    held_out.labels[:, ::2] = VOID
    first, empty = judge(network, held_out, recipe, CPU), mae_of_empty_masks(held_out)
    held_out.masks[:, ::2] = 255 - held_out.masks[:, ::2]

    assert judge(network, held_out, recipe, CPU) == first
    assert mae_of_empty_masks(held_out) == empty


@pytest.mark.parametrize("name", CLASS_NETWORKS)
def test_a_network_of_classes_differs_in_its_scores_only(name: str) -> None:
    """On the meta device, where nothing is computed."""
    plain, classes = (
        on_meta_device(lambda count=count: ARCHITECTURES[name](classes=count)).eval() for count in (1, 21)
    )
    with torch.device("meta"):
        shapes_of = [tuple(each(torch.zeros(1, 3, 224, 224))[0].shape) for each in (plain, classes)]
    differing = [
        key for key, tensor in classes.state_dict().items() if tensor.shape != plain.state_dict()[key].shape
    ]

    assert shapes_of == [(1, 1, 224, 224), (1, 21, 224, 224)]
    assert differing
    assert all(classes.state_dict()[key].shape[0] == 21 for key in differing)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("unetpp", [21] * 4), ("lite", [21] * 5), ("unet", [21]), ("stdc1", [21, 21, 21, 1])],  # details: 1
)
def test_every_score_map_in_training_has_all_classes(name: str, channels: list[int]) -> None:
    network = on_meta_device(lambda: ARCHITECTURES[name](classes=21)).train()
    with torch.device("meta"):
        maps = network(torch.zeros(2, 3, 224, 224))

    assert [each.shape[1] for each in maps] == channels


def test_the_accurate_mode_is_the_mean_of_the_softmax_of_all_heads() -> None:
    network = UNetPlusPlus(depth=3, classes=4).eval()
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.inference_mode():
        expected = sum(torch.softmax(each, dim=1) for each in network(pictures)) / 3
        found = torch.softmax(AccurateMode(network)(pictures)[0], dim=1)

    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"foreground_classes": ["cat"]}, "foreground class cat is not among the classes: background, disc"),
        ({"foreground_classes": []}, "must name some of the classes once each, but not all"),
        ({"foreground_classes": CLASSES}, "must name some of the classes once each, but not all"),
        ({"foreground_classes": ["disc", "disc"]}, "must name some of the classes once each"),
        ({"classes": ["disc", "disc"]}, "2 to 255 different classes"),
        ({"classes": ["disc"]}, "2 to 255 different classes"),
        ({"loss": "bce_dice"}, "loss bce_dice is for masks; for classes, .*: class_cross_entropy, class_cr"),
        (
            {"loss": "class_focal", "classes": [], "foreground_classes": []},
            "class_focal is a loss of",
        ),
        ({"teacher_trust": 0.5}, "no classes: --set teacher_trust=0"),
        ({"augmentation": {"swap_background": 0.5}}, "--set augmentation.swap_background=0"),
        ({"architecture": "u2netp"}, "u2netp has one output only; networks for several classes are fcn32s"),
        ({"architecture": "unet_valid"}, "unet_valid has one output only"),
        ({"class_weights": [1.0, 2.0]}, "3 classes, and 2 class_weights"),
        ({"network": {"classes": 5}}, "network.classes is the number of the recipe's classes; remove it"),
        ({"classes": [], "foreground_classes": []}, "a loss of several classes, and the recipe names none"),
        ({"classes": [], "loss": "bce_dice"}, "but no classes to which they refer"),
        (
            {"classes": [], "foreground_classes": [], "loss": "bce_dice", "unknown_classes": "void"},
            "but no classes to which they refer",
        ),
        (
            {"classes": [], "foreground_classes": [], "loss": "bce_dice", "network": {"classes": 3}},
            "names no classes, but sets network.classes; name them",
        ),
    ],
)
def test_a_recipe_whose_classes_do_not_fit_is_refused_with_the_remedy(
    changes: dict[str, object], words: str
) -> None:
    check_recipe(shapes())
    with pytest.raises(CommandFailed, match=words):
        check_recipe(shapes(**changes))


def relabelled(pictures: Path, folder: Path, number: int, labels: np.ndarray) -> Path:
    """Return a copy of the first pictures with another label map in one place."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for path in sorted((pictures / name).iterdir())[:6]:
            shutil.copy(path, folder / name)
    Image.fromarray(labels).save(folder / "masks" / f"{number:03}.png")
    return folder


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            np.full((96, 96), 3, np.uint8),
            "002.png has the label 3; the recipe has 3 classes, with the labels",
        ),
        (np.full((96, 96), VOID, np.uint8), "002: every pixel is void, which is ignored"),
        (np.zeros((96, 90), np.uint8), "002: the picture is 96 × 96 px, its mask 90 × 96 px"),
    ],
)
def test_a_label_map_that_does_not_fit_is_named(
    pictures: Path, tmp_path: Path, labels: np.ndarray, words: str
) -> None:
    data = relabelled(pictures, tmp_path / "data", 2, labels)
    with pytest.raises(CommandFailed, match=words):
        train(shapes(), TrainOptions(data, tmp_path / "run"), console=QUIET)


def test_masks_of_0_and_255_are_not_taken_for_label_maps(pictures: Path, tmp_path: Path) -> None:
    data = relabelled(pictures, tmp_path, 0, np.zeros((96, 96), np.uint8))
    for path in (data / "masks").iterdir():
        mask = np.zeros((96, 96), np.uint8)
        mask[30:60, 30:60] = 255
        Image.fromarray(mask).save(path)
    with pytest.raises(CommandFailed, match="None of these 6 pictures has a pixel of disc or square"):
        decode_for_recipe(find_sources(data), shapes())


def test_mattes_are_no_label_maps(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "images", tmp_path / "images")
    shutil.copytree(pictures / "masks", tmp_path / "alphas")
    with pytest.raises(CommandFailed, match="has mattes; classes need label maps or annotations"):
        train(shapes(), TrainOptions(tmp_path, tmp_path / "run"), console=QUIET)


def annotated(pictures: Path, folder: Path, names: Sequence[str] = CLASSES) -> Path:
    """Return the same set as a COCO file, whose regions are run lengths."""
    shutil.copytree(pictures / "images", folder / "images")
    images, regions = [], []
    for number, path in enumerate(sorted((pictures / "masks").iterdir())):
        labels = np.asarray(Image.open(path))
        images.append({"id": number, "file_name": path.name, "height": 96, "width": 96})
        for label in np.unique(labels[labels > 0]).tolist():
            inside = np.concatenate(([False], (labels == label).T.ravel(), [False]))
            ends = np.flatnonzero(inside[1:] != inside[:-1])
            counts = np.diff(np.concatenate(([0], ends, [labels.size]))).tolist()
            segmentation = {"size": [96, 96], "counts": counts}
            regions.append({"image_id": number, "category_id": label, "segmentation": segmentation})
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    fields = {"images": images, "annotations": regions, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(fields))
    return folder


def test_annotations_are_learned_and_judged_as_the_label_maps_that_they_draw(
    pictures: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = annotated(pictures, tmp_path / "data")
    drawn, stored = (decode_for_recipe(find_sources(each), shapes()) for each in (data, pictures))
    assert drawn.labels is not None
    assert stored.labels is not None
    tables = []
    for folder in (data, pictures):
        command = ["evaluate", "--checkpoint", str(trained / BEST), "--data", str(folder)]
        assert main(command) == 0
        tables.append(capsys.readouterr().out.split("pictures", 1)[1])
    progress = train(shapes(), TrainOptions(data, tmp_path / "run"), console=QUIET)

    assert np.array_equal(drawn.labels, stored.labels)
    assert np.array_equal(drawn.masks, stored.masks)
    assert tables[0] == tables[1]
    assert progress.epoch == 1


def test_annotations_of_other_names_are_refused_before_a_picture_is_decoded(
    pictures: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = annotated(pictures, tmp_path / "data", ("background", "disc", "cat"))
    recipe = shapes(foreground_classes=["disc"])
    with pytest.raises(CommandFailed, match=r"no classes of the recipe: cat \(\d+\)\. The classes are: "):
        train(recipe, TrainOptions(data, tmp_path / "run"), console=QUIET)
    console = Console(record=True, width=200)
    train(
        shapes(foreground_classes=["disc"], unknown_classes="void"),
        TrainOptions(data, tmp_path / "run"),
        console=console,
    )

    assert "annotations of other names are void: cat (" in console.export_text()
    command = ["evaluate", "--checkpoint", str(trained / BEST), "--data", str(data)]
    assert main(command) == 1
    assert main([*command, "--unknown-classes", "background"]) == 0
    assert "| square | 0.0% | – | " in capsys.readouterr().out


def test_label_maps_without_classes_in_the_recipe_point_to_them(pictures: Path, tmp_path: Path) -> None:
    data = relabelled(pictures, tmp_path / "data", 2, np.full((96, 96), 2, np.uint8))
    with pytest.raises(CommandFailed, match="If the values are classes, name them in the recipe"):
        train(
            small(architecture="unetpp_l1", loss="bce_dice"),
            TrainOptions(data, tmp_path / "run"),
            console=QUIET,
        )


def test_the_recipes_in_the_documentation_are_valid(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "training.md").read_text().split("## Several classes")[1]
    recipes = []
    for block in section.split("    [ours]")[1:]:
        (tmp_path / "mine.toml").write_text("[ours]" + block.split("\n\n")[0])
        recipes.append(read_recipe(str(tmp_path / "mine.toml")))
        check_recipe(recipes[-1])

    assert [recipe.foreground_labels for recipe in recipes] == [(1, 2), (1, 2, 3)]
    assert (recipes[0].architecture, recipes[0].class_weights) == ("lite", "median_frequency")
    assert recipes[1].unknown_classes == "background"
