"""Composites: pictures with exactly known opacity and subject colours, as ground truth for edges.

A subject with three kinds of edge (sharp, out of focus, and hair) is blended over a background by the
compositing equation, and a little sensor noise is added. The colours of both come from photographs if there
are any, else from synthetic clouds and grain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Rgb, SaliencyMap

_SUPERSAMPLED = 2  # hair is drawn larger by this factor and averaged down, so that its opacity is exact
_STRANDS = 260
_NOISE = 1.5  # of the sensor, in levels


@dataclass(frozen=True, slots=True)
class Composite:
    """A picture (H, W, 3) and its ground truth: alpha (H, W) and subject colours (H, W, 3)."""

    rgb: Rgb
    alpha: AlphaMatte
    foreground: Rgb


def composite(megapixels: float, seed: int, photographs: Sequence[Rgb] = ()) -> Composite:
    """Build a 4:3 picture of a subject with hair; the same seed gives the same scene at any size."""
    height, width = round((megapixels * 0.75e6) ** 0.5), round((megapixels / 0.75 * 1e6) ** 0.5)
    rng = np.random.default_rng(seed)
    alpha = _subject(height, width, rng)
    subject, background = (_colours(height, width, rng, photographs) for _ in range(2))
    rgb = np.empty_like(subject)
    for top in range(0, height, 64):  # in strips: a large scene would take too much memory in float
        rows = slice(top, top + 64)
        opacity = alpha[rows, :, None]
        mixed = opacity * subject[rows] + (1 - opacity) * background[rows]
        mixed += rng.normal(0, _NOISE, mixed.shape).astype(np.float32)
        rgb[rows] = np.clip(np.rint(mixed), 0, 255)
    return Composite(rgb, alpha, subject)


def ideal_map(alpha: AlphaMatte, side_px: int = 320) -> SaliencyMap:
    """Shrink and blur a true matte to the saliency map that a perfect network would return."""
    shrunk = cv2.resize(alpha, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(shrunk, (0, 0), side_px / 320), dtype=np.float32)


def photographs_in(folder: Path, count: int) -> list[Rgb]:
    """Read pictures evenly spread over a folder; an empty list if there is no such folder."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    chosen = paths[:: max(1, len(paths) // count)][:count]
    return [np.asarray(cv2.imread(str(path))[:, :, ::-1], dtype=np.uint8) for path in chosen]


def _colours(height: int, width: int, rng: np.random.Generator, photographs: Sequence[Rgb]) -> Rgb:
    if photographs:
        source = photographs[int(rng.integers(len(photographs)))]
    else:
        grain = rng.normal(0, 14, (90, 120, 3))
        clouds = cv2.resize(rng.uniform(20, 235, (5, 7, 3)), (120, 90), interpolation=cv2.INTER_CUBIC)
        source = np.clip(clouds + grain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _subject(height: int, width: int, rng: np.random.Generator) -> AlphaMatte:
    """Draw the matte: a wavy body, sharp on one side and out of focus on the other, with hair."""
    canvas = np.zeros((height * _SUPERSAMPLED, width * _SUPERSAMPLED), dtype=np.uint8)
    centre = np.array([0.5, 0.55]) + rng.uniform(-0.05, 0.05, 2)  # (x, y) as fractions of the sides
    radius = 0.27 * canvas.shape[0]
    outline = _outline(centre * canvas.shape[::-1], radius, rng)
    cv2.fillPoly(canvas, [outline.astype(np.int32)], 255)
    body = _shrunk(canvas)
    soft = cv2.GaussianBlur(body, (0, 0), 0.006 * height)
    focus = np.linspace(0, 1, width, dtype=np.float32)[None, :] - np.float32(centre[0])
    softness = np.clip(focus * 10 + np.float32(0.5), 0, 1)
    canvas[:] = 0
    for start in rng.choice(len(outline), _STRANDS):
        _draw_strand(canvas, outline[start], centre * canvas.shape[::-1], rng)
    hair = _shrunk(canvas)
    body += softness * (soft - body)
    return np.asarray(1 - (1 - body) * (1 - hair), dtype=np.float32)


def _outline(centre: NDArray[np.float64], radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return points (x, y) on a wavy circle."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    wobble = sum(rng.uniform(0, 0.25 / n) * np.sin(n * angle + rng.uniform(0, 6.3)) for n in (2, 3, 5, 8, 13))
    reach = radius * (1 + wobble)
    return np.stack([centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle)], axis=1)


def _draw_strand(
    canvas: NDArray[np.uint8],
    root: NDArray[np.float64],
    centre: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Draw one hair, curling and thinning from its root outwards."""
    away = np.arctan2(root[1] - centre[1], root[0] - centre[0]) + rng.normal(0, 0.5)
    steps, step_px = 40, rng.uniform(0.05, 0.22) * canvas.shape[0] / 40
    headings = away + np.cumsum(rng.normal(0, 0.05, steps) + rng.normal(0, 0.02))
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * step_px
    points = root + np.cumsum(moves, axis=0) - moves.sum(axis=0) * 0.1
    thickness = rng.uniform(0.0006, 0.0022) * canvas.shape[0]
    opacity = int(rng.uniform(120, 255))
    for index in range(steps - 1):
        pair = np.rint(points[index : index + 2] * 16).astype(np.int32)  # 4 bits of sub-pixel position
        width_px = max(1, round(thickness * (1 - index / steps)))
        cv2.line(canvas, pair[0].tolist(), pair[1].tolist(), opacity, width_px, cv2.LINE_8, shift=4)


def _shrunk(canvas: NDArray[np.uint8]) -> AlphaMatte:
    height, width = (side // _SUPERSAMPLED for side in canvas.shape)
    shrunk = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk.astype(np.float32) / np.float32(255)
