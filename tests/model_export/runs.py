"""Shared by tests of networks: a recipe that trains in seconds, and a comparison of checkpoints."""

from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from model_export.recipe import Recipe, parse_recipe

QUIET = Console(quiet=True)
SMALL: dict[str, object] = {
    "architecture": "stdc1",
    "loss": "stdc",
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "warm_up_steps": 2,
    "size_px": 64,
    "sizes_px": [32],
    "batch": 4,
    "epochs": 4,
    "ema": 0.9,
    "held_out": 2,
    "augmentation": {"flip_horizontally": True, "scale": [0.8, 1.4], "elastic_px": 2, "colour": 0.2},
}


def small(**changes: object) -> Recipe:
    """Return the recipe with some of its fields changed."""
    return parse_recipe({**SMALL, **changes}, source="the test")


def same(one: Path, other: Path) -> bool:
    """Return whether two checkpoints hold the same tensors, bit for bit."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def on_meta_device(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return build()
