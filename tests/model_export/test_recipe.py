"""Recipes: validation, and the learning rates and picture sizes that they define."""

import math
from pathlib import Path

import pytest

from model_export.architectures import ARCHITECTURES
from model_export.recipe import RecipeInvalid, read_recipe
from model_export.recipes import RECIPES
from model_export.train import learning_rate, size_in
from tests.model_export.runs import small

pytestmark = pytest.mark.torch


def test_every_recipe_is_valid_and_names_a_known_architecture() -> None:
    for path in RECIPES.glob("*.toml"):
        tables = ("ours",) if path.stem == "lite" else ("paper", "ours")  # lite is our own network
        for table in tables:
            assert read_recipe(path.stem, table=table).architecture in ARCHITECTURES
    assert read_recipe("u2netp", table="finetune").weights == "published"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ours]\nloss = 'stdc'\nbatch = 0", "batch"),
        ("[ours]\nloss = 'stdc'\nbatsh = 1", "batsh"),
        ("[ours]\nloss = 'mse'", "loss"),
        ("[paper]\nloss = 'stdc'", r"no table \[ours\]"),
        ("[ours", "not TOML"),
    ],
)
def test_an_invalid_recipe_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(RecipeInvalid, match=message):
        read_recipe(str(tmp_path / "mine.toml"))


def test_the_learning_rate_warms_up_and_falls() -> None:
    recipe = small(warm_up_steps=10, learning_rate=1.0, schedule="poly")
    rates = [learning_rate(recipe, step, 100) for step in range(100)]

    assert rates[0] == pytest.approx(1e-3)
    assert rates[5] == pytest.approx(math.sqrt(1e-3))
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5**0.9)
    cosine = small(warm_up_steps=0, learning_rate=1.0, schedule="cosine")
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)


def test_each_size_is_used_for_an_equal_share_of_the_epochs() -> None:
    recipe = small(epochs=9, sizes_px=[32, 48])

    assert [size_in(recipe, epoch) for epoch in range(9)] == [32] * 3 + [48] * 3 + [64] * 3
