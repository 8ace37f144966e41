"""U-Net: the printed network and its tiles, also as served, and the options of the variant with padding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from app.options import MaskOptions
from model_export.__main__ import main
from model_export.architectures import OptionInvalid, build_network
from model_export.architectures.unet import TiledUNet, ValidUNet, overlap_tile
from model_export.checkpoint import Progress, TrainingRun, write_checkpoint
from model_export.cost import count_macs, count_parameters
from model_export.errors import CommandFailed
from model_export.export import export_served
from model_export.parity import measure_trained_parity
from model_export.pictures import synthetic_pictures
from model_export.predictions import open_predictor
from model_export.recipe import read_recipe
from model_export.served_shape import ServedShape
from model_export.train import TrainOptions, train
from tests.model_export.runs import QUIET, on_meta_device, small
from tests.pictures import photo

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("side", "expected"), [(188, 4), (252, 68), (316, 132), (508, 324), (572, 388)])
def test_the_valid_u_net_removes_184_pixels(side: int, expected: int) -> None:
    network = on_meta_device(ValidUNet)

    assert network.valid(torch.empty(1, 3, side, side, device="meta")).shape[-1] == expected


def test_the_valid_u_net_has_23_convolutions_and_the_tables_cost() -> None:
    network = on_meta_device(ValidUNet)
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]

    assert len(convolutions) == 23
    # 572 pixels of input give 388 of output.
    assert count_macs(network, 388) / 1e9 == pytest.approx(150.4, abs=0.5)


@pytest.mark.parametrize(("size", "tile_px"), [((109, 130), 68)])
def test_tiles_equal_one_large_run(size: tuple[int, int], tile_px: int) -> None:
    """In float64 the sums agree except for the last bits, for every size of the run."""
    torch.manual_seed(3)
    network = ValidUNet().eval().double()
    picture = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        large, tiled = network(picture)[0], overlap_tile(network, picture, tile_px=tile_px)

    assert float((large - tiled).abs().max()) <= 1e-12


def test_an_impossible_tile_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4 \\+ 16 k"):
        overlap_tile(ValidUNet(), torch.zeros(1, 3, 120, 120), tile_px=101)


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({}, 31.03),
        ({"bilinear": True}, 28.94),
        ({"width": 32}, 7.76),
        ({"width": 32, "bilinear": True}, 7.24),
        ({"depth": 3}, 7.70),
        ({"width": 16}, 1.94),
        ({"width": 32, "depth": 3}, 1.93),
    ],
)
def test_width_depth_and_enlargement_give_the_parameters_of_the_documents(
    options: dict[str, bool | int], millions: float
) -> None:
    """28 M is the bilinear network at full width, 7.75 M half the width, and under 2 M a quarter."""
    network = on_meta_device(lambda: build_network("unet", options))

    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.0051)


@pytest.mark.parametrize(("bilinear", "depth"), [(True, 2), (False, 5)])
def test_other_shapes_keep_the_size_of_the_picture(bilinear: bool, depth: int) -> None:
    network = build_network("unet", {"width": 2, "depth": depth, "bilinear": bilinear}).eval()
    served = export_served(network, graph_name="tiny", size_px=32)
    figures = measure_trained_parity(network, served=served, pictures=synthetic_pictures(32))

    assert max(figures.values()) <= 1e-4
    assert tuple(network(torch.randn(1, 3, 45, 71))[0].shape) == (1, 1, 45, 71)
    with pytest.raises(OptionInvalid, match="at least 1"):
        build_network("unet", {"depth": 0})


def test_bilinear_enlargement_is_smooth_where_transposed_convolutions_are_not() -> None:
    """Of a constant picture, weights of a transposed convolution make a pattern of 2 × 2 pixels."""
    torch.manual_seed(1)
    constant = torch.ones(1, 8, 6, 6)
    with torch.inference_mode():
        smooth, patterned = (
            build_network("unet", {"width": 4, "depth": 1, "bilinear": bilinear}).body.enlarge[0](constant)
            for bilinear in (True, False)
        )

    assert float(smooth.std(dim=(2, 3)).max()) < 1e-6
    assert float(patterned.std(dim=(2, 3)).max()) > 1e-3


def tiny_valid() -> ValidUNet:
    """A narrow network with random weights; its logits of a photograph have mean 0 and deviation 2."""
    torch.manual_seed(4)  # with others, units are dead and the map is constant
    network = ValidUNet(width=2).eval()
    with torch.no_grad():
        picture = torch.from_numpy(photo(112, 168)).permute(2, 0, 1)[None].float()
        logits = network((picture / 255 - 0.45) / 0.225)[0]
        share = 2 / logits.std()
        network.body.score.weight.mul_(share)
        network.body.score.bias.mul_(share)
        network.body.score.bias[1] -= share * logits.mean()
    return network


def checkpoint_of(network: ValidUNet, path: Path) -> Path:
    recipe = small(architecture="unet_valid", network={"width": 2}, size_px=112, sizes_px=[])
    progress = Progress(best_mae=0.1, curves=[{"epoch": 0, "mae": 0.1, "max_f": 0.9}])
    write_checkpoint(path, TrainingRun(recipe, "toy", ("1",), ("2",), progress, {}), network)
    return path


def test_a_network_exported_with_tiles_serves_and_evaluates_the_map_of_one_large_run(
    data: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(tiny_valid(), tmp_path / "best.safetensors")
    options = ["--checkpoint", str(checkpoint), "--models-dir", str(tmp_path), "--size", "128"]
    assert main(["export", "whole", *options]) == 0
    assert main(["export", "tiles", *options, "--tile", "68"]) == 0
    upload = tmp_path / "photo.png"
    Image.fromarray(photo(200, 300)).save(upload)
    greys, figures = {}, {}
    for name in ("whole", "tiles"):
        with open_predictor(name, tmp_path) as predictor:
            greys[name] = predictor.predict(upload.read_bytes(), MaskOptions()).grey.astype(int)
        report = tmp_path / f"{name}.json"
        folder = ["--data", str(data), "--models-dir", str(tmp_path)]
        assert main(["evaluate", "--model", name, *folder, "--json", str(report)]) == 0
        figures[name] = json.loads(report.read_text())["rows"][0]["figures"]
    manifest = json.loads((tmp_path / "tiles" / "manifest.json").read_text())

    assert greys["whole"].std() > 10  # not a constant, which any tiles would agree on
    assert np.abs(greys["whole"] - greys["tiles"]).max() <= 1
    assert figures["tiles"] == pytest.approx(figures["whole"], abs=0.002)
    assert manifest["architecture"] == "unet_valid, in tiles of 68 px"
    assert manifest["input_size_px"] == 128
    assert manifest["quality"]["parity_served_float32_max_abs"] <= 1e-4


def test_a_run_on_crops_judges_and_serves_whole_pictures(data: Path, tmp_path: Path) -> None:
    recipe = small(
        architecture="unet_valid",
        network={"width": 2},
        loss="border_weighted_bce",
        picture_px=128,
        size_px=112,
        sizes_px=[],
        epochs=1,
    )
    train(recipe, TrainOptions(data, tmp_path / "run", device="cpu"), console=QUIET)
    options = ["--checkpoint", str(tmp_path / "run" / "best.safetensors"), "--models-dir", str(tmp_path)]
    assert main(["export", "crops", *options, "--tile", "68"]) == 0

    assert json.loads((tmp_path / "crops" / "manifest.json").read_text())["input_size_px"] == 128


def test_a_shape_needs_a_training_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "u2netp", "--tile", "68", "--models-dir", str(tmp_path)]) == 1
    assert "need --checkpoint" in capsys.readouterr().err


def test_the_tiles_are_really_separate_runs() -> None:
    """The largest input of the network is a tile with its margins, and there are as many as there must be."""
    network = tiny_valid()
    sizes: list[int] = []
    network.body.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    with torch.inference_mode():
        TiledUNet(network, 68)(torch.randn(1, 3, 160, 160))

    assert sizes == [68 + 184] * 9


def test_networks_that_cannot_be_tiled_are_refused() -> None:
    with pytest.raises(CommandFailed, match="unet_valid has tiles"):
        ServedShape(tile_px=68).applied(build_network("unet", {"width": 2}), "unet")
    with pytest.raises(CommandFailed, match="4 \\+ 16 k"):
        ServedShape(tile_px=70).applied(tiny_valid(), "unet_valid")


def test_the_paper_learns_tiles_of_larger_pictures() -> None:
    recipe = read_recipe("unet", table="paper")
    scale = recipe.augmentation.scale

    assert (recipe.size_px, recipe.whole_px) == (388, 512)
    assert scale[0] == scale[1] == pytest.approx(recipe.whole_px / recipe.size_px, abs=1e-4)


def test_dropout_drops_single_elements() -> None:
    dropped = tiny_valid().body.dropout.train()(torch.ones(1, 8, 40, 40)) == 0
    share = dropped.float().mean(dim=(2, 3))

    assert 0.4 < float(share.min())
    assert float(share.max()) < 0.6
