"""Datasets: a folder of pictures and masks becomes arrays in memory, decoded once, and splits of them.

The layouts are those of ``samples``, and one of archives: ``images.zip``, ``masks.zip`` and, for
distillation, ``teacher.zip`` with a teacher's soft maps, all with the same stems. Every picture is squeezed
to the network's square, as U²-Net's recipe does; a set of 10,000 at 320 pixels takes 4 GB.
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
SUBJECT_FROM = 128
READERS = 4
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures with their masks, and a teacher's maps if there are any.

    ``pictures`` is (N, S, S, 3) uint8 RGB, ``masks`` (N, S, S) uint8 of 0 and 255, ``teacher``
    (N, S', S') uint8 of 0 (background) to 255; ``names`` are the files' stems, in their order.
    """

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    teacher: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.names)

    def part(self, names: Sequence[str]) -> "Dataset":
        """Return the named pictures alone, in the order of the names.

        Raises:
            SamplesInvalid: A name is not in the set.
        """
        places = {name: place for place, name in enumerate(self.names)}
        missing = [name for name in names if name not in places]
        if missing:
            raise SamplesInvalid(f"The split names {len(missing)} that the data lack: {missing[0]}.")
        chosen = [places[name] for name in names]
        teacher = None if self.teacher is None else self.teacher[chosen]
        return Dataset(tuple(names), self.pictures[chosen], self.masks[chosen], teacher)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one picture, its mask and its teacher map are read."""

    name: str
    picture: Callable[[], bytes]
    mask: Callable[[], bytes]
    teacher: Callable[[], bytes] | None = None


def decode_dataset(folder: Path, size_px: int, *, track: Callable[..., Iterable[object]] = iter) -> Dataset:
    """Decode a whole set.

    Args:
        folder: In a known layout.
        size_px: S, the side of the square that everything is squeezed to.
        track: What to draw progress with; it iterates over what it is given.

    Raises:
        SamplesInvalid: No layout fits, a pair is incomplete, a file is no picture, a mask has another size
            than its picture, or nothing in it.
    """
    entries = list(_entries(folder))
    with ThreadPoolExecutor(READERS) as readers:
        decoded = readers.map(lambda entry: _decoded(entry, size_px), entries)
        rows = [row for row, _ in zip(decoded, track(entries), strict=True)]
    pictures, masks, teachers = zip(*rows, strict=True)
    teacher = None if teachers[0] is None else np.stack(teachers)
    return Dataset(tuple(entry.name for entry in entries), np.stack(pictures), np.stack(masks), teacher)


def split(names: Sequence[str], held_out: int, *, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide names into those to learn from and those to judge by, at random but always alike.

    Raises:
        SamplesInvalid: Nothing would be left to learn from.
    """
    if not 0 < held_out < len(names):
        raise SamplesInvalid(f"{held_out} of {len(names)} pictures cannot be held out.")
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = set(order[:held_out].tolist())
    learned = tuple(name for place, name in enumerate(names) if place not in chosen)
    return learned, tuple(name for place, name in enumerate(names) if place in chosen)


def read_split(path: Path) -> tuple[str, ...]:
    """Read a split: the stems of its pictures, one a line.

    Raises:
        SamplesInvalid: It names nothing, or something twice.
    """
    names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        raise SamplesInvalid(f"{path} names nothing, or a picture twice.")
    return names


def write_split(path: Path, names: Sequence[str]) -> None:
    """Write a split."""
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _entries(folder: Path) -> Iterator[_Entry]:
    if all((folder / name).is_file() for name in ARCHIVES):
        yield from _archived(folder)
        return
    found = find_samples(folder)
    if found.kind != "saliency":
        raise SamplesInvalid(f"{folder} holds alpha mattes; a network learns from masks here.")
    for sample in found.samples:
        yield _Entry(sample.picture.stem, sample.picture.read_bytes, sample.truth.read_bytes)


def _archived(folder: Path) -> Iterator[_Entry]:
    archives = [_members(folder / name) for name in ARCHIVES]
    teacher = _members(folder / TEACHER_ARCHIVE) if (folder / TEACHER_ARCHIVE).is_file() else None
    pictures, masks = archives
    for name, members in zip((*ARCHIVES[1:], TEACHER_ARCHIVE), (masks, teacher), strict=True):
        odd = set() if members is None else members.keys() ^ pictures.keys()
        if odd:
            raise SamplesInvalid(f"{folder / name} and images.zip differ: {sorted(odd)[0]} is in one alone.")
    for name in sorted(pictures):
        yield _Entry(name, pictures[name], masks[name], None if teacher is None else teacher[name])


def _members(path: Path) -> Mapping[str, Callable[[], bytes]]:
    """Return what reads each file of an archive, by stem."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise SamplesInvalid(f"{path} is not a ZIP archive.") from error
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return {Path(name).stem: partial(archive.read, name) for name in names}


def _decoded(
    entry: _Entry, size_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
    picture, mask = _opened(entry, entry.picture(), "RGB"), _opened(entry, entry.mask(), "L")
    if picture.shape[:2] != mask.shape:
        raise SamplesInvalid(
            f"{entry.name}: the picture is {picture.shape[1]} × {picture.shape[0]} px, "
            f"its mask {mask.shape[1]} × {mask.shape[0]} px."
        )
    squeezed = np.where(_squeezed(mask, size_px) >= SUBJECT_FROM, np.uint8(255), np.uint8(0))
    if not squeezed.any():
        raise SamplesInvalid(f"{entry.name}: the mask is empty.")
    teacher = None if entry.teacher is None else _opened(entry, entry.teacher(), "L")
    return _squeezed(picture, size_px), squeezed, teacher


def _opened(entry: _Entry, upload: bytes, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(upload), formats=PICTURE_FORMATS) as stored:
            return np.asarray(ImageOps.exif_transpose(stored).convert(mode))
    except (OSError, UnidentifiedImageError) as error:
        raise SamplesInvalid(f"{entry.name} cannot be read as a picture.") from error


def _squeezed(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Squeeze to the square, a picture as the service does, a mask so that its area stays."""
    shrinks = pixels.ndim == 2 and max(pixels.shape) > size_px
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size_px, size_px), interpolation=how), dtype=np.uint8)
