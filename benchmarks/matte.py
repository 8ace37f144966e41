"""Matte: the cost of matting, as a ratio to resampling the map alone, in processor time of one thread.

    python -m benchmarks.matte [--megapixels 1 12] [--runs 3]
    python -m benchmarks.matte --before FOLDER [--megapixels 12] [--runs 5]

With ``--before`` it compares each step of a request outside the network with the same step of another
checkout (``git worktree add ../before v1.0``), in processes that take turns. The median of the runs' ratios
counts.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.arrays import AlphaMatte, Rgb, SaliencyMap
from app.engine.capacity.memory import tune_allocator
from app.imaging.formats.decode import decode
from app.imaging.formats.png import encode_png
from app.imaging.formats.sniff import sniff
from app.imaging.layout.compose import assemble_cutout
from app.imaging.matting.closed_form import solve_alpha
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.guided_filter import fit_colour_model
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import publish, to_grey
from app.imaging.prepare import prepare
from benchmarks.pictures import photo
from benchmarks.report import ROOT, print_machine, print_table
from tests.composites import composite, ideal_map

_FULL_RADIUS_PX_AT_4000 = 20
_SOFT = (0.02, 0.98)  # the limits of the soft band; not imported, as they move from module to module
_CUTOUT = ("decode", "prepare", "refine_alpha", "to_grey", "estimate_foreground", "assemble_cutout", "encode")
_MASK = ("decode", "prepare", "publish", "encode the mask")
_SUMS = {
    "matte and colours": ("refine_alpha", "to_grey", "estimate_foreground"),
    "cutout": _CUTOUT,
    "mask": _MASK,
}
"""Steps that are also compared together."""


def main() -> None:
    """Print a table of times for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.0, 12.0])
    parser.add_argument("--runs", type=int, default=3, help="number of runs; the best one counts")
    parser.add_argument(
        "--skip-full", action="store_true", help="leave out the full-resolution guided filter"
    )
    parser.add_argument("--before", type=Path, help="a checkout to compare the steps with")
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps:
        cv2.setNumThreads(1)
        tune_allocator()
        print(json.dumps(_step_times_s(args.megapixels[0])))
        return
    print_machine()
    if args.before:
        _compare(args.before.resolve(), args.megapixels[-1], args.runs)
        return
    cv2.setNumThreads(1)
    tune_allocator()  # as in the server process, where new arrays cost more
    for megapixels in args.megapixels:
        _measure(megapixels, args.runs, skip_full=args.skip_full)


def _compare(before: Path, megapixels: float, runs: int) -> None:
    """Print each step's processor time of two checkouts, and the median of the ratios."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for run in range(runs):
        folders = (before, ROOT) if run % 2 == 0 else (ROOT, before)
        times_s = {folder: _run_in(folder, megapixels) for folder in folders}
        for name, took_s in times_s[before].items():
            taken.setdefault(name, []).append((took_s, times_s[ROOT][name]))
    rows = []
    for name, pairs in taken.items():
        first_ms, second_ms = (1e3 * statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        ratios = [after / earlier for earlier, after in pairs]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(
            (name, f"{first_ms:.1f} ms", f"{second_ms:.1f} ms", f"{statistics.median(ratios):.2f}", spread)
        )
    print(f"{megapixels:g} megapixels, processor time of one thread, {runs} runs in turns\n")
    print_table(("step", "before", "after", "after : before", "spread"), rows)


def _run_in(folder: Path, megapixels: float) -> dict[str, float]:
    """Run this program on the modules of a checkout, in a process of its own."""
    command = (sys.executable, str(Path(__file__)), "--steps", "--megapixels", str(megapixels))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ran = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    times_s: dict[str, float] = json.loads(ran.stdout)
    return times_s


def _step_times_s(megapixels: float) -> dict[str, float]:
    """Return each step's shortest processor time of three, in seconds, for each scene."""
    times_s: dict[str, float] = {}
    for scene, rgb, saliency in _scenes(megapixels):
        took_s = {
            name: _best_time_s(step, 1 if name == "hq" else 3)
            for name, step in _steps_of(rgb, saliency).items()
        }
        took_s |= {name: sum(took_s[part] for part in parts) for name, parts in _SUMS.items()}
        times_s |= {f"{scene}: {name}": seconds for name, seconds in took_s.items()}
    return times_s


def _steps_of(rgb: Rgb, saliency: SaliencyMap) -> dict[str, Callable[[], object]]:
    """Return the steps of a request outside the network, by name, and ``hq`` in place of ``refine_alpha``."""
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, "JPEG", quality=85)
    upload, size = encoded.getvalue(), rgb.shape[:2]
    alpha, mask = refine_alpha(rgb, saliency), publish(saliency, *size)
    grey, foreground = to_grey(alpha), estimate_foreground(rgb, alpha)
    cutout = assemble_cutout(foreground, grey)
    return {
        "decode": lambda: decode(upload, sniff(upload)),
        "prepare": lambda: prepare(rgb, 320),
        "refine_alpha": lambda: refine_alpha(rgb, saliency),
        "to_grey": lambda: to_grey(alpha),
        "estimate_foreground": lambda: estimate_foreground(rgb, alpha),
        "assemble_cutout": lambda: assemble_cutout(foreground, grey),
        "encode": lambda: encode_png(cutout),
        "publish": lambda: publish(saliency, *size),
        "encode the mask": lambda: encode_png(mask),
        "hq": lambda: solve_alpha(rgb, saliency, is_time_left=lambda: True),
    }


def _scenes(megapixels: float) -> Iterator[tuple[str, Rgb, SaliencyMap]]:
    """Yield a photo with a plain outline, and one with hair, with the maps of a perfect network."""
    plain, (_, saliency) = photo(megapixels), _scene(megapixels)
    yield "outline", plain, saliency
    hairy = composite(megapixels, seed=0)
    yield "hair", hairy.rgb, np.clip(ideal_map(hairy.alpha), 0, 1)


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
    return float(np.mean((saliency >= _SOFT[0]) & (saliency <= _SOFT[1])))


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
