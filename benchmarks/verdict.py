"""Verdict: how often is a picture with a subject called empty, or one without a subject not?

    python -m benchmarks.verdict --data DIR [DIR …] [--model u2net]

Pictures with a subject come from a set with masks. Pictures without a subject are the largest upright
rectangle outside the mask of each picture, if it is at least a quarter of either side, and synthetic
pictures: flat colours, gradients, clouds and noise. Prints the share of pictures of each kind whose raw
maximum of the map is below a threshold, separately for even and odd pictures, so that a threshold chosen on
the even ones can be validated on the odd ones.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.arrays import Mask, Rgb
from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.imaging.matting.saliency import EMPTY_BELOW, stretch
from app.imaging.matting.verdict import UNCERTAIN_FROM, judge
from app.imaging.prepare import prepare
from benchmarks.report import ROOT, print_machine, print_table
from model_export.samples import find_samples, read_grey

THRESHOLDS = (0.1, 0.2, EMPTY_BELOW, 0.5, 0.7, 0.9)


def main() -> None:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    args = parser.parse_args()
    print_machine()
    clock = SystemClock()
    loader = Loader(
        args.models_dir, device="auto", probe=probe("auto"), threads=0, max_batch=None, clock=clock
    )
    session = loader.load(args.model).session
    side = session.manifest.input_size_px
    maxima: dict[str, list[float]] = {"subject": [], "free part of a photo": [], "synthetic": []}
    uncertainties: list[tuple[float, float]] = []

    def measure(rgb: Rgb, kind: str) -> None:
        raw = session.infer(prepare(rgb, side)[None])[0]
        maxima[kind].append(float(raw.max()))

    for rgb, mask in _pictures(args.data):
        raw = session.infer(prepare(rgb, side)[None])[0]
        maxima["subject"].append(float(raw.max()))
        uncertainties.append((judge(stretch(raw), *mask.shape).uncertainty, _overlap(stretch(raw), mask)))
        free = _free_part(mask)
        if free is not None:
            measure(np.ascontiguousarray(rgb[free]), "free part of a photo")
    for rgb in _synthetic_pictures():
        measure(rgb, "synthetic")
    print(f"## {args.model}: share of pictures whose raw maximum is below a threshold\n")
    rows = []
    for kind, values in maxima.items():
        for half, chosen in (("even", values[::2]), ("odd", values[1::2])):
            shares = (f"{100 * np.mean(np.array(chosen) < threshold):.0f} %" for threshold in THRESHOLDS)
            rows.append((kind, half, str(len(chosen)), *shares))
    print_table(("kind", "half", "pictures", *(f"< {threshold:g}" for threshold in THRESHOLDS)), rows)
    uncertain = [overlap for uncertainty, overlap in uncertainties if uncertainty >= UNCERTAIN_FROM]
    certain = [overlap for uncertainty, overlap in uncertainties if uncertainty < UNCERTAIN_FROM]
    count = f"{len(uncertain)} of {len(uncertainties)} with a subject"
    print(f"`uncertain`: {count}, mean IoU {np.mean(uncertain):.2f};")
    print(f"`ok`: mean IoU {np.mean(certain):.2f}\n")


def _pictures(folders: list[Path]) -> Iterator[tuple[Rgb, Mask]]:
    for folder in folders:
        for sample in find_samples(folder).samples:
            with Image.open(sample.picture) as stored:
                yield np.asarray(stored.convert("RGB")), read_grey(sample.truth) >= 128


def _overlap(saliency: np.ndarray, mask: Mask) -> float:
    """Return the intersection over union of the map, thresholded at 0.5, and the true mask."""
    predicted = cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    return float((predicted & mask).sum() / max(1, (predicted | mask).sum()))


def _free_part(mask: Mask) -> tuple[slice, slice] | None:
    """Return the largest rectangle without subject, from the heights of free columns; None if too small."""
    height, width = mask.shape
    free_px = np.zeros(width, dtype=int)
    best, rectangle = 0, None
    for row in range(height):
        free_px = np.where(mask[row], 0, free_px + 1)
        for left in range(0, width, 4):
            lowest = np.minimum.accumulate(free_px[left:])
            areas = lowest * np.arange(1, width - left + 1)
            areas[(lowest < height // 4) | (np.arange(1, width - left + 1) < width // 4)] = 0
            right = int(areas.argmax())
            if areas[right] > best:
                best = int(areas[right])
                rectangle = slice(row + 1 - int(lowest[right]), row + 1), slice(left, left + right + 1)
    return rectangle


def _synthetic_pictures() -> Iterator[Rgb]:
    """Yield pictures without any recognisable subject."""
    rng = np.random.default_rng(0)
    for level in (0, 60, 128, 200, 255):
        yield np.full((240, 320, 3), level, dtype=np.uint8)
    for _ in range(10):
        corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
        yield cv2.resize(corners, (320, 240), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    for size in (3, 6, 12, 24, 48, 96):
        for _ in range(4):
            grid = rng.uniform(60, 220, (size, size, 3)).astype(np.float32)
            enlarged = cv2.resize(grid, (320, 240), interpolation=cv2.INTER_CUBIC)
            yield np.clip(enlarged, 0, 255).astype(np.uint8)
    for sigma in (5, 20, 60):
        yield np.clip(rng.normal(128, sigma, (240, 320, 3)), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
