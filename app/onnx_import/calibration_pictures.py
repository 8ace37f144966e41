"""Calibration pictures: pictures of a user's folder that another precision is made with, and judged on.

Every fourth picture is held back to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.arrays import NetworkInput
from app.errors import CutoutError
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from app.imaging.prepare import prepare
from app.onnx_import.refusal import GraphRefused

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MIN_PICTURES, MAX_PICTURES = 8, 64
JUDGED_EVERY = 4


@dataclass(frozen=True, slots=True)
class CalibrationPictures:
    """Pictures at a network's size, each (S, S, 3) uint8."""

    calibration: Sequence[NetworkInput]
    held_back: Sequence[NetworkInput]


def find_calibration_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, spread evenly over their names if there are more than are used.

    Raises:
        ValueError: There are too few; the message is for the user.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if len(paths) < MIN_PICTURES:
        raise ValueError(
            f"{folder} has {len(paths)} pictures (JPEG, PNG, WebP); at least {MIN_PICTURES} are needed, and "
            f"{MAX_PICTURES} are best. Use pictures of the kind that the network will process."
        )
    count = min(len(paths), MAX_PICTURES)
    return [paths[number * len(paths) // count] for number in range(count)]


def read_calibration_pictures(folder: Path, size_px: int) -> CalibrationPictures:
    """Read the pictures of a folder at a network's size.

    Raises:
        GraphRefused: One cannot be read.
    """
    pictures: list[NetworkInput] = []
    for path in find_calibration_pictures(folder):
        upload = path.read_bytes()
        try:
            pictures.append(prepare(decode(upload, sniff(upload)).rgb, size_px))
        except CutoutError as error:
            raise GraphRefused(f"{path} cannot be read as a picture: {error} Remove it.") from error
    held_back = pictures[JUDGED_EVERY - 1 :: JUDGED_EVERY]
    calibration = [each for number, each in enumerate(pictures) if (number + 1) % JUDGED_EVERY]
    return CalibrationPictures(calibration, held_back)
