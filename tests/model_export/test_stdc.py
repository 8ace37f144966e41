"""STDC: the parameter formula of its module, its classifier, and the pretraining of that."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from model_export.__main__ import main
from model_export.architectures.stdc import (
    STDC1_BLOCKS,
    STDC2_BLOCKS,
    AttentionRefinement,
    FeatureFusion,
    ShortTermDenseConcat,
    STDCClassifier,
    STDCSeg,
)
from model_export.cost import count_macs, count_parameters
from model_export.initial_weights import load_weights_file
from model_export.optimizer import build_optimizer
from model_export.pretrain import PretrainingFailed, find_classes, pretrain, pretraining_rate
from model_export.recipe import Pretraining, RecipeInvalid, read_pretraining, read_recipe
from tests.model_export.runs import QUIET, on_meta_device

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("layers", [2, 3, 4, 5])
@pytest.mark.parametrize(("in_ch", "out_ch"), [(64, 256), (512, 512)])
def test_the_kernels_of_a_module_follow_the_papers_formula(in_ch: int, out_ch: int, layers: int) -> None:
    """N·M/2 + 3·N²/2 · (1 + 1/2^(2n - 3)), of M and N channels and n layers."""
    module = on_meta_device(lambda: ShortTermDenseConcat(in_ch, out_ch, stride=1, layers=layers))
    kernels = sum(each.numel() for each in module.parameters() if each.ndim == 4)
    formula = out_ch * in_ch / 2 + 3 * out_ch**2 / 2 * (1 + 2.0 ** (3 - 2 * layers))

    assert kernels == formula


def test_a_module_of_stride_2_has_a_depthwise_convolution_more() -> None:
    plain, halving = (
        on_meta_device(lambda stride=stride: ShortTermDenseConcat(64, 256, stride=stride))
        for stride in (1, 2)
    )

    assert count_parameters(halving) - count_parameters(plain) == 128 * 9 + 2 * 128


@pytest.mark.parametrize(
    ("blocks", "millions", "giga"), [(STDC1_BLOCKS, 8.44, 0.813), (STDC2_BLOCKS, 12.47, 1.446)]
)
def test_the_classifier_has_the_papers_size(blocks: tuple[int, ...], millions: float, giga: float) -> None:
    """The paper's multiplications include some that are not of convolutions: it prints 1 % more."""
    network = on_meta_device(lambda: STDCClassifier(blocks))

    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.005)
    assert count_macs(network, 224) / 1e9 == pytest.approx(giga, rel=0.01)


def test_stage_6_averages_a_convolution_and_has_two_fully_connected_layers() -> None:
    network = STDCClassifier((1, 1, 1), classes=7).eval()
    pictures = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        features = network.stages[2](network.stages[1](network.stages[0](network.stem(pictures))))
        whole = network.last(features).flatten(2).mean(2)
        first, second = network.classifier[0].weight, network.classifier[3].weight
        expected = torch.relu(whole @ first.T) @ second.T

        assert tuple(features.shape) == (2, 1024, 2, 3)
        assert torch.allclose(network(pictures), expected, atol=1e-5)


def test_the_segmentation_network_begins_with_the_classifiers_encoder(tmp_path: Path) -> None:
    classifier, network = STDCClassifier(STDC1_BLOCKS, classes=3), STDCSeg(STDC1_BLOCKS)
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    loaded = load_weights_file(network, tmp_path / "classifier.safetensors")
    encoder = {
        name: each for name, each in network.state_dict().items() if name.startswith(("stem", "stages"))
    }
    own = classifier.state_dict()

    assert loaded.tensors == len(encoder)
    assert all(torch.equal(each, own[name]) for name, each in encoder.items())
    assert loaded.left_out == ("classifier.0", "classifier.3", "last.0", "last.1")
    assert not any(layer.startswith(("stem", "stages")) for layer in loaded.fresh)


def test_attention_refinement_weights_each_channel_by_its_global_average() -> None:
    """Of the normalised convolution of the mean of the refined features, the sigmoid."""
    arm = AttentionRefinement(6, 4).eval()
    arm.weigh[1].running_mean.normal_()
    arm.weigh[1].running_var.uniform_(0.5, 1.5)
    features = torch.randn(2, 6, 5, 7)
    with torch.inference_mode():
        refined = arm.conv(features)
        norm = arm.weigh[1]
        mixed = refined.flatten(2).mean(2) @ arm.weigh[0].weight[:, :, 0, 0].T
        weights = torch.sigmoid((mixed - norm.running_mean) / (norm.running_var + norm.eps).sqrt())

        assert torch.allclose(arm(features), refined * weights[:, :, None, None], atol=1e-5)


def test_feature_fusion_adds_the_joined_features_to_their_weighted_channels() -> None:
    fusion = FeatureFusion(10, 8).eval()
    details, context = torch.randn(2, 6, 5, 7), torch.randn(2, 4, 5, 7)
    with torch.inference_mode():
        joined = fusion.join(torch.cat((details, context), dim=1))
        first, second = (fusion.weigh[index].weight[:, :, 0, 0] for index in (0, 2))
        weights = torch.sigmoid(torch.relu(joined.flatten(2).mean(2) @ first.T) @ second.T)

        assert torch.allclose(
            fusion(details, context), joined * weights[:, :, None, None] + joined, atol=1e-5
        )


def test_heads_learn_ten_times_as_fast_and_only_kernels_decay() -> None:
    network = STDCSeg(STDC1_BLOCKS)
    groups = build_optimizer(network, read_recipe("stdc1", table="paper")).param_groups
    of = {id(each): (group["times"], group["weight_decay"]) for group in groups for each in group["params"]}
    found = {
        (name.split(".")[0] in ("head", "fuse", "training_heads"), each.ndim > 1, *of[id(each)])
        for name, each in network.named_parameters()
    }

    assert found == {
        (True, True, 10, 5e-4),
        (True, False, 10, 0),
        (False, True, 1, 5e-4),
        (False, False, 1, 0),
    }


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with a red or a blue tint."""
    folder = tmp_path_factory.mktemp("classes")
    noise = np.random.default_rng(5)
    for part, count in (("train", 8), ("val", 4)):
        for name, channel in (("blue", 2), ("red", 0)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                picture = noise.integers(0, 128, (40, 50 + number, 3), dtype=np.uint8)
                picture[:, :, channel] += 127
                Image.fromarray(picture).save(folder / part / name / f"{number}.png")
    return folder


def test_pretraining_learns_classes_and_writes_weights_to_begin_with(classes: Path, tmp_path: Path) -> None:
    recipe = Pretraining(size_px=32, batch=4, epochs=10, warm_up_epochs=1, learning_rate=0.02)
    accuracy = pretrain("stdc1", recipe, classes, tmp_path, device=torch.device("cpu"), console=QUIET)
    again = STDCClassifier(STDC1_BLOCKS, classes=2)
    again.load_state_dict(load_file(tmp_path / "best.safetensors"))

    assert accuracy >= 0.9
    assert load_weights_file(STDCSeg(STDC1_BLOCKS), tmp_path / "best.safetensors").tensors > 100


def test_the_command_refuses_folders_without_the_same_classes(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PretrainingFailed, match="subfolder"):
        find_classes(tmp_path)
    status = main(["pretrain", "stdc1", "--data", str(classes), "--out", str(tmp_path / "run")])

    assert status == 1
    assert "train/ has 16 pictures, fewer than a batch. Make batches smaller: --set batch=8" in (
        capsys.readouterr().err
    )
    shutil.copytree(classes, tmp_path / "data")
    (tmp_path / "data" / "val" / "red").rename(tmp_path / "data" / "val" / "rot")
    assert main(["pretrain", "stdc1", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]) == 1
    assert "only one of them has red, rot." in capsys.readouterr().err


def test_hidden_folders_are_no_classes(classes: Path, tmp_path: Path) -> None:
    shutil.copytree(classes / "val", tmp_path / "val")
    (tmp_path / "val" / ".ipynb_checkpoints").mkdir()

    assert find_classes(tmp_path / "val").classes == ("blue", "red")


def test_pretraining_does_not_replace_an_earlier_run(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"days of training")
    with pytest.raises(PretrainingFailed, match="holds a run already"):
        pretrain("stdc1", Pretraining(batch=4), classes, tmp_path, device=torch.device("cpu"), console=QUIET)
    assert (tmp_path / "best.safetensors").read_bytes() == b"days of training"


def test_the_rate_of_pretraining_rises_in_a_line_and_falls_along_a_cosine() -> None:
    recipe = read_pretraining("stdc2")

    assert (recipe.epochs, recipe.batch, recipe.size_px, recipe.label_smoothing) == (300, 64, 224, 0.1)
    assert pretraining_rate(recipe, 0) == pytest.approx(0.001)
    assert pretraining_rate(recipe, 2.5) == pytest.approx(0.0505)
    assert pretraining_rate(recipe, 5) == pytest.approx(0.1)
    assert pretraining_rate(recipe, 152.5) == pytest.approx(0.05)
    assert pretraining_rate(recipe, 300) == pytest.approx(0)
    with pytest.raises(RecipeInvalid, match=r"no table \[pretrain\]"):
        read_pretraining("unet")


def test_the_scale_of_the_paper_is_an_eighth_to_one_and_a_half() -> None:
    assert read_recipe("stdc1", table="paper").augmentation.scale == (0.125, 1.5)
    assert read_recipe("stdc2", table="paper").augmentation.scale == (0.125, 1.5)
