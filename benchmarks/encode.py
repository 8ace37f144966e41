"""Benchmark: what writing a PNG costs, as ratios to Pillow's fastest setting on the same pictures.

Run: python benchmarks/encode.py [--megapixels 12] [--runs 3]
"""

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.imaging.png import encode_png


def main() -> None:
    """Print a table of time and size, each divided by those of Pillow at compress_level=1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--runs", type=int, default=3, help="the best of so many counts")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{options.megapixels:g} megapixels, one thread; Pillow at compress_level=1 is 1")
    print(f"{'picture':<8} {'writer':<14} {'time':>7} {'size':>7}")
    for name, pixels in _pictures(options.megapixels).items():
        reference_s, reference_bytes = _measured(lambda p=pixels: _pillow(p, 1), options.runs)
        print(f"{name:<8} {'Pillow 1':<14} {1:>7.2f} {1:>7.2f}   {reference_s * 1e3:.0f} ms")
        writers: dict[str, Callable[[], bytes]] = {
            "Pillow 6": lambda p=pixels: _pillow(p, 6),
            "encode_png": lambda p=pixels: encode_png(p),
        }
        for writer, write in writers.items():
            took_s, size_bytes = _measured(write, 1 if writer == "Pillow 6" else options.runs)
            print(f"{name:<8} {writer:<14} {took_s / reference_s:>7.2f} {size_bytes / reference_bytes:>7.2f}")


def _pictures(megapixels: float) -> dict[str, NDArray[np.uint8]]:
    """Build a noisy photo-like picture, a cutout of it, its matte, and a yes/no mask."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(0)
    clouds = cv2.resize(rng.uniform(0, 255, (60, 80, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    rgb = np.clip(clouds + rng.normal(0, 3, clouds.shape), 0, 255).astype(np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    distance = np.hypot(y - height / 2, x - width / 2) / height
    matte = (np.clip((0.35 - distance) / 0.02 + 0.5, 0, 1) * 255).astype(np.uint8)
    cutout = np.dstack([rgb, matte])
    cutout[matte == 0] = 0
    return {
        "rgb": rgb,
        "cutout": cutout,
        "matte": matte,
        "mask": (matte > 127).astype(np.uint8) * np.uint8(255),
    }


def _pillow(pixels: NDArray[np.uint8], level: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=level)
    return encoded.getvalue()


def _measured(write: Callable[[], bytes], runs: int) -> tuple[float, int]:
    """Return the best time of several runs, in seconds, and the size in bytes."""
    best_s, size_bytes = float("inf"), 0
    for _ in range(runs):
        began_s = time.perf_counter()
        size_bytes = len(write())
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s, size_bytes


if __name__ == "__main__":
    main()
