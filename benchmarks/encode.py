"""Encode: the cost of encoding a result, as a ratio to Pillow's PNG writer on the same pictures, one thread.

    python -m benchmarks.encode [--megapixels 12] [--runs 3] [--cutout FILE]

Two limits are checked: a PNG takes at most a sixth of the time of Pillow's default level, and at most 1.1
times the bytes of its fastest level. The pictures are a photo with camera noise, a cutout of it, its matte, a
yes/no mask, and a real cutout, both unchanged and enlarged with noise.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.formats.encode import encode
from benchmarks.report import Figure, print_figures, print_machine, print_table

REAL_CUTOUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "astronaut-cutout.png"
NOISE = 3.0  # standard deviation of camera noise, of 255
MAX_TIME_RATIO, MAX_SIZE_RATIO = 1 / 6, 1.1  # against Pillow's default level, and against its level 1

FASTEST, DEFAULT, OURS = "Pillow, level 1", "Pillow, level 6", "ours"

Pixels = NDArray[np.uint8]
Measured = tuple[float, int]
"""Seconds and bytes."""


def main() -> None:
    """Print a table of times and sizes, and whether the two limits hold."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the best one counts")
    parser.add_argument("--cutout", type=Path, default=REAL_CUTOUT, help="a picture with alpha")
    args = parser.parse_args()
    print_machine()
    cv2.setNumThreads(1)
    rows: list[tuple[str, ...]] = []
    figures: list[Figure] = []
    for name, pixels in _pictures(args.megapixels, args.cutout).items():
        measured = {writer: _measure(write, args.runs) for writer, write in _writers(pixels).items()}
        rows += _rows(name, measured)
        figures += _figures(name, measured)
    print(f"{args.megapixels:g} megapixels, one thread; ratios to Pillow's PNG at level 1\n")
    print_table(("picture", "writer", "time", "bytes"), rows)
    print_figures(figures)


def _rows(name: str, measured: Mapping[str, Measured]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each writer, times and sizes as ratios to the first."""
    reference_s, reference_bytes = next(iter(measured.values()))
    for writer, (took_s, size_bytes) in measured.items():
        ratios = f"{took_s / reference_s:.3f}", f"{size_bytes / reference_bytes:.2f}"
        absolute = f"1 ({reference_s * 1e3:.0f} ms)", f"1 ({reference_bytes / 1e6:.2f} MB)"
        yield name, writer, *(absolute if writer == FASTEST else ratios)


def _figures(name: str, measured: Mapping[str, Measured]) -> Iterator[Figure]:
    """Yield the two figures with a limit."""
    took_s, size_bytes = measured[OURS]
    yield Figure(f"{name}: time of {DEFAULT}", took_s / measured[DEFAULT][0], MAX_TIME_RATIO)
    yield Figure(f"{name}: size of {FASTEST}", size_bytes / measured[FASTEST][1], MAX_SIZE_RATIO)


def _writers(pixels: Pixels) -> dict[str, Callable[[], bytes]]:
    """Return Pillow's PNG writer at two levels, ours, and for a cutout also our other formats."""
    has_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
    others = ("webp", "avif", "zip") if has_alpha else ()
    return {
        FASTEST: partial(_pillow, pixels, 1),
        DEFAULT: partial(_pillow, pixels, 6),
        OURS: partial(encode, pixels, format="png", quality=90),
        **{f"{name}, quality 90": partial(encode, pixels, format=name, quality=90) for name in others},
    }


def _pictures(megapixels: float, real: Path) -> dict[str, Pixels]:
    """Build a noisy photo-like picture, a cutout of it, its matte, a yes/no mask, and two real cutouts."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(0)
    clouds = cv2.resize(rng.uniform(0, 255, (60, 80, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    rgb = np.clip(clouds + rng.normal(0, NOISE, clouds.shape), 0, 255).astype(np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(y - height / 2, x - width / 2) / height
    matte = (np.clip((0.35 - distance) / 0.02 + 0.5, 0, 1) * 255).astype(np.uint8)
    with Image.open(real) as stored:
        small = np.asarray(stored.convert("RGBA"))
    return {
        "photo": rgb,
        "cutout": _cutout(rgb, matte),
        "matte": matte,
        "mask": (matte > 127).astype(np.uint8) * np.uint8(255),
        "real cutout": small,
        "real cutout, enlarged": _enlarged(small, (width, height), rng),
    }


def _enlarged(cutout: Pixels, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Enlarge a cutout to (width, height), and add camera noise to its colours."""
    large = np.asarray(cv2.resize(cutout, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    noisy = large[:, :, :3] + rng.normal(0, NOISE, (*large.shape[:2], 3))
    return _cutout(np.clip(noisy, 0, 255).astype(np.uint8), np.ascontiguousarray(large[:, :, 3]))


def _cutout(rgb: Pixels, matte: Pixels) -> Pixels:
    cutout = np.dstack([rgb, matte])
    cutout[matte == 0] = 0
    return cutout


def _pillow(pixels: Pixels, level: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=level)
    return encoded.getvalue()


def _measure(write: Callable[[], bytes], runs: int) -> Measured:
    """Return the best time of several runs, in processor seconds, and the size in bytes."""
    best_s, size_bytes = float("inf"), 0
    for _ in range(runs):
        began_s = time.thread_time()
        size_bytes = len(write())
        best_s = min(best_s, time.thread_time() - began_s)
    return best_s, size_bytes


if __name__ == "__main__":
    main()
