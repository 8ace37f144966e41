"""Precision: a training run chooses the faster one if allowed, records it, and keeps it on resuming."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model_export.architectures import ARCHITECTURES
from model_export.checkpoint import read_training_run
from model_export.precision import Precision, fastest_precision, seconds_per_iteration
from model_export.train import TrainOptions, train
from model_export.trainer import LAST
from tests.model_export.runs import QUIET, same, small

pytestmark = pytest.mark.torch


def test_choosing_a_precision_does_not_change_the_network() -> None:
    network = ARCHITECTURES["stdc1"]()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    assert fastest_precision(network, 64, torch.device("cpu")) in ("float32", "bfloat16")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_timed_passes_run_in_the_given_precision(precision: Precision, dtype: torch.dtype) -> None:
    network, observed = ARCHITECTURES["stdc1"](), set[torch.dtype]()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: observed.add(output.dtype))

    assert seconds_per_iteration(network, torch.zeros(2, 3, 64, 64), precision) > 0
    assert observed == {dtype}
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.whole
def test_the_chosen_precision_is_written_to_the_recipe_of_the_run(data: Path, tmp_path: Path) -> None:
    train(small(precision="fastest"), TrainOptions(data, tmp_path / "chosen"), console=QUIET)
    recipe = read_training_run(tmp_path / "chosen" / LAST).recipe
    assert recipe.precision in ("float32", "bfloat16")
    train(recipe, TrainOptions(data, tmp_path / "requested"), console=QUIET)

    assert same(tmp_path / "chosen" / LAST, tmp_path / "requested" / LAST)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.whole)])
def test_a_resumed_run_keeps_its_precision(data: Path, tmp_path: Path, precision: str) -> None:
    """If a resumed run chose again, one of the two cases would change its precision."""
    train(
        small(precision=precision),
        TrainOptions(data, tmp_path / "interrupted", pause_after_minutes=0),
        console=QUIET,
    )
    train(
        small(precision="fastest"), TrainOptions(data, tmp_path / "interrupted", resume=True), console=QUIET
    )
    train(small(precision=precision), TrainOptions(data, tmp_path / "whole"), console=QUIET)

    assert read_training_run(tmp_path / "interrupted" / LAST).recipe.precision == precision
    assert same(tmp_path / "interrupted" / LAST, tmp_path / "whole" / LAST)
