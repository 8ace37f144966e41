"""Strokes: how much does a simulated person correct with one, two and three strokes?

    python -m benchmarks.strokes --data DIR [--models u2net u2netp]

Takes the pictures whose mask has an IoU below 0.9 with the truth. The person looks for the largest connected
region that is wrong, and paints in its middle: from its deepest point along the longest straight line that
stays inside, half as wide as the region is there (``line``), or a dot of that size (``dot``). Each stroke is
sent with the mask so far. Prints the mean IoU after each stroke, over all pictures and over the even and the
odd ones, because the weights were fitted on the even ones; the number of pixels that changed farther away
than a quarter of the picture's shorter side; the error of soft edges before and after a stroke well inside
and well outside of the subject; and the time at 12 megapixels, compared with one fast matte.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.arrays import AlphaMatte, Mask, Rgb, SaliencyMap, Trimap
from app.engine.capacity.memory import tune_allocator
from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import resize_saliency, stretch
from app.imaging.matting.strokes import REACH, correct_alpha
from app.imaging.prepare import prepare
from benchmarks.report import ROOT, print_machine, print_table
from model_export.samples import find_samples, read_grey
from tests.composites import composite, ideal_map

BELOW, STROKES = 0.9, 3
_ANGLES = 16
Painter = Callable[[Mask, int], Trimap]


@dataclass(frozen=True, slots=True)
class Judged:
    """The IoU of a picture before and after each stroke, and its pixels that changed too far away."""

    overlaps: list[float]
    changed_far: int


def main() -> int:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True, help="pictures with masks")
    parser.add_argument("--models", nargs="+", default=["u2net", "u2netp"])
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tune_allocator()
    print_machine()
    judged_by_model = [_judge(args.data, args.models_dir, model) for model in args.models]
    judged = {key: results for by in judged_by_model for key, results in by.items()}
    rows, failed = [], False
    for (model, person), results in judged.items():
        for half, chosen in (("all", results), ("even", results[::2]), ("odd", results[1::2])):
            means = np.mean([one.overlaps for one in chosen], axis=0)
            far = sum(one.changed_far for one in chosen)
            failed |= far > 0 or bool((np.diff(means) <= 0).any()) or means[-1] < means[0] + 0.1
            rows.append((model, person, half, str(len(chosen)), *(f"{mean:.3f}" for mean in means), str(far)))
    print_table(("model", "person", "pictures", "count", "none", "1", "2", "3", "changed far away"), rows)
    failed |= _judge_soft_edges()
    failed |= _time()
    return int(failed)


def _judge(folder: Path, models_dir: Path, model: str) -> dict[tuple[str, str], list[Judged]]:
    """Let both persons correct every picture that needs it."""
    loader = Loader(
        models_dir, device="auto", probe=probe("auto"), threads=0, max_batch=None, clock=SystemClock()
    )
    session = loader.load(model).session
    side_px = session.manifest.input_size_px
    judged: dict[tuple[str, str], list[Judged]] = {(model, "line"): [], (model, "dot"): []}
    for sample in find_samples(folder).samples:
        with Image.open(sample.picture) as stored:
            rgb = np.asarray(stored.convert("RGB"))
        truth = read_grey(sample.truth) >= 128
        alpha = resize_saliency(stretch(session.infer(prepare(rgb, side_px)[None])[0]), *truth.shape)
        if _overlap(alpha, truth) < BELOW:
            for (_, person), results in judged.items():
                results.append(_correct(rgb, alpha, truth, PERSONS[person]))
    return judged


def _correct(rgb: Rgb, alpha: AlphaMatte, truth: Mask, painter: Painter) -> Judged:
    overlaps, changed_far = [_overlap(alpha, truth)], 0
    for _ in range(STROKES):
        painted = _stroke(alpha, truth, painter)
        corrected = correct_alpha(rgb, alpha, painted, is_time_left=lambda: True).alpha
        changed_far += int(np.count_nonzero((corrected != alpha) & _far(painted)))
        alpha = corrected
        overlaps.append(_overlap(alpha, truth))
    return Judged(overlaps, changed_far)


def _overlap(alpha: SaliencyMap, truth: Mask) -> float:
    mask = alpha >= 0.5
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def _far(painted: Trimap) -> Mask:
    is_free = (painted == 128).astype(np.uint8)
    distance = cv2.distanceTransform(is_free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance > REACH * min(painted.shape), bool)


def _stroke(alpha: AlphaMatte, truth: Mask, painter: Painter) -> Trimap:
    """Paint in the middle of the largest wrong region; nothing if all is right."""
    mask = alpha >= 0.5
    largest, value = np.zeros(truth.shape, bool), 255
    for wrong, demanded in ((truth & ~mask, 255), (mask & ~truth, 0)):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=4)
        if count > 1:
            component = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            if component.sum() > largest.sum():
                largest, value = component, demanded
    return painter(largest, value) if largest.any() else np.full(truth.shape, 128, np.uint8)


def _depth(region: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    padded = np.pad(region, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(depth[1:-1, 1:-1], np.float32)


def _dot(region: Mask, value: int) -> Trimap:
    depth = _depth(region)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    painted = np.full(region.shape, 128, np.uint8)
    cv2.circle(painted, (int(x), int(y)), int(depth.max() / 2), value, -1)
    return painted


def _line(region: Mask, value: int) -> Trimap:
    depth = _depth(region)
    deepest = float(depth.max())
    middle = np.array(np.unravel_index(int(depth.argmax()), depth.shape)[::-1], float)
    ends = [middle, middle]
    for angle in np.arange(_ANGLES) * np.pi / _ANGLES:
        direction = np.array([np.cos(angle), np.sin(angle)])
        found = [_walk(depth, middle, sign * direction, deepest) for sign in (-1, 1)]
        if np.hypot(*(found[1] - found[0])) > np.hypot(*(ends[1] - ends[0])):
            ends = found
    painted = np.full(region.shape, 128, np.uint8)
    first, second = (tuple(np.rint(end).astype(int).tolist()) for end in ends)
    cv2.line(painted, first, second, value, max(1, round(deepest)))
    return painted


def _walk(depth: np.ndarray, start: np.ndarray, direction: np.ndarray, deepest: float) -> np.ndarray:
    """Walk while the region is at least half as deep, up to three times its depth."""
    end = start
    for length in range(1, int(3 * deepest) + 1):
        x, y = np.rint(start + length * direction).astype(int)
        inside = 0 <= y < depth.shape[0] and 0 <= x < depth.shape[1]
        if not inside or depth[y, x] <= deepest / 2:
            return end
        end = start + length * direction
    return end


PERSONS: dict[str, Painter] = {"line": _line, "dot": _dot}


def _judge_soft_edges() -> bool:
    """Compare the error of hair before and after a stroke well inside, and well outside, of the subject."""
    before, inside, outside = [], [], []
    for seed in range(8):
        scene = composite(1.0, seed=seed)
        alpha = refine_alpha(scene.rgb, ideal_map(scene.alpha))
        is_soft = (scene.alpha > 0.02) & (scene.alpha < 0.98)
        before.append(np.abs(alpha - scene.alpha)[is_soft].mean())
        for errors, sure, value in ((inside, alpha == 1, 255), (outside, alpha == 0, 0)):
            corrected = correct_alpha(scene.rgb, alpha, _dot(sure, value), is_time_left=lambda: True).alpha
            errors.append(np.abs(corrected - scene.alpha)[is_soft].mean())
    means = [float(np.mean(errors)) for errors in (before, inside, outside)]
    names = "before", "after a keep stroke inside", "after a remove stroke outside"
    rows = [(name, f"{mean:.5f}") for name, mean in zip(names, means, strict=True)]
    print_table(("soft edges of 8 scenes with hair", "mean absolute error"), rows)
    return max(means) > means[0]


def _time() -> bool:
    """Time a correction at 12 megapixels, and one fast matte."""
    scene = composite(12.0, seed=1)
    saliency = ideal_map(scene.alpha)
    alpha = refine_alpha(scene.rgb, saliency)
    wrong = np.where(np.arange(alpha.shape[1]) < alpha.shape[1] // 2, alpha, np.float32(0))
    painted = _dot(_depth(scene.alpha > 0.5) * (wrong < 0.5) > 0, 255)
    took_s = {}
    for name, step in {
        "fast matte: alpha and colours": lambda: estimate_foreground(
            scene.rgb, refine_alpha(scene.rgb, saliency)
        ),
        "strokes": lambda: correct_alpha(scene.rgb, wrong, painted, is_time_left=lambda: True),
    }.items():
        times = []
        for _ in range(3):
            started_s = time.perf_counter()
            step()
            times.append(time.perf_counter() - started_s)
        took_s[name] = min(times)
    print_table(("12 megapixels, one thread", "s"), [(name, f"{best:.2f}") for name, best in took_s.items()])
    return took_s["strokes"] > 1


if __name__ == "__main__":
    sys.exit(main())
