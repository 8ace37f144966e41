"""Datasets: a folder of pictures and masks becomes arrays in memory, decoded once, and splits of them.

The layouts are those of ``samples``, and a layout of archives: ``images.zip``, ``masks.zip`` and, for
distillation, ``teacher.zip`` with a teacher's soft maps, all with the same stems. Every picture is resized to
the network's square without keeping its aspect ratio, as in U²-Net's recipe; a set of 10,000 at 320 pixels
takes 4 GB.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from model_export.samples import SamplesInvalid, find_samples

ARCHIVES = ("images.zip", "masks.zip")
TEACHER_ARCHIVE = "teacher.zip"
FOREGROUND_THRESHOLD = 128
READER_THREADS = 4
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures with their masks, and a teacher's maps if available.

    ``pictures`` is (N, S, S, 3) uint8 RGB, ``masks`` (N, S, S) uint8 of 0 and 255, ``teacher``
    (N, S', S') uint8 from 0 (background) to 255; ``names`` are the files' stems, in the same
    order.
    """

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    teacher: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def subset(self, names: Sequence[str]) -> "Dataset":
        """Return only the named pictures, in the order of ``names``.

        Raises:
            SamplesInvalid: A name is not in the set.
        """
        index_of = {name: index for index, name in enumerate(self.names)}
        missing = [name for name in names if name not in index_of]
        if missing:
            raise SamplesInvalid(
                f"The split names {len(missing)} pictures that are not in the data: {missing[0]}."
            )
        indices = [index_of[name] for name in names]
        teacher = None if self.teacher is None else self.teacher[indices]
        return Dataset(tuple(names), self.pictures[indices], self.masks[indices], teacher)


@dataclass(frozen=True, slots=True)
class _SampleFiles:
    """Functions that read one picture, its mask and its teacher map."""

    name: str
    picture: Callable[[], bytes]
    mask: Callable[[], bytes]
    teacher: Callable[[], bytes] | None = None


def decode_dataset(folder: Path, size_px: int, *, track: Callable[..., Iterable[object]] = iter) -> Dataset:
    """Decode a whole set.

    Args:
        folder: A folder in one of the layouts above.
        size_px: S, the side of the square that everything is resized to.
        track: Shows progress while it iterates over its argument.

    Raises:
        SamplesInvalid: No layout fits, a pair is incomplete, a file is not a picture, or a mask is empty or
            differs in size from its picture.
    """
    files = list(_find_files(folder))
    with ThreadPoolExecutor(READER_THREADS) as readers:
        decoded = readers.map(lambda file: _decode(file, size_px), files)
        rows = [row for row, _ in zip(decoded, track(files), strict=True)]
    pictures, masks, teachers = zip(*rows, strict=True)
    teacher = None if teachers[0] is None else np.stack(teachers)
    return Dataset(tuple(file.name for file in files), np.stack(pictures), np.stack(masks), teacher)


def split(names: Sequence[str], held_out: int, *, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split names into pictures to learn from and held-out pictures, at random but reproducibly.

    Raises:
        SamplesInvalid: No pictures would be left in one of the splits.
    """
    if not 0 < held_out < len(names):
        raise SamplesInvalid(f"{held_out} of {len(names)} pictures cannot be held out.")
    order = np.random.default_rng(seed).permutation(len(names))
    indices = set(order[:held_out].tolist())
    learned = tuple(name for index, name in enumerate(names) if index not in indices)
    return learned, tuple(name for index, name in enumerate(names) if index in indices)


def read_split(path: Path) -> tuple[str, ...]:
    """Read a split: the stems of its pictures, one per line.

    Raises:
        SamplesInvalid: The file is empty, or names a picture twice.
    """
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        raise SamplesInvalid(f"{path} is empty, or names a picture twice.")
    return names


def write_split(path: Path, names: Sequence[str]) -> None:
    """Write a split, one stem per line."""
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _find_files(folder: Path) -> Iterator[_SampleFiles]:
    if all((folder / name).is_file() for name in ARCHIVES):
        yield from _files_in_archives(folder)
        return
    sample_set = find_samples(folder)
    if sample_set.kind != "saliency":
        raise SamplesInvalid(f"{folder} holds alpha mattes; training needs masks.")
    for sample in sample_set.samples:
        yield _SampleFiles(sample.picture.stem, sample.picture.read_bytes, sample.truth.read_bytes)


def _files_in_archives(folder: Path) -> Iterator[_SampleFiles]:
    archives = [_members(folder / name) for name in ARCHIVES]
    teacher = _members(folder / TEACHER_ARCHIVE) if (folder / TEACHER_ARCHIVE).is_file() else None
    pictures, masks = archives
    for name, members in zip((*ARCHIVES[1:], TEACHER_ARCHIVE), (masks, teacher), strict=True):
        unmatched = set() if members is None else members.keys() ^ pictures.keys()
        if unmatched:
            raise SamplesInvalid(
                f"{folder / name} and images.zip differ: {sorted(unmatched)[0]} is only in one."
            )
    for name in sorted(pictures):
        yield _SampleFiles(name, pictures[name], masks[name], None if teacher is None else teacher[name])


def _members(path: Path) -> Mapping[str, Callable[[], bytes]]:
    """Return a function that reads each file of an archive, by stem."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SamplesInvalid(f"{path} is not a ZIP archive.") from error
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return {Path(name).stem: partial(archive.read, name) for name in names}


def _decode(
    file: _SampleFiles, size_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
    picture, mask = _read(file, file.picture(), "RGB"), _read(file, file.mask(), "L")
    if picture.shape[:2] != mask.shape:
        raise SamplesInvalid(
            f"{file.name}: the picture is {picture.shape[1]} × {picture.shape[0]} px, "
            f"its mask {mask.shape[1]} × {mask.shape[0]} px."
        )
    square_mask = np.where(
        _resize_to_square(mask, size_px) >= FOREGROUND_THRESHOLD, np.uint8(255), np.uint8(0)
    )
    if not square_mask.any():
        raise SamplesInvalid(f"{file.name}: the mask is empty.")
    teacher = None if file.teacher is None else _read(file, file.teacher(), "L")
    return _resize_to_square(picture, size_px), square_mask, teacher


def _read(file: _SampleFiles, upload: bytes, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(upload), formats=PICTURE_FORMATS) as stored:
            return np.asarray(ImageOps.exif_transpose(stored).convert(mode))
    except (OSError, UnidentifiedImageError) as error:
        raise SamplesInvalid(f"{file.name} cannot be read as a picture.") from error


def _resize_to_square(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize to the square: a picture as in the service, a mask so that its area is preserved."""
    is_smaller = pixels.ndim == 2 and max(pixels.shape) > size_px
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size_px, size_px), interpolation=interpolation), dtype=np.uint8)
