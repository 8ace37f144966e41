"""Optimizer: the parameters of a network in groups, by learning rate and weight decay."""

import torch
from torch import nn

from model_export.recipe import Recipe

HEADS = ("decoder", "head", "heads", "fuse", "training_heads", "score", "score_pool3", "score_pool4", "sides")


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimizer of a recipe.

    Each group has ``times``, its learning rate relative to the recipe's: ``head_rate`` for heads, and
    ``bias_rate`` for biases. Weights decay only in kernels.
    """
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            # With equal rates the groups are those of earlier versions, whose runs can then be resumed.
            is_bias = name.endswith(".bias") and recipe.bias_rate != 1
            key = parameter.ndim > 1, name.split(".")[0] in HEADS, is_bias
            groups.setdefault(key, []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": recipe.weight_decay if decays else 0.0,
            "times": (recipe.head_rate if is_head else 1.0) * (recipe.bias_rate if is_bias else 1.0),
        }
        for (decays, is_head, is_bias), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(described, lr=recipe.learning_rate, momentum=recipe.momentum)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(described, lr=recipe.learning_rate)
