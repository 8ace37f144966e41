"""Labelled: pictures with label maps or annotations become arrays in memory, for recipes with classes.

The masks of such a set are those of the classes that are served as saliency, so it can also be judged like
any other set.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from model_export.datasets import (
    READER_THREADS,
    Dataset,
    SourceSet,
    decode_sources,
    read_picture,
    resize_to_square,
)
from model_export.label_maps import VOID, Labels, labels_from, labels_of, resize_labels
from model_export.recipe import Recipe
from model_export.samples import Sample, SamplesInvalid


def decode_for_recipe(
    sources: SourceSet, recipe: Recipe, *, track: Callable[..., Iterable[object]] = iter
) -> Dataset:
    """Decode a set as a recipe needs it: with masks, or with label maps if it has classes.

    Raises:
        SamplesInvalid: As ``decode_sources``, or no picture has a class of the foreground, or one is void.
        MaskInvalid: A file is not a mask, or not a label map or annotation of these classes.
    """
    if not recipe.classes:
        return decode_sources(sources, recipe.whole_px, track=track)

    def decode(name: str) -> tuple[np.ndarray, Labels]:
        picture, labels = read_labelled(sources.samples[name], recipe)
        return resize_to_square(picture, recipe.whole_px), resize_labels(labels, recipe.whole_px)

    with ThreadPoolExecutor(READER_THREADS) as readers:
        decoded = readers.map(decode, sources.names)
        rows = [row for row, _ in zip(decoded, track(sources.names), strict=True)]
    pictures, labels = (np.stack(each) for each in zip(*rows, strict=True))
    for name, is_void in zip(sources.names, (labels == VOID).all(axis=(1, 2)), strict=True):
        if is_void:
            raise SamplesInvalid(f"{name}: every pixel is void, which is ignored. Leave this picture out.")
    masks = np.where(np.isin(labels, recipe.foreground_labels), np.uint8(255), np.uint8(0))
    dataset = Dataset(sources.names, pictures, masks, labels=labels)
    if dataset.negatives == len(dataset):
        raise SamplesInvalid(
            f"None of these {len(dataset)} pictures has a pixel of {' or '.join(recipe.foreground_classes)}. "
            "Check the labels and the order of the recipe's classes, or hold out other pictures."
        )
    return dataset


def read_labelled(sample: Sample, recipe: Recipe) -> tuple[np.ndarray, Labels]:
    """Read a picture, (H, W, 3) uint8 RGB, and its label map, (H, W) uint8, both upright.

    Raises:
        SamplesInvalid: The picture cannot be decoded, or differs in size.
        MaskInvalid: The label map is invalid, or annotations have names that no class has.
    """
    picture = read_picture(sample.picture)
    if sample.annotation is not None:
        labels = labels_of(sample.annotation, recipe.classes, unknown=recipe.unknown_classes)
    else:
        labels = labels_from(sample.truth.read_bytes(), str(sample.truth), count=len(recipe.classes))
    if picture.shape[:2] != labels.shape:
        raise SamplesInvalid(
            f"{sample.name}: the picture is {picture.shape[1]} × {picture.shape[0]} px, "
            f"its label map {labels.shape[1]} × {labels.shape[0]} px."
        )
    return picture, labels
