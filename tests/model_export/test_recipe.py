"""Recipes: validation, and the learning rates and picture sizes that they define."""

import argparse
import math
from pathlib import Path

import pytest

from model_export.architectures import ARCHITECTURES
from model_export.errors import CommandFailed
from model_export.recipe import RecipeInvalid, read_recipe
from model_export.recipes import RECIPES
from model_export.schedule import Position, learning_rate, size_in
from model_export.train_cli import declare_training, recipe_from
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
        ("[ours]\nloss = 'stdc'\nlearning_rate = inf", "learning_rate"),
        ("[ours]\nloss = 'stdc'\nlearning_rate = nan", "learning_rate"),
        ("[ours]\nloss = 'stdc'\nweight_decay = inf", "weight_decay"),
        ("[ours]\nloss = 'stdc'\nsizes_px = [0]", "sizes_px"),
        ("[ours]\nloss = 'stdc'\nseed = -1", "seed"),
        ("[paper]\nloss = 'stdc'", r"no table \[ours\], only: paper\."),
        ("[ours", "not TOML"),
    ],
)
def test_an_invalid_recipe_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(RecipeInvalid, match=message):
        read_recipe(str(tmp_path / "mine.toml"))


def test_a_table_inherits_and_merges_its_augmentation(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "[ours]\ninherit = 'u2netp:finetune'\narchitecture = 'u2net'\nbatch = 2\n"
        "augmentation = { colour = 0.3 }\n"
    )
    mine, parent = read_recipe(str(tmp_path / "mine.toml")), read_recipe("u2netp", table="finetune")

    assert (mine.architecture, mine.batch, mine.augmentation.colour) == ("u2net", 2, 0.3)
    assert mine.augmentation.scale == parent.augmentation.scale == (0.9, 1.3)
    assert (
        mine.model_copy(
            update={"architecture": "u2netp", "batch": parent.batch, "augmentation": parent.augmentation}
        )
        == parent
    )
    assert read_recipe("unetpp").augmentation == read_recipe("unet").augmentation
    assert read_recipe("stdc2").architecture == "stdc2"


def test_tables_that_inherit_from_each_other_are_refused(tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f"[ours]\ninherit = '{tmp_path / parent}.toml'\n")
    with pytest.raises(RecipeInvalid, match="inherits from itself"):
        read_recipe(str(tmp_path / "a.toml"))


def test_the_warm_up_is_at_most_a_tenth_of_the_run() -> None:
    recipe = small(warm_up_steps=500, learning_rate=1.0, schedule="cosine")
    rates = [learning_rate(recipe, Position(step, 40)) for step in range(40)]

    assert rates.index(max(rates)) == 4
    assert max(rates) > 0.99


def test_the_rate_falls_to_its_end_in_the_minutes() -> None:
    recipe = small(warm_up_steps=10, learning_rate=1.0, schedule="cosine")

    assert learning_rate(recipe, Position(40, 10_000, share_of_time=0.5)) == pytest.approx(0.5, abs=0.01)
    assert learning_rate(recipe, Position(80, 10_000, share_of_time=1.0)) == pytest.approx(0)
    assert size_in(small(sizes_px=[32]), Position(1, 100, share_of_time=0.6).share) == 64


def test_the_learning_rate_warms_up_and_falls() -> None:
    recipe = small(warm_up_steps=10, learning_rate=1.0, schedule="poly")
    rates = [learning_rate(recipe, Position(step, 100)) for step in range(100)]

    assert rates[0] == pytest.approx(1e-3)
    assert rates[5] == pytest.approx(math.sqrt(1e-3))
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5**0.9)
    cosine = small(warm_up_steps=0, learning_rate=1.0, schedule="cosine")
    assert learning_rate(cosine, Position(50, 100)) == pytest.approx(0.5)


def test_each_size_is_used_for_an_equal_share_of_the_epochs() -> None:
    recipe = small(epochs=9, sizes_px=[32, 48])

    assert [size_in(recipe, epoch / 9) for epoch in range(9)] == [32] * 3 + [48] * 3 + [64] * 3


def test_u2net_takes_the_papers_steps_with_crops_of_288_pixels() -> None:
    """About 600,000 iterations on DUTS-TR, as ``Batches`` counts them, for both sizes of the network."""
    for name in ("u2net", "u2netp"):
        recipe = read_recipe(name, table="paper")
        per_epoch = (10_553 - recipe.held_out) // recipe.batch

        assert per_epoch * recipe.epochs == pytest.approx(600_000, abs=per_epoch)
        assert (recipe.size_px, recipe.whole_px, recipe.batch) == (288, 320, 12)
        assert recipe.augmentation.scale == (1.1111, 1.1111)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("augmentatoin.colour=0.4", "augmentatoin: Extra inputs are not permitted"),
        ("augmentation.color=0.4", "augmentation.color: Extra inputs are not permitted"),
        ("no.such.table=1", "no: Extra inputs are not permitted"),
        ("batch.size=4", "batch is a single value; set it by --set batch="),
    ],
)
def test_a_change_of_an_unknown_field_is_refused(change: str, words: str) -> None:
    parser = argparse.ArgumentParser()
    declare_training(parser, table="ours")
    args = parser.parse_args(["u2netp", "--data", "nowhere", "--set", change])

    with pytest.raises(CommandFailed, match=words):
        recipe_from(args)
