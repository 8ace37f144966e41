"""Class networks: a recipe becomes a network, with one logit, or with a score map for each of its classes."""

import inspect

from torch import nn

from model_export.architectures import ARCHITECTURES, build_network
from model_export.recipe import Recipe

CLASS_NETWORKS = tuple(
    name for name, build in ARCHITECTURES.items() if "classes" in inspect.signature(build).parameters
)
"""The architectures that take any number of ``classes``.

U²-Net fuses side outputs of one map each, and the valid U-Net makes one logit of its two scores.
"""


def build_for_recipe(recipe: Recipe) -> nn.Module:
    """Build a recipe's network with fresh weights.

    Raises:
        OptionInvalid: The architecture does not have one of the recipe's options, or has no classes.
    """
    classes = {"classes": len(recipe.classes)} if recipe.classes else {}
    return build_network(recipe.architecture, {**recipe.network, **classes})
