"""Samples: finds pairs of pictures and their truth in a folder.

The layouts are distinguished by the names of folders and files:

========================  ==================================================================
saliency, archives        ``images.zip`` with ``masks.zip``
saliency, as ECSSD        ``images/`` with ``masks/`` or ``ground_truth_mask/``
saliency, as DUTS         ``NAME-Image/`` with ``NAME-Mask/``
saliency, as COCO         one JSON file, in the folder or in ``annotations/``
saliency, as labelme      a JSON file for each picture, next to the pictures
matting                   ``images/`` with ``alphas/``, and ``trimaps/`` if there are any
========================  ==================================================================

A picture and its truth have the same file name, except for the suffix. If a folder has DUTS-TR and DUTS-TE,
the first is for training and the second for evaluation.
"""

import re
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.annotations import Annotation, read_coco, read_labelme
from model_export.errors import CommandFailed
from model_export.masks import MODES, UNREADABLE, SourceFile, matte_from, read_mask

MAX_LISTED = 5
FOREGROUND_THRESHOLD = 128  # of 255; published masks hold 0 and 255, and some greys along the edges
ARCHIVES = ("images.zip", "masks.zip")
PICTURES, MASKS = "-Image", "-Mask"
Part = Literal["TR", "TE"]


class SamplesInvalid(CommandFailed):
    """A folder is not a set of pictures with known truth; the message describes the problem."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and its true mask or matte, and the trimap that marks where the matte is unknown.

    ``truth`` is the file of the mask or matte, or of the annotations that ``annotation`` draws it from.
    """

    picture: SourceFile
    truth: SourceFile
    trimap: SourceFile | None
    annotation: Annotation | None = None
    is_matte: bool = False

    @property
    def name(self) -> str:
        """The picture's file name without its suffix, by which splits and teacher maps know it."""
        return name_of(self.picture)

    def read_truth(self) -> NDArray[np.uint8]:
        """Return the mask or matte, (H, W) uint8 from 0 to 255.

        Raises:
            MaskInvalid: The file is not a mask.
        """
        if self.annotation is not None:
            return self.annotation.mask()
        if self.is_matte:
            return matte_from(self.truth.read_bytes(), str(self.truth))
        return read_mask(self.truth)


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Samples of one kind, in the order of their names."""

    kind: Literal["saliency", "matting"]
    samples: tuple[Sample, ...]

    def only(self, names: Sequence[str]) -> "SampleSet":
        """Return the named samples, in the order of ``names``.

        Raises:
            SamplesInvalid: A name is not in the set.
        """
        sample_of = {sample.name: sample for sample in self.samples}
        missing = set(names) - sample_of.keys()
        if missing:
            raise SamplesInvalid(
                f"The split names {len(missing)} pictures that are not in the data: {_listed(missing)}. "
                "Write one name per line, without folder and suffix."
            )
        return SampleSet(self.kind, tuple(sample_of[name] for name in names))


def find_samples(folder: Path, *, part: Part = "TE") -> SampleSet:
    """Find the samples in a folder.

    Args:
        folder: A folder in one of the layouts; or its ``NAME-Image`` folder, or a COCO file.
        part: Which of DUTS-TR and DUTS-TE to take if the folder has both.

    Raises:
        SamplesInvalid: No layout fits, or a picture or a truth has no counterpart.
        AnnotationsInvalid: A file of annotations cannot be read.
    """
    if not folder.exists():
        raise SamplesInvalid(f"There is no folder {folder}.")
    if all((folder / name).is_file() for name in ARCHIVES):
        pictures, masks = (archive_members(folder / name) for name in ARCHIVES)
        return SampleSet("saliency", _pairs(pictures, masks, None, places=ARCHIVES))
    alphas, trimaps = folder / "alphas", folder / "trimaps"
    if (folder / "images").is_dir() and alphas.is_dir():
        return SampleSet("matting", _in_folders(folder / "images", alphas, trimaps, is_matte=True))
    for name in ("masks", "ground_truth_mask"):
        if (folder / "images").is_dir() and (folder / name).is_dir():
            return SampleSet("saliency", _in_folders(folder / "images", folder / name))
    pair = _named_pair(folder, part)
    if pair is not None:
        return SampleSet("saliency", _in_folders(*pair))
    annotated = _annotated(folder)
    if annotated:
        return SampleSet("saliency", annotated)
    raise SamplesInvalid(
        f"{folder} holds none of: images/ with masks/ or ground_truth_mask/; NAME-Image/ with NAME-Mask/; "
        "images.zip with masks.zip; a JSON file as COCO's; JSON files as labelme's; images/ with alphas/."
    )


def read_grey(path: SourceFile) -> NDArray[np.uint8]:
    """Read a trimap, or a mask of 0 and 255, as 8-bit grey, (H, W).

    Raises:
        SamplesInvalid: The file is not a picture, or has more than 8 bits per channel.
    """
    try:
        with path.open("rb") as file, Image.open(file) as stored:
            if stored.mode not in MODES:
                raise SamplesInvalid(f"{path} is of mode {stored.mode}; a truth has 8 bits.")
            return np.asarray(stored.convert("L"))
    except UNREADABLE as error:
        raise SamplesInvalid(f"{path} cannot be read as a picture.") from error


def members(files: Iterable[SourceFile]) -> dict[str, SourceFile]:
    """Return files by name without suffix; hidden files are left out.

    Raises:
        SamplesInvalid: Two files have the same name.
    """
    by_name: dict[str, SourceFile] = {}
    for file in files:
        if file.name.startswith(".") or not file.is_file():
            continue
        name = name_of(file)
        if name in by_name:
            raise SamplesInvalid(f"{by_name[name]} and {file.name} have the same name.")
        by_name[name] = file
    return by_name


def name_of(file: SourceFile) -> str:
    """Return a file's name without its suffix; macOS stores accents apart from their letters."""
    return unicodedata.normalize("NFC", file.stem)


def archive_members(archive: Path) -> dict[str, SourceFile]:
    """Return the files of an archive by name, in whatever folders they are."""
    try:
        opened = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise SamplesInvalid(f"{archive} is not a ZIP archive.") from error
    return members(zipfile.Path(opened, name) for name in sorted(opened.namelist()))


def _in_folders(
    pictures: Path, truths: Path, trimaps: Path | None = None, *, is_matte: bool = False
) -> tuple[Sample, ...]:
    trimap_of = None if trimaps is None or not trimaps.is_dir() else members(sorted(trimaps.iterdir()))
    picture_of, truth_of = (members(sorted(folder.iterdir())) for folder in (pictures, truths))
    places = (str(pictures), str(truths), str(trimaps))
    return _pairs(picture_of, truth_of, trimap_of, places=places, is_matte=is_matte)


def _pairs(
    picture_of: dict[str, SourceFile],
    truth_of: dict[str, SourceFile],
    trimap_of: dict[str, SourceFile] | None,
    *,
    places: Sequence[str],
    is_matte: bool = False,
) -> tuple[Sample, ...]:
    for missing, number in (
        (picture_of.keys() - truth_of.keys(), 1),
        (truth_of.keys() - picture_of.keys(), 0),
        (picture_of.keys() - (truth_of if trimap_of is None else trimap_of).keys(), 2),
    ):
        if missing:
            raise SamplesInvalid(
                f"{places[number]} lacks {len(missing)}: {_listed(missing)}. A picture and its mask have the "
                "same name, except for the suffix, and a picture without a subject has a black mask."
            )
    if not picture_of:
        raise SamplesInvalid(f"{places[0]} holds no pictures.")
    return tuple(
        Sample(
            picture_of[name],
            truth_of[name],
            None if trimap_of is None else trimap_of[name],
            is_matte=is_matte,
        )
        for name in sorted(picture_of)
    )


def _named_pair(folder: Path, part: Part) -> tuple[Path, Path] | None:
    """Return ``NAME-Image`` and ``NAME-Mask``; of several, those of the part.

    Raises:
        SamplesInvalid: It is not clear which, or a set for testing would be used for training.
    """

    def masks_of(pictures: Path) -> Path:
        return pictures.with_name(pictures.name.removesuffix(PICTURES) + MASKS)

    if folder.name.endswith(PICTURES) and masks_of(folder).is_dir():
        return folder, masks_of(folder)
    found = [path for path in sorted(folder.glob(f"*{PICTURES}")) if masks_of(path).is_dir()]
    of_part = [path for path in found if _is_part(path, part)]
    chosen = of_part or found
    if not chosen:
        return None
    if len(chosen) > 1:
        raise SamplesInvalid(
            f"{folder} holds several sets: {', '.join(path.name for path in chosen)}. Name one: --data "
            f"{chosen[0]}"
        )
    if part == "TR" and _is_part(chosen[0], "TE"):
        raise SamplesInvalid(
            f"{folder} holds only a set for testing, {chosen[0].name}. To train on it all the same, name "
            f"it: --data {chosen[0]}"
        )
    return chosen[0], masks_of(chosen[0])


def _is_part(pictures: Path, part: Part) -> bool:
    """Return whether a folder is called ``TR-Image`` or ``NAME-TR-Image``, for TR."""
    return re.split("[-_]", pictures.name)[-2:-1] == [part]


def _annotated(folder: Path) -> tuple[Sample, ...]:
    """Return the samples of a COCO file, or of labelme's files; none if there are no such files."""
    if folder.is_file():
        paths = [folder]
    else:
        paths = [path for place in ("", "annotations", "images") for path in (folder / place).glob("*.json")]
    read = [(path, read_coco(path)) for path in sorted(paths)]
    coco = [(path, annotations) for path, annotations in read if annotations is not None]
    if len(coco) > 1:
        raise SamplesInvalid(
            f"{folder} holds several files like COCO's: {', '.join(path.name for path, _ in coco)}. Name "
            f"one: --data {coco[0][0]}"
        )
    if coco:
        return _samples_of([(coco[0][0], annotation) for annotation in coco[0][1]])
    labelme = [(path, read_labelme(path)) for path, _ in read]
    return _samples_of([(path, annotation) for path, annotation in labelme if annotation is not None])


def _samples_of(annotations: Sequence[tuple[Path, Annotation]]) -> tuple[Sample, ...]:
    missing = {annotation.picture.name for _, annotation in annotations if not annotation.picture.is_file()}
    if missing:
        raise SamplesInvalid(
            f"{len(missing)} annotated pictures are missing: {_listed(missing)}. Put them next to the JSON "
            "file or into images/."
        )
    samples = [Sample(annotation.picture, path, None, annotation) for path, annotation in annotations]
    by_name = {sample.name: sample for sample in samples}
    if len(by_name) < len(samples):
        raise SamplesInvalid("Two annotated pictures have the same name, apart from folder and suffix.")
    return tuple(by_name[name] for name in sorted(by_name))


def _listed(names: set[str]) -> str:
    listed = sorted(names)[:MAX_LISTED]
    return ", ".join(listed) + (", …" if len(names) > len(listed) else "")
