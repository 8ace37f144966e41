"""Samples: finds pairs of pictures and their truth in a folder.

Three layouts are supported, distinguished by the names of the folders:

========================  ==================================================================
saliency, as ECSSD        ``images/`` with ``masks/`` or ``ground_truth_mask/``
saliency, as DUTS         ``NAME-Image/`` with ``NAME-Mask/``
matting                   ``images/`` with ``alphas/``, and ``trimaps/`` if there are any
========================  ==================================================================

A picture and its truth have the same file name, except for the suffix.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.errors import CommandFailed

MAX_LISTED = 5
FOREGROUND_THRESHOLD = 128  # of 255; published masks hold 0 and 255, and some greys along the edges


class SamplesInvalid(CommandFailed):
    """A folder is not a set of pictures with known truth; the message describes the problem."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, its true mask or matte, and the trimap that marks where the matte is unknown."""

    picture: Path
    truth: Path
    trimap: Path | None


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Samples of one kind, in the order of their names."""

    kind: Literal["saliency", "matting"]
    samples: tuple[Sample, ...]


def find_samples(folder: Path) -> SampleSet:
    """Find the samples in a folder.

    Raises:
        SamplesInvalid: No layout fits, or a picture or a truth has no counterpart.
    """
    alphas, trimaps = folder / "alphas", folder / "trimaps"
    if (folder / "images").is_dir() and alphas.is_dir():
        return SampleSet("matting", _pairs(folder / "images", alphas, trimaps if trimaps.is_dir() else None))
    for pictures, masks in _saliency_folders(folder):
        if pictures.is_dir() and masks.is_dir():
            return SampleSet("saliency", _pairs(pictures, masks, None))
    raise SamplesInvalid(
        f"{folder} holds none of: images/ with masks/ or ground_truth_mask/; NAME-Image/ with NAME-Mask/; "
        "images/ with alphas/."
    )


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a mask, matte or trimap as 8-bit grey, (H, W).

    Raises:
        SamplesInvalid: The file is not a picture, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as stored:
            if stored.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise SamplesInvalid(f"{path} is of mode {stored.mode}; a truth has 8 bits.")
            return np.asarray(stored.convert("L"))
    except OSError as error:
        raise SamplesInvalid(f"{path} cannot be read as a picture.") from error


def _saliency_folders(folder: Path) -> list[tuple[Path, Path]]:
    duts = [(path, path.with_name(f"{path.name[:-6]}-Mask")) for path in sorted(folder.glob("*-Image"))]
    return [(folder / "images", folder / name) for name in ("masks", "ground_truth_mask")] + duts


def _pairs(pictures: Path, truths: Path, trimaps: Path | None) -> tuple[Sample, ...]:
    picture_of, truth_of = _by_name(pictures), _by_name(truths)
    trimap_of = truth_of if trimaps is None else _by_name(trimaps)
    for missing, folder in (
        (picture_of.keys() - truth_of.keys(), truths),
        (truth_of.keys() - picture_of.keys(), pictures),
        (picture_of.keys() - trimap_of.keys(), trimaps),
    ):
        if missing:
            raise SamplesInvalid(f"{folder} lacks {len(missing)}: {_listed(missing)}.")
    if not picture_of:
        raise SamplesInvalid(f"{pictures} holds no pictures.")
    return tuple(
        Sample(picture_of[name], truth_of[name], None if trimaps is None else trimap_of[name])
        for name in sorted(picture_of)
    )


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by name without suffix; hidden files are left out."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in files:
            raise SamplesInvalid(f"{files[path.stem]} and {path.name} have the same name.")
        files[path.stem] = path
    return files


def _listed(names: set[str]) -> str:
    listed = sorted(names)[:MAX_LISTED]
    return ", ".join(listed) + (", …" if len(names) > len(listed) else "")
