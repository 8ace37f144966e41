"""Batches: the pictures of a set, augmented and normalised, in the order of an epoch.

Every random choice depends only on the recipe's seed and the number of the iteration or epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model_export.datasets import Dataset
from model_export.recipe import Recipe
from model_export.schedule import Position, size_in
from model_export.serving_graph import IMAGENET_MEAN, IMAGENET_STD, normalise
from model_export.transforms import augment


@dataclass(frozen=True, slots=True)
class Batch:
    """Normalised pictures (N, 3, S, S), and masks and teacher maps (N, 1, S, S) in [0, 1].

    With classes, ``truth`` has the labels instead, as float32, 255 being void.
    """

    normalised: Tensor
    truth: Tensor
    teacher: Tensor | None


class Batches:
    """The batches of each epoch of a recipe."""

    def __init__(self, recipe: Recipe, learned: Dataset, device: torch.device) -> None:
        self._recipe, self._device, self._count = recipe, device, len(learned)
        # On a GPU the whole set is kept in its memory, so that no iteration waits for the bus.
        self._pictures = torch.from_numpy(learned.pictures).to(device)
        self._masks = torch.from_numpy(learned.masks).to(device)
        self._teacher = None if learned.teacher is None else torch.from_numpy(learned.teacher).to(device)
        self._labels = None if learned.labels is None else torch.from_numpy(learned.labels).to(device)
        self.per_epoch = max(1, self._count // recipe.batch)

    @property
    def iterations(self) -> int:
        """The number of iterations of the whole run, unless its minutes end it."""
        return self.per_epoch * self._recipe.epochs

    def of_epoch(
        self, epoch: int, first_iteration: int, share_of_time: Callable[[], float] = lambda: 0.0
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch, leaving out the pictures that do not fill the last batch.

        Args:
            epoch: Counted from 0.
            first_iteration: The number of iterations before this epoch.
            share_of_time: Returns the share of the run's minutes that is over.
        """
        order = torch.randperm(self._count, generator=generator_of(self._recipe.seed, epoch))
        for number in range(self.per_epoch):
            chosen = order[number * self._recipe.batch : (number + 1) * self._recipe.batch]
            size_px = size_in(self._recipe, Position(epoch, self._recipe.epochs, share_of_time()).share)
            yield self._batch(chosen.to(self._device), size_px, first_iteration + number)

    def _batch(self, chosen: Tensor, size_px: int, iteration: int) -> Batch:
        recipe = self._recipe
        pictures = self._pictures[chosen].permute(0, 3, 1, 2).float() / 255
        masks = [self._truth(chosen)]
        if self._teacher is not None and recipe.teacher_trust:
            masks.append(self._teacher[chosen].unsqueeze(1).float() / 255)
        pictures, masks = augment(
            pictures,
            masks,
            recipe.augmentation.augmentation(),
            generator_of(recipe.seed, iteration, kind=1),
            size=(size_px, size_px),
            sampling="bilinear" if self._labels is None else "nearest",
        )
        truth, *teacher = masks
        return Batch(normalised(pictures), truth, teacher[0] if teacher else None)

    def _truth(self, chosen: Tensor) -> Tensor:
        if self._labels is not None:
            return self._labels[chosen].unsqueeze(1).float()
        return self._masks[chosen].unsqueeze(1).float() / 255


def normalised(pictures: Tensor) -> Tensor:
    """Normalise (N, 3, S, S) in [0, 1] as the served graph does."""
    mean, std = (torch.tensor(triple).to(pictures) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = normalise(255 * pictures.permute(0, 2, 3, 1), mean, std)
    return normalised.permute(0, 3, 1, 2)  # channels last in memory, as in the network


def generator_of(seed: int, number: int, *, kind: int = 0) -> torch.Generator:
    """Return the generator of an epoch (kind 0) or of an iteration's augmentation (kind 1)."""
    return torch.Generator().manual_seed((seed * 2 + kind) * 1_000_003 + number)
