"""FCN: its sizes and alignment, its classifier's conversion, and its three stages."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures import OptionInvalid, build_network
from model_export.architectures.dense_prediction import rarefied, shift_and_stitch
from model_export.architectures.fcn import FCN, Bilinear
from model_export.architectures.vgg import VGG16, as_convolutions
from model_export.cost import count_parameters
from model_export.initial_weights import WeightsUnfit, load_weights_file
from model_export.optimizer import build_optimizer
from model_export.preflight import RecipeUnfit, check_recipe
from model_export.recipe import RecipeInvalid, read_recipe
from model_export.train import TrainOptions, train
from tests.model_export.runs import QUIET, on_meta_device, small

pytestmark = pytest.mark.torch

NARROW = ((4, 4), (4, 6), (6, 6, 8), (8, 8, 8), (8, 8, 10))  # VGG-16 with few channels


@pytest.mark.parametrize(("stride", "millions"), [(32, 136.2), (16, 134.8), (8, 134.5)])
def test_fcn_with_21_classes_and_fixed_kernels_has_the_papers_parameters(
    stride: int, millions: float
) -> None:
    """The authors' files hold upsampling kernels between all pairs of classes; only 21 are not zero."""
    network = on_meta_device(lambda: FCN(stride, classes=21))  # type: ignore[arg-type]
    used = {32: ("enlarge",), 16: ("double32", "enlarge"), 8: ("double32", "double16", "enlarge")}[stride]
    fixed = sum(21 * 21 * getattr(network, name).weight.shape[-1] ** 2 for name in used)

    assert (count_parameters(network) + fixed) / 1e6 == pytest.approx(millions, abs=0.06)


def test_fcn_upsampling_is_bilinear() -> None:
    """Away from the border, the result equals interpolation."""
    scores = torch.rand(1, 2, 9, 11)
    larger = Bilinear(2, 8)(scores)
    expected = functional.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=False)

    assert torch.allclose(larger[:, :, 12:-12, 12:-12], expected[:, :, 8:-8, 8:-8], atol=1e-5)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_fcn_map_is_aligned_with_the_picture(stride: int) -> None:
    """A network whose scores are the mean brightness marks a bright spot at its place, not shifted."""
    network = FCN(stride, width=1).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1 / layer.weight[0].numel())
                layer.bias.zero_()
        picture = torch.zeros(1, 3, 224, 288)
        picture[:, :, 96:128, 160:192] = 1
        result = network(picture)[0][0, 0]
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in result.shape)
        result = result - result.min()
        centre = (result.sum(1) @ rows / result.sum(), result.sum(0) @ columns / result.sum())

    assert abs(float(centre[0]) - 111.5) < 12
    assert abs(float(centre[1]) - 175.5) < 12


def small_vgg(*, classes: int = 5) -> VGG16:
    torch.manual_seed(1)
    return VGG16(classes, channels=NARROW, hidden=24).eval()


def small_fcn(stride: int, *, classes: int = 5, padding_px: int = 100) -> FCN:
    torch.manual_seed(2)
    return FCN(
        stride,  # type: ignore[arg-type]
        classes=classes,
        channels=NARROW,
        width=24,
        padding_px=padding_px,
    ).eval()


def test_a_converted_classifier_returns_the_same_scores_for_a_picture_of_its_own_size() -> None:
    classifier, network = small_vgg(), small_fcn(32, padding_px=1)
    network.load_state_dict(as_convolutions(classifier.state_dict()))
    pictures = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        scores, _ = network.coarse_scores(pictures)

        assert tuple(scores.shape) == (2, 5, 1, 1)
        assert torch.allclose(scores.flatten(1), classifier(pictures), atol=1e-5)
        assert tuple(network.coarse_scores(torch.randn(1, 3, 288, 256))[0].shape) == (1, 5, 3, 2)


def test_a_classifier_with_normalisations_converts_to_a_network_with_them() -> None:
    classifier = VGG16(5, channels=NARROW, hidden=24, batch_norm=True)
    network = FCN(32, classes=5, channels=NARROW, width=24, batch_norm=True)
    network.load_state_dict(as_convolutions(classifier.state_dict()))

    assert torch.equal(network.levels[2][6].weight, classifier.features[20].weight)


def test_the_full_classifier_has_the_published_size_and_fits_the_network() -> None:
    """VGG-16 has 138,357,544 parameters (torchvision's documentation)."""
    classifier = on_meta_device(VGG16)
    network = on_meta_device(lambda: FCN(32, classes=1000))
    converted = as_convolutions(classifier.state_dict())

    assert count_parameters(classifier) == 138_357_544
    assert {name: each.shape for name, each in converted.items()} == {
        name: each.shape for name, each in network.state_dict().items()
    }


def test_fcn_begins_with_a_classifier_and_scores_of_zero(tmp_path: Path) -> None:
    classifier, network = small_vgg(classes=9), small_fcn(32)
    torch.save(classifier.state_dict(), tmp_path / "vgg.pth")
    loaded = load_weights_file(network, tmp_path / "vgg.pth")

    assert loaded.fresh == ("score",)
    assert loaded.left_out == ("score",)
    assert torch.equal(network.classifier[3].weight.flatten(1), classifier.classifier[3].weight)
    assert not network.score.weight.any()


@pytest.mark.parametrize(("coarse", "fine", "new"), [(32, 16, "score_pool4"), (16, 8, "score_pool3")])
def test_a_finer_stage_begins_with_the_scores_of_the_coarser_one(
    tmp_path: Path, coarse: int, fine: int, new: str
) -> None:
    trained, network = small_fcn(coarse), small_fcn(fine)
    save_file(trained.state_dict(), tmp_path / "coarse.safetensors")
    loaded = load_weights_file(network, tmp_path / "coarse.safetensors")
    picture = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        before, after = trained(picture)[0], network(picture)[0]

    assert (loaded.fresh, loaded.left_out) == ((new,), ())
    # Only the way of enlarging differs: two bilinear steps instead of one.
    assert float((before - after).abs().max()) < 0.25 * float(before.max() - before.min())
    assert float((before - after).abs().mean()) < 0.05 * float(before.max() - before.min())


def test_the_three_networks_are_trained_in_stages(tmp_path: Path, data: Path) -> None:
    """Each run begins at the score of the run before, and saves only what belongs to its own network."""
    (tmp_path / "learn.txt").write_text("0\n1\n")
    (tmp_path / "hold_out.txt").write_text("2\n")
    shared = {"loss": "summed_cross_entropy", "network": {"width": 8}, "epochs": 1, "ema": 0.0}
    shared |= {
        "optimizer": "sgd",
        "learning_rate": 1e-6,
        "size_px": 32,
        "sizes_px": [],
        "bias_rate": 2.0,
        "batch": 2,
    }
    weights, maes = "fresh", []
    for stride in (32, 16, 8):
        recipe = small(**shared, architecture=f"fcn{stride}s", weights=weights)
        options = TrainOptions(
            data,
            tmp_path / str(stride),
            device="cpu",
            learned=tmp_path / "learn.txt",
            held_out=tmp_path / "hold_out.txt",
        )
        progress = train(recipe, options, console=QUIET)
        weights = str(tmp_path / str(stride) / "last.safetensors")
        maes.append([row["mae"] for row in progress.curves])

    assert maes[1][0] == pytest.approx(maes[0][1], abs=0.005)
    assert maes[2][0] == pytest.approx(maes[1][1], abs=0.005)
    (tmp_path / "16" / "last.safetensors").unlink()  # a resumed run does without the file it began with
    longer = recipe.model_copy(update={"epochs": 2})
    progress = train(longer, dataclasses.replace(options, resume=True), console=QUIET)
    assert progress.epoch == 2


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name, message in (("other", "no tensor"), ("text", "cannot be read")):
        with pytest.raises(WeightsUnfit, match=message):
            load_weights_file(small_fcn(32), tmp_path / f"{name}.safetensors")
    with pytest.raises(RecipeUnfit, match="no file"):
        check_recipe(small(weights=str(tmp_path / "missing.safetensors")))
    with pytest.raises(RecipeInvalid, match="weights"):
        small(weights="publish")


def test_options_of_an_architecture_are_checked() -> None:
    with pytest.raises(OptionInvalid, match=r"no option heigth.*learned_deconvolution"):
        build_network("fcn8s", {"heigth": 3})
    with pytest.raises(OptionInvalid, match="of type bool"):
        build_network("fcn8s", {"learned_deconvolution": 1})
    with pytest.raises(RecipeUnfit, match="--set network"):
        check_recipe(small(network={"heigth": 3}))


def test_learned_deconvolution_begins_bilinear_and_learns() -> None:
    """As in the CVPR paper, the kernels between the scores learn and the last one is fixed."""
    fixed, learned = small_fcn(8), small_fcn(8)
    learned.double32, learned.double16 = Bilinear(5, 2, is_learned=True), Bilinear(5, 2, is_learned=True)
    picture = torch.randn(1, 3, 64, 64)
    maps = learned(picture)[0]
    maps.square().mean().backward()

    assert torch.allclose(maps, fixed(picture)[0])
    assert float(learned.double32.weight.grad.abs().max()) > 0
    built = on_meta_device(lambda: build_network("fcn8s", {"learned_deconvolution": True}))
    names = {name for name, _ in built.named_parameters()} & {
        f"{layer}.weight" for layer in ("double32", "double16", "enlarge")
    }
    assert names == {"double32.weight", "double16.weight"}
    only32 = on_meta_device(lambda: build_network("fcn32s", {"learned_deconvolution": True}))
    assert "double32.weight" not in dict(only32.named_parameters())


def test_at_once_the_features_of_the_poolings_are_scaled_before_they_are_scored() -> None:
    """Scaled kernels with unscaled features give the same map."""
    torch.manual_seed(2)
    scaled = FCN(8, classes=5, channels=NARROW, width=24, at_once=True).eval()
    plain = small_fcn(8)
    tensors = scaled.state_dict()
    tensors |= {
        "score_pool4.weight": 0.01 * tensors["score_pool4.weight"],
        "score_pool3.weight": 0.0001 * tensors["score_pool3.weight"],
    }
    plain.load_state_dict(tensors)
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = plain(picture)[0]

        assert torch.allclose(scaled(picture)[0], expected, atol=1e-6)
    assert on_meta_device(lambda: build_network("fcn8s", {"at_once": True})).scales["score_pool4"] == 0.01


def test_dropout_drops_single_elements_not_whole_channels() -> None:
    layers = small_fcn(32).classifier.train()
    features = torch.ones(1, 24, 40, 40)
    dropped = layers[2](features) == 0
    share = dropped.float().mean(dim=(2, 3))

    assert float(share.min()) > 0.4
    assert float(share.max()) < 0.6


def test_biases_learn_at_their_own_rate_and_do_not_decay() -> None:
    recipe = read_recipe("fcn8s", table="paper")
    network = small_fcn(8)
    groups = build_optimizer(network, recipe).param_groups
    of = {id(each): (group["times"], group["weight_decay"]) for group in groups for each in group["params"]}

    assert {of[id(each)] for name, each in network.named_parameters() if name.endswith("bias")} == {
        (2.0, 0.0)
    }
    assert {of[id(each)] for name, each in network.named_parameters() if name.endswith("weight")} == {
        (1.0, 5e-4)
    }


def test_the_stages_of_the_paper_have_falling_rates() -> None:
    recipes = [read_recipe(f"fcn{stride}s", table="paper") for stride in (32, 16, 8)]

    assert [recipe.learning_rate for recipe in recipes] == [1e-10, 1e-12, 1e-14]
    assert {(recipe.momentum, recipe.batch, recipe.loss) for recipe in recipes} == {
        (0.99, 1, "summed_cross_entropy")
    }


def strided(*, padding: int = 0) -> nn.Sequential:
    """A network of stride 4 with a receptive field of 28 pixels, in double precision."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=padding), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Conv2d(4, 5, 3, padding=padding),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(5, 6, 5, padding=2 * padding),
        nn.Dropout(),
        nn.Conv2d(6, 2, 1),
    )
    return network.eval().double()


def naive_scores(network: nn.Sequential, picture: Tensor, field_px: int) -> Tensor:
    """Run the network on the receptive field of each pixel."""
    height, width = (side - field_px + 1 for side in picture.shape[-2:])
    rows = [
        torch.cat([network(picture[:, :, y : y + field_px, x : x + field_px]) for x in range(width)], dim=3)
        for y in range(height)
    ]
    return torch.cat(rows, dim=2)


def test_shift_and_stitch_and_filter_rarefaction_agree_with_one_run_for_each_pixel() -> None:
    network, picture = strided(), torch.randn(1, 3, 35, 33, dtype=torch.float64)
    with torch.inference_mode():
        naive = naive_scores(network, picture, 28)
        stitched = shift_and_stitch(network, picture, stride=4)
        rare = rarefied(network)(picture)

    assert tuple(naive.shape) == (1, 2, 8, 6)
    assert torch.allclose(stitched, naive, atol=1e-12)
    assert torch.allclose(rare, naive, atol=1e-12)


def test_with_padding_rarefaction_agrees_with_shift_and_stitch_away_from_the_borders() -> None:
    network, picture = strided(padding=1), torch.randn(1, 3, 80, 72, dtype=torch.float64)
    with torch.inference_mode():
        stitched = shift_and_stitch(network, picture, stride=4)
        rare = rarefied(network)(picture)
    inner = (..., slice(16, 40), slice(16, 40))

    assert torch.allclose(stitched[inner], rare[inner], atol=1e-12)
    with pytest.raises(ValueError, match="AvgPool2d"):
        rarefied(nn.Sequential(nn.AvgPool2d(2)))
    with pytest.raises(ValueError, match="differ"):
        rarefied(nn.Sequential(nn.MaxPool2d(2, stride=(1, 2))))
