"""Lite: the encoder is the published one, a stride of 2 pads as in TensorFlow, and the recipe trains."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from app.weights.fetch import verify_weights
from model_export.architectures import ARCHITECTURES
from model_export.architectures.lite import FEATURE_CH, EfficientNetLite0, Lite, SameConv2d, lite
from model_export.encoder_weights import (
    EFFICIENTNET_LITE0,
    NoEncoder,
    encoder_tensors,
    load_published_encoder,
    read_tensors,
)
from model_export.losses import bce_iou, soft_iou
from model_export.recipe import read_recipe
from model_export.train import TrainOptions, train
from model_export.weights import PublishedWeightsInvalid
from tests.model_export.runs import QUIET

pytestmark = pytest.mark.torch
MODELS_DIR = Path(__file__).resolve().parents[2] / "models"


def published_names() -> set[str]:
    """Write down the names of the published tensors of the encoder, from the paper's table of blocks."""
    names = {"_conv_stem.weight", *norm("_bn0")}
    for block in range(16):
        parts = ["_depthwise_conv", "_project_conv"] if block == 0 else []
        parts = parts or ["_expand_conv", "_depthwise_conv", "_project_conv"]
        names |= {f"_blocks.{block}.{part}.weight" for part in parts}
        for number in (1, 2) if block == 0 else (0, 1, 2):
            names |= norm(f"_blocks.{block}._bn{number}")
    return names


def norm(name: str) -> set[str]:
    fields = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{field}" for field in fields}


def by_definition(features: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Convolve one channel by TensorFlow's definition of "same", output by output."""
    height, width = features.shape
    side = kernel.shape[0]
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    # TensorFlow: if (in % stride == 0) max(k - stride, 0) else max(k - in % stride, 0)
    padding = [max(side - (length % stride or stride), 0) // 2 for length in (height, width)]
    result = torch.zeros(rows, columns)
    for row in range(rows):
        for column in range(columns):
            for down in range(side):
                for right in range(side):
                    y, x = row * stride + down - padding[0], column * stride + right - padding[1]
                    if 0 <= y < height and 0 <= x < width:
                        result[row, column] += features[y, x] * kernel[down, right]
    return result


def features_by_name(published: Mapping[str, Tensor], scaled: Tensor) -> list[Tensor]:
    """Run the published encoder function by function, by the names of its tensors."""

    def layer(features: Tensor, convolution: str, normalisation: str, *, stride: int = 1) -> Tensor:
        kernel = published[f"{convolution}.weight"]
        side, groups = kernel.shape[-1], features.shape[1] if "_depthwise" in convolution else 1
        pads = []
        for length in (features.shape[3], features.shape[2]):
            total = max(side - (length % stride or stride), 0)
            pads += [total // 2, total - total // 2]
        features = nn.functional.conv2d(
            nn.functional.pad(features, pads), kernel, stride=stride, groups=groups
        )
        fields = ("running_mean", "running_var", "weight", "bias")
        return nn.functional.batch_norm(
            features, *(published[f"{normalisation}.{field}"] for field in fields), eps=1e-3
        )

    deeper = nn.functional.relu6(layer(scaled, "_conv_stem", "_bn0", stride=2))
    features = []
    for block in range(16):
        name, before = f"_blocks.{block}.", deeper
        if block > 0:
            deeper = nn.functional.relu6(layer(deeper, f"{name}_expand_conv", f"{name}_bn0"))
        stride = 2 if block in (1, 3, 5, 11) else 1
        deeper = layer(deeper, f"{name}_depthwise_conv", f"{name}_bn1", stride=stride)
        deeper = layer(nn.functional.relu6(deeper), f"{name}_project_conv", f"{name}_bn2")
        if deeper.shape == before.shape:
            deeper = deeper + before
        if block in (0, 2, 4, 10, 15):
            features.append(deeper)
    return features


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 10), (7, 9), (6, 5), (1, 2)])
def test_a_stride_of_two_pads_as_tensorflow_does(kernel: int, size: tuple[int, int]) -> None:
    torch.manual_seed(kernel)
    convolution = SameConv2d(1, 1, kernel, 2, bias=False)
    features = torch.randn(size)
    with torch.inference_mode():
        result = convolution(features[None, None])[0, 0]
        expected = by_definition(features, convolution.weight[0, 0], stride=2)

    assert torch.allclose(expected, result, atol=1e-5)


def test_features_have_the_strides_and_channels_of_the_encoder() -> None:
    with torch.inference_mode():
        features = EfficientNetLite0().eval()(torch.randn(1, 3, 64, 96))

    shapes = [(1, channels, 64 // 2**level, 96 // 2**level) for level, channels in enumerate(FEATURE_CH, 1)]
    assert shapes == [tuple(each.shape) for each in features]
    assert FEATURE_CH == (16, 24, 40, 112, 320)


def test_every_published_tensor_has_its_place_and_every_place_its_tensor() -> None:
    renamed = encoder_tensors(
        {name: torch.zeros(0) for name in published_names() | {"_fc.bias", "_bn1.bias"}}
    )

    assert set(EfficientNetLite0().state_dict()) == set(renamed)


def test_pictures_reach_the_encoder_in_the_range_that_its_weights_expect() -> None:
    network = Lite()
    rgb = torch.tensor([0.0, 127.0, 255.0])[:, None, None].expand(3, 2, 2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (rgb / 255 - mean[:, None, None]) / std[:, None, None]

    scaled = normalised * network.scale + network.shift

    assert torch.allclose((rgb - 127) / 128, scaled, atol=1e-6)


@pytest.fixture(scope="module")
def published_encoder() -> Lite:
    """A network whose encoder has the published weights, fetched once and then kept."""
    network = Lite()
    load_published_encoder(network, models_dir=MODELS_DIR)
    return network


def test_the_published_weights_are_fetched_verified_and_loaded(published_encoder: Lite) -> None:
    weights = EFFICIENTNET_LITE0
    path = MODELS_DIR / "weights" / weights.name
    tensors = read_tensors(path)

    assert verify_weights(weights.name, path.parent, catalogue={weights.name: weights})
    assert torch.equal(published_encoder.encoder.stem[0].weight, tensors["_conv_stem.weight"])
    last = published_encoder.encoder.blocks[15].project[1].running_var
    assert torch.equal(last, tensors["_blocks.15._bn2.running_var"])


def test_the_encoder_computes_what_the_published_network_does(published_encoder: Lite) -> None:
    published = read_tensors(MODELS_DIR / "weights" / EFFICIENTNET_LITE0.name)
    scaled = torch.randn(1, 3, 96, 74, generator=torch.manual_seed(5))
    with torch.inference_mode():
        features = published_encoder.encoder.eval()(scaled)
        expected = features_by_name(published, scaled)

    for ours, theirs in zip(features, expected, strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    (tmp_path / "harmful.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(PublishedWeightsInvalid, match="cannot be read"):
        read_tensors(tmp_path / "harmful.pth")

    assert not (tmp_path / "ran").exists()


def test_another_network_has_no_published_encoder() -> None:
    with pytest.raises(NoEncoder, match="Only the network lite"):
        load_published_encoder(ARCHITECTURES["stdc1"]())


def test_soft_iou_is_intersection_over_union_of_the_probabilities() -> None:
    probabilities = torch.tensor([[0.9, 0.2], [0.6, 0.1]])
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    overlap = 0.9 + 0.6
    union = 0.9 + 0.6 + 0.2 + 0.1 + (1 - 0.9) + (1 - 0.6)

    loss = soft_iou(torch.logit(probabilities)[None, None], truth[None, None])

    assert float(loss) == pytest.approx(1 - (overlap + 1) / (union + 1), abs=1e-6)


def test_deeper_maps_weigh_less_in_the_loss() -> None:
    good, bad = torch.full((1, 1, 4, 4), 20.0), torch.full((1, 1, 4, 4), -20.0)
    truth = torch.ones(1, 1, 4, 4)
    perfect = bce_iou([good] * 5, truth)
    losses = [float(bce_iou([bad if k == level else good for k in range(5)], truth)) for level in range(5)]

    assert float(perfect) < 1e-3
    assert losses == sorted(losses, reverse=True)
    assert losses[0] / losses[4] == pytest.approx(5, rel=1e-3)


def test_the_recipe_trains_from_the_published_encoder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(MODELS_DIR.parent)  # weights are searched in the relative models/
    changes = {"size_px": 64, "sizes_px": (), "epochs": 1, "held_out": 3, "batch": 3, "teacher_trust": 0.0}
    recipe = read_recipe("lite").model_copy(update={**changes, "precision": "float32", "warm_up_steps": 1})
    progress = train(recipe, TrainOptions(data, tmp_path / "run"), console=QUIET)

    assert [row["epoch"] for row in progress.curves][-1] == 1
    assert math.isfinite(progress.best_mae)


def test_the_decoder_can_be_narrower() -> None:
    sizes = {
        channels: sum(each.numel() for each in lite(channels=channels).parameters()) for channels in (32, 64)
    }

    # In 3 × 3 convolutions between levels alone: 8 of 64 × 64 instead of 32 × 32.
    assert sizes[64] - sizes[32] > 8 * 9 * (64**2 - 32**2)
    assert lite(channels=32).decoder.levels[0][0][0].out_channels == 32
