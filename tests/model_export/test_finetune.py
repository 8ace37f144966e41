"""Fine-tuning: the published network is unchanged at first, and improves with training."""

from pathlib import Path

import pytest
import torch

from model_export.finetune import freeze_norms, published_network
from model_export.recipe import read_recipe
from model_export.train import TrainOptions, train
from tests.model_export.runs import QUIET

pytestmark = pytest.mark.torch
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def in_repository_root(monkeypatch: pytest.MonkeyPatch, weights_folder: Path) -> None:
    """Run in the repository root, because published weights are searched in the relative ``models/``."""
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("in_repository_root")
@pytest.mark.parametrize("norms", ["freeze", "re-estimate"])
def test_the_published_network_gives_the_same_maps_before_training(norms: str) -> None:
    sample = torch.randn(4, 3, 64, 64, generator=torch.manual_seed(1))
    network = published_network("u2netp", norms, sample).eval()  # type: ignore[arg-type]
    frozen = published_network("u2netp", "freeze", sample).eval()
    with torch.inference_mode():
        maps = [torch.sigmoid(each(sample)[0]) for each in (network, frozen)]

    assert float((maps[0] - maps[1]).abs().max()) < 1e-4


@pytest.mark.usefixtures("in_repository_root")
def test_re_estimated_normalisations_use_the_batch_and_frozen_ones_do_not() -> None:
    """On the pictures they were measured on, normalising by the batch does not change the output."""
    sample = torch.randn(6, 3, 64, 64, generator=torch.manual_seed(1))
    network = published_network("u2netp", "re-estimate", sample)
    with torch.inference_mode():
        evaluating = network.eval()(sample)[0]
        training = network.train()(sample)[0]
    frozen = published_network("u2netp", "freeze", sample).train()
    freeze_norms(frozen)
    norms = [layer for layer in frozen.modules() if isinstance(layer, torch.nn.BatchNorm2d)]

    assert float((torch.sigmoid(evaluating) - torch.sigmoid(training)).abs().max()) < 0.02
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)


@pytest.mark.usefixtures("in_repository_root")
def test_fine_tuning_lowers_the_error_on_held_out_pictures(data: Path, tmp_path: Path) -> None:
    recipe = read_recipe("u2netp", table="finetune").model_copy(
        update={"size_px": 64, "epochs": 6, "held_out": 3, "batch": 2, "learning_rate": 3e-4, "patience": 0}
    )
    progress = train(recipe, TrainOptions(data, tmp_path / "run"), console=QUIET)
    maes = [row["mae"] for row in progress.curves]

    assert maes[-1] < 0.75 * maes[0]  # epoch 0 is the published network
