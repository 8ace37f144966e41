"""Schedule: how far a training run has come decides its learning rate and the size of its pictures.

A run ends after its epochs or its minutes, whichever comes first. Its share, from 0 to 1, follows the one
that is further ahead, so the rate falls to its end however long the run is.
"""

import math
from dataclasses import dataclass

from model_export.recipe import Recipe

WARM_UP_FROM = 1e-3
MAX_WARM_UP_SHARE = 0.1
"""Of the whole run; a run on a few pictures is shorter than the warm-up of a long one."""
POLY_POWER = 0.9
ROUNDING = 1e-9
"""Added to shares before they are cut to whole numbers, so that 2/3 of 3 is 2."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come: the iteration, counted from 0, of how many, and the share of its minutes."""

    iteration: int
    iterations: int
    share_of_time: float = 0.0

    @property
    def share(self) -> float:
        """The share of the run that is over, from 0 to 1."""
        return min(1.0, max(self.iteration / max(1, self.iterations), self.share_of_time))


def learning_rate(recipe: Recipe, position: Position) -> float:
    """Return the learning rate of one iteration."""
    warm_up_share = min(recipe.warm_up_steps / max(1, position.iterations), MAX_WARM_UP_SHARE)
    if recipe.warm_up_steps:
        warmed = max(position.iteration / recipe.warm_up_steps, position.share / MAX_WARM_UP_SHARE)
        if warmed < 1:
            return float(recipe.learning_rate * WARM_UP_FROM ** (1 - warmed))
    share = max(0.0, (position.share - warm_up_share) / (1 - warm_up_share))
    if recipe.schedule == "poly":
        return float(recipe.learning_rate * (1 - share) ** POLY_POWER)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.learning_rate


def size_in(recipe: Recipe, share: float) -> int:
    """Return the side of the pictures; each size is used for an equal share of the run."""
    sizes = (*recipe.sizes_px, recipe.size_px)
    return sizes[min(int(share * len(sizes) + ROUNDING), len(sizes) - 1)]


def share_of_time(recipe: Recipe, seconds: float) -> float:
    """Return the share of the recipe's minutes that ``seconds`` are; 0 if the recipe sets no minutes."""
    return seconds / (60 * recipe.minutes) if recipe.minutes else 0.0
