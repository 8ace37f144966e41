"""Matte: the cost of matting, as a ratio to resampling the map alone, in processor time of one thread.

Run: python -m benchmarks.matte [--megapixels 1 12] [--runs 3]
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from app.arrays import AlphaMatte, Rgb, SaliencyMap
from app.engine.capacity.memory import tune_allocator
from app.imaging.matting.closed_form import solve_alpha
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.guided_filter import fit_colour_model
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.soft_band import SURE_BACKGROUND, SURE_FOREGROUND
from benchmarks.report import print_machine
from tests.composites import composite, ideal_map

_FULL_RADIUS_PX_AT_4000 = 20


def main() -> None:
    """Print a table of times for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.0, 12.0])
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the best one counts")
    parser.add_argument(
        "--skip-full", action="store_true", help="leave out the full-resolution guided filter"
    )
    args = parser.parse_args()
    print_machine()
    cv2.setNumThreads(1)
    tune_allocator()  # as in the server process, where new arrays cost more
    for megapixels in args.megapixels:
        _measure(megapixels, args.runs, skip_full=args.skip_full)


def _measure(megapixels: float, runs: int, *, skip_full: bool) -> None:
    """Print times at one size, and their ratios to Lanczos resampling."""
    rgb, saliency = _scene(megapixels)
    hairy = composite(megapixels, seed=0)
    hairy_map = np.clip(ideal_map(hairy.alpha), 0, 1)
    size = rgb.shape[1::-1]
    alpha = refine_alpha(rgb, saliency)
    steps: dict[str, Callable[[], object]] = {
        "Lanczos of the map": lambda: cv2.resize(saliency, size, interpolation=cv2.INTER_LANCZOS4),
        "bilinear of the map": lambda: cv2.resize(saliency, size, interpolation=cv2.INTER_LINEAR),
        "refine_alpha": lambda: refine_alpha(rgb, saliency),
        "hq": lambda: solve_alpha(rgb, saliency, is_time_left=lambda: True),
        "hq, hair": lambda: solve_alpha(hairy.rgb, hairy_map, is_time_left=lambda: True),
        "estimate_foreground": lambda: estimate_foreground(rgb, alpha),
    }
    if not skip_full:
        steps["full guided filter"] = lambda: _full_guided_filter(rgb, saliency)
    soft, hairy_soft = _soft_part(saliency), _soft_part(hairy_map)
    print(f"{megapixels:g} MP, of which {soft:.1%} is soft, or {hairy_soft:.1%} with hair")
    print(f"{'step':<22} {'ratio':>7}   (Lanczos = 1)")
    reference_s = 0.0
    for name, step in steps.items():
        took_s = _best_time_s(step, 1 if name == "full guided filter" else runs)
        reference_s = reference_s or took_s
        print(f"{name:<22} {took_s / reference_s:>7.2f}   {took_s * 1e3:.0f} ms")


def _scene(megapixels: float) -> tuple[Rgb, SaliencyMap]:
    """Build a noisy picture with a round subject, and the map that a network would return for it."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(0)
    clouds = cv2.resize(rng.uniform(0, 120, (60, 80, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(y - height / 2, x - width / 2) < 0.35 * height
    rgb = np.clip(clouds + inside[:, :, None] * 110 + rng.normal(0, 3, clouds.shape), 0, 255)
    shrunk = cv2.resize(inside.astype(np.float32), (320, 320), interpolation=cv2.INTER_AREA)
    return rgb.astype(np.uint8), np.asarray(cv2.GaussianBlur(shrunk, (0, 0), 1), dtype=np.float32)


def _soft_part(saliency: SaliencyMap) -> float:
    """Return the share of uncertain pixels in a map; the time of ``hq`` grows with it."""
    return float(np.mean((saliency >= SURE_BACKGROUND) & (saliency <= SURE_FOREGROUND)))


def _full_guided_filter(rgb: Rgb, saliency: SaliencyMap) -> AlphaMatte:
    """Fit and apply the guided filter at full resolution, which the fast path avoids."""
    height, width = rgb.shape[:2]
    guide = rgb.astype(np.float32) / np.float32(255)
    target = cv2.resize(saliency, (width, height), interpolation=cv2.INTER_LINEAR)
    radius_px = max(1, round(_FULL_RADIUS_PX_AT_4000 * max(height, width) / 4000))
    model = fit_colour_model(guide, np.asarray(target, dtype=np.float32), radius_px=radius_px, epsilon=1e-4)
    return np.asarray(np.sum(model[:, :, :3] * guide, axis=2) + model[:, :, 3], dtype=np.float32)


def _best_time_s(step: Callable[[], object], runs: int) -> float:
    """Return the shortest processor time of several runs, in seconds."""
    best_s = float("inf")
    for _ in range(runs):
        began_s = time.process_time()
        step()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s


if __name__ == "__main__":
    main()
