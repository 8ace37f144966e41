"""Closed form: solves for the matte that best fits the picture's colours, near the matte of ``matte.py``.

Strategy: the refined matte is a guess whose windows are as coarse as the network's map. This module solves
the soft band again, for the matte that is as close as possible to linear in the colours of every 3 × 3 window
(Levin's matting Laplacian) and stays near that guess. The usual closed form constrains the matte by a trimap
instead; a map's soft band is too wide for that, and half-transparent parts in it would be lost. Conjugate
gradients start at the guess, on the picture shrunk to ``MAX_PX``; the result is upsampled to full resolution
by the picture's edges.

References:
    Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask, Rgb, SaliencyMap
from app.imaging.matting.laplacian import matting_laplacian
from app.imaging.matting.matte import refine_alpha, upsample_alpha
from app.imaging.matting.saliency import resize_saliency
from app.imaging.matting.soft_band import SURE_BACKGROUND, SURE_FOREGROUND
from app.imaging.progress import Check, no_check
from app.imaging.tiles import shrink

MAX_PX = 800_000
"""Maximum size of the picture that is solved: a 12-megapixel one is shrunk by 4."""

_GUESS_WEIGHT = 0.03  # against that of one window
_EPSILON = 1e-6  # colour variance, colours in [0, 1]
_ITERATIONS = 60
_TOLERANCE = 1e-3  # of the residual, relative to the initial one
_MIN_SIDE_PX = 3  # side of a window

_Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Solved:
    """A matte, (H, W) in [0, 1], and whether the solver finished within its time."""

    alpha: AlphaMatte
    is_complete: bool


def solve_alpha(
    rgb: Rgb, saliency: SaliencyMap, *, is_time_left: Callable[[], bool], check: Check = no_check
) -> Solved:
    """Solve the soft band of a saliency map from the colours of its picture.

    Args:
        rgb: Upright picture, (H, W, 3).
        saliency: Stretched map in [0, 1] of any size; it is stretched over the whole picture.
        is_time_left: Called before each iteration; when it returns false, the solution so far is used.
        check: Called in the steps before and after the solver, but not within it.

    Returns:
        A matte that is exactly 0 or 1 outside the soft band. Without a soft band, or in a picture smaller
        than a window, it is that of ``refine_alpha``.
    """
    scale = _scale(*rgb.shape[:2])
    coarse_rgb = shrink(rgb, scale)
    guess = refine_alpha(coarse_rgb, saliency, check=check)
    coarse_map = resize_saliency(saliency, *guess.shape)
    is_soft = (coarse_map >= SURE_BACKGROUND) & (coarse_map <= SURE_FOREGROUND)
    if not is_soft.any() or min(guess.shape) < _MIN_SIDE_PX:
        return Solved(refine_alpha(rgb, saliency, check=check), is_complete=True)
    alpha, is_complete = _solved(coarse_rgb, guess, is_soft, is_time_left)
    if scale > 1:
        alpha = upsample_alpha(rgb, saliency, coarse_rgb, alpha, scale=scale, check=check)
    return Solved(alpha, is_complete)


def _scale(height: int, width: int) -> int:
    """Return the smallest whole factor that shrinks a picture to at most ``MAX_PX`` pixels."""
    scale = 1
    while -(-height // scale) * -(-width // scale) > MAX_PX:
        scale += 1
    return scale


def _solved(
    rgb: Rgb, guess: AlphaMatte, unknown: Mask, is_time_left: Callable[[], bool]
) -> tuple[AlphaMatte, bool]:
    """Minimise αᵀ L α + guess weight · |α - guess|² over the unknown pixels; the others keep the guess.

    Conjugate gradients with a diagonal preconditioner, over the change of alpha alone.
    """
    laplacian = matting_laplacian(rgb, unknown, epsilon=_EPSILON, is_time_left=is_time_left)
    if laplacian is None:
        return guess, False
    indices = np.flatnonzero(unknown)
    scattered = np.zeros(guess.size, dtype=np.float32)

    def apply(change: _Float) -> _Float:
        scattered[indices] = change
        return laplacian.apply(scattered)[indices] + np.float32(_GUESS_WEIGHT) * change

    diagonal = laplacian.diagonal(guess.size)[indices] + np.float32(_GUESS_WEIGHT)
    residual = -laplacian.apply(guess.ravel())[indices]
    change, is_complete = _conjugate_gradients(apply, residual, diagonal, is_time_left)
    alpha = guess.ravel().copy()
    alpha[indices] = np.clip(alpha[indices] + change, 0, 1)
    return alpha.reshape(guess.shape), is_complete


def _conjugate_gradients(
    apply: Callable[[_Float], _Float], residual: _Float, diagonal: _Float, is_time_left: Callable[[], bool]
) -> tuple[_Float, bool]:
    """Solve ``apply(x) = residual`` from x = 0; return x, and false if the time ran out before."""
    solution = np.zeros_like(residual)
    direction = residual / diagonal
    energy = initial = float(residual @ direction)
    for _ in range(_ITERATIONS):
        if energy <= _TOLERANCE**2 * initial:
            return solution, True
        if not is_time_left():
            return solution, False
        image = apply(direction)
        step = np.float32(energy / float(direction @ image))
        solution += step * direction
        residual = residual - step * image
        preconditioned = residual / diagonal
        energy, previous = float(residual @ preconditioned), energy
        direction = preconditioned + np.float32(energy / previous) * direction
    return solution, True
