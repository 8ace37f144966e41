"""Splits: the names of a set become those to learn from and those held out, and text files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_export.samples import SamplesInvalid

MAX_HELD_OUT_SHARE = 1 / 5


def split(names: Sequence[str], held_out: int, *, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split names into pictures to learn from and held-out pictures, at random but reproducibly.

    Args:
        names: The names of the set.
        held_out: The number to hold out; a fifth of the set, at least one, if that is fewer.
        seed: Of the choice.

    Raises:
        SamplesInvalid: There are fewer than three pictures.
    """
    if len(names) < 3:
        raise SamplesInvalid(
            f"{len(names)} pictures cannot be split: two to learn from and one to hold out are needed."
        )
    count = min(held_out, max(1, int(len(names) * MAX_HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(len(names))
    indices = set(order[:count].tolist())
    learned = tuple(name for index, name in enumerate(names) if index not in indices)
    return learned, tuple(name for index, name in enumerate(names) if index in indices)


def read_split(path: Path) -> tuple[str, ...]:
    """Read a split: the stems of its pictures, one per line.

    Raises:
        SamplesInvalid: The file is empty, or names a picture twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SamplesInvalid(f"{path} is not a text file in UTF-8 with one name per line.") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise SamplesInvalid(f"{path} is empty, or names a picture twice.")
    return names


def write_split(path: Path, names: Sequence[str]) -> None:
    """Write a split, one stem per line."""
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
