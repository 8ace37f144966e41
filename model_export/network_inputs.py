"""Network inputs: the pictures of a folder at a network's size, for calibration and for comparing graphs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.errors import CommandFailed
from model_export.masks import UNREADABLE, SourceFile
from model_export.pictures import synthetic_pictures
from model_export.upright import upright_rgb

PICTURE_FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
SAMPLES_FOLDER = Path(__file__).resolve().parents[1] / "app" / "web" / "page" / "samples"


def find_pictures(folder: Path, limit: int | None = None) -> list[Path]:
    """Return the pictures of a folder, spread evenly over their names if there are more than ``limit``.

    If the folder has a subfolder ``images`` or ``NAME-Image``, as sets with truth have, that is read.

    Raises:
        CommandFailed: There are none.
    """
    inner = [folder / "images", *sorted(folder.glob("*-Image"))]
    source = next((each for each in inner if each.is_dir()), folder)
    paths = sorted(path for path in source.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise CommandFailed(f"{folder} holds no pictures.")
    if limit is None or len(paths) <= limit:
        return paths
    return [paths[number * len(paths) // limit] for number in range(limit)]


def read_network_input(path: SourceFile, size_px: int) -> NDArray[np.uint8]:
    """Return one picture, upright, as (S, S, 3) uint8 RGB.

    Raises:
        CommandFailed: It cannot be read.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=PICTURE_FORMATS) as stored:
            upright = Image.fromarray(upright_rgb(stored))
    except UNREADABLE as error:
        raise CommandFailed(f"{path} cannot be read as a picture.") from error
    return np.asarray(upright.resize((size_px, size_px), Image.Resampling.BILINEAR))


def read_network_inputs(paths: Sequence[SourceFile], size_px: int) -> Iterator[NDArray[np.uint8]]:
    """Yield each picture as a batch of one, (1, S, S, 3) uint8 RGB."""
    for path in paths:
        yield read_network_input(path, size_px)[None]


def sample_inputs(size_px: int) -> NDArray[np.uint8]:
    """Return synthetic pictures and the playground's photographs, (N, S, S, 3) uint8 RGB."""
    photographs = list(read_network_inputs(find_pictures(SAMPLES_FOLDER), size_px))
    return np.concatenate([synthetic_pictures(size_px)[:3], *photographs])
