"""Datasets: pictures and masks become arrays in memory, decoded once.

The layouts are those of ``samples``; a teacher's soft maps lie next to them, in ``teacher/`` or
``teacher.zip``, with the names of the pictures. Every picture is resized to the network's square without
keeping its aspect ratio, as in U²-Net's recipe; a set of 10,000 at 320 pixels takes 4 GB.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.masks import UNREADABLE, SourceFile, mask_from, matte_from
from model_export.samples import (
    FOREGROUND_THRESHOLD,
    Part,
    Sample,
    SamplesInvalid,
    archive_members,
    find_samples,
    members,
)
from model_export.upright import upright_rgb

TEACHER = "teacher"
READER_THREADS = 4
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
EXIF_ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures with their masks, and a teacher's maps if available.

    ``pictures`` is (N, S, S, 3) uint8 RGB, ``masks`` (N, S, S) uint8 of 0 and 255, with values between them
    for alpha mattes; ``teacher`` (N, S', S') uint8 from 0 (background) to 255; ``names`` are the files'
    stems, in the same order. ``labels``, if the recipe has classes, is (N, S, S) uint8, 255 being void.
    """

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    teacher: NDArray[np.uint8] | None = None
    labels: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    @property
    def negatives(self) -> int:
        """The number of pictures without a subject."""
        return int((~self.masks.any(axis=(1, 2))).sum())


@dataclass(frozen=True, slots=True)
class SourceSet:
    """The files of a set: samples by name, and teacher maps by name if there are any."""

    folder: Path
    kind: str
    samples: dict[str, Sample]
    teacher: dict[str, SourceFile]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the pictures, in order."""
        return tuple(self.samples)

    def only(self, names: Sequence[str]) -> "SourceSet":
        """Return the set with only these pictures, in this order."""
        return SourceSet(self.folder, self.kind, {name: self.samples[name] for name in names}, self.teacher)


def find_sources(folder: Path, *, part: Part = "TR") -> SourceSet:
    """Find the files of a set without decoding any.

    Raises:
        SamplesInvalid: No layout fits, a pair is incomplete, or some pictures have no teacher map.
    """
    sample_set = find_samples(folder, part=part)
    samples = {sample.name: sample for sample in sample_set.samples}
    teacher = _teacher_maps(teacher_folder(folder))
    missing = sorted(samples.keys() - teacher.keys()) if teacher else []
    if missing:
        raise SamplesInvalid(
            f"{len(missing)} pictures have no teacher map: {missing[0]}. Complete the maps: python -m "
            f"model_export teach u2net --data {folder}"
        )
    return SourceSet(folder, sample_set.kind, samples, teacher)


def teacher_folder(data: Path) -> Path:
    """Return the folder of teacher maps of a set, also if ``data`` is a COCO file or ``NAME-Image``."""
    is_inner = data.is_file() or data.name.endswith("-Image")
    return (data.parent if is_inner else data) / TEACHER


def decode_dataset(
    folder: Path, size_px: int, *, track: Callable[..., Iterable[object]] = iter, part: Part = "TR"
) -> Dataset:
    """Find and decode a whole set.

    Args:
        folder: A folder in one of the layouts.
        size_px: S, the side of the square that everything is resized to.
        track: Shows progress while it iterates over its argument.
        part: Which of DUTS-TR and DUTS-TE to take if the folder has both.

    Raises:
        SamplesInvalid: As ``find_sources`` and ``decode_sources``.
    """
    return decode_sources(find_sources(folder, part=part), size_px, track=track)


def decode_sources(
    sources: SourceSet,
    size_px: int,
    *,
    track: Callable[..., Iterable[object]] = iter,
) -> Dataset:
    """Decode the files of a set.

    Args:
        sources: The files.
        size_px: S, the side of the square that everything is resized to.
        track: Shows progress while it iterates over its argument.

    Raises:
        SamplesInvalid: A file is not a picture, a mask differs in size from its picture, some masks have the
            values 0 and 1 and others 0 and 255, or no picture has a subject.
        MaskInvalid: A mask has other values.
    """
    with ThreadPoolExecutor(READER_THREADS) as readers:
        decoded = readers.map(lambda name: _decode(sources, name, size_px), sources.names)
        rows = [row for row, _ in zip(decoded, track(sources.names), strict=True)]
    pictures, masks, teachers, zero_one = zip(*rows, strict=True)
    if {True, False} <= set(zero_one):
        raise SamplesInvalid(
            f"{sources.names[zero_one.index(True)]} has a mask of 0 and 1, "
            f"{sources.names[zero_one.index(False)]} one of 0 and 255. Store all masks in one way."
        )
    shapes = {None if each is None else each.shape for each in teachers}
    if len(shapes) > 1:
        raise SamplesInvalid(f"The teacher maps differ in size: {shapes}. Remove the folder and teach again.")
    teacher = None if teachers[0] is None else np.stack(teachers)
    dataset = Dataset(sources.names, np.stack(pictures), np.stack(masks), teacher)
    if dataset.negatives == len(dataset):
        raise SamplesInvalid(
            f"None of these {len(dataset)} pictures has a subject, {sources.names[0]} for example: all masks "
            "are empty. Check the masks, or hold out other pictures."
        )
    return dataset


def upright_size(file: SourceFile) -> tuple[int, int]:
    """Return height and width of a picture as displayed, from its header alone.

    Raises:
        SamplesInvalid: The file is not a picture.
    """
    try:
        with file.open("rb") as opened, Image.open(opened) as stored:
            width, height = stored.size
            # To look for EXIF behind its pixels, Pillow would decode a PNG.
            has_exif = stored.format != "PNG" or "exif" in stored.info
            is_turned = has_exif and stored.getexif().get(EXIF_ORIENTATION) in TURNED
    except UNREADABLE as error:
        raise SamplesInvalid(f"{file} cannot be read as a picture; replace or remove it.") from error
    return (width, height) if is_turned else (height, width)


def read_picture(file: SourceFile) -> NDArray[np.uint8]:
    """Read a picture, upright, as (H, W, 3) uint8 RGB.

    Raises:
        SamplesInvalid: It cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(file.read_bytes()), formats=PICTURE_FORMATS) as stored:
            return upright_rgb(stored)
    except UNREADABLE as error:
        raise SamplesInvalid(f"{file} cannot be read as a picture; replace or remove it.") from error


def resize_to_square(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize to the square: a picture as in the service, a mask so that its area is preserved."""
    is_smaller = pixels.ndim == 2 and max(pixels.shape) > size_px
    interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (size_px, size_px), interpolation=interpolation), dtype=np.uint8)


def _teacher_maps(folder: Path) -> dict[str, SourceFile]:
    archive = folder.with_suffix(".zip")
    if archive.is_file():
        return archive_members(archive)
    return members(sorted(folder.iterdir())) if folder.is_dir() else {}


def _decode(
    sources: SourceSet, name: str, size_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None, bool | None]:
    sample = sources.samples[name]
    picture = read_picture(sample.picture)
    truth, zero_one = _truth_of(sample)
    if picture.shape[:2] != truth.shape:
        raise SamplesInvalid(
            f"{name}: the picture is {picture.shape[1]} × {picture.shape[0]} px, "
            f"its mask {truth.shape[1]} × {truth.shape[0]} px."
        )
    teacher = None if name not in sources.teacher else _read_teacher_map(sources.teacher[name])
    return (
        resize_to_square(picture, size_px),
        _square(truth, size_px, sources.kind),
        teacher,
        zero_one,
    )


def _truth_of(sample: Sample) -> tuple[NDArray[np.uint8], bool | None]:
    """Return the mask or matte of a sample, and whether its values were 0 and 1."""
    if sample.annotation is not None:
        return sample.annotation.mask(), None
    encoded = sample.truth.read_bytes()
    if sample.is_matte:
        return matte_from(encoded, str(sample.truth)), None
    return mask_from(encoded, str(sample.truth))


def _square(truth: NDArray[np.uint8], size_px: int, kind: str) -> NDArray[np.uint8]:
    """Resize a mask and make it yes or no, or a matte and keep it soft."""
    square = resize_to_square(truth, size_px)
    if kind == "matting":
        return square
    return np.where(square >= FOREGROUND_THRESHOLD, np.uint8(255), np.uint8(0))


def _read_teacher_map(file: SourceFile) -> NDArray[np.uint8]:
    """Read a teacher's map: grey, with any values.

    Raises:
        SamplesInvalid: It cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(file.read_bytes()), formats=PICTURE_FORMATS) as stored:
            return np.asarray(stored.convert("L"))
    except UNREADABLE as error:
        raise SamplesInvalid(f"{file} cannot be read as a picture; replace or remove it.") from error
