"""Closed form: the matte that the picture's own colours explain best, near the matte of ``matte.py``.

Strategy: the refined matte is a guess whose windows are as coarse as the network's map. Here the soft band is
solved again, as the matte that is linear in the colours of every 3 × 3 window as far as it can be (Levin's
matting Laplacian) and stays near that guess. The usual closed form holds it to a trimap instead; a map's
band is too wide for that, and what is half-transparent in it would be lost. Conjugate gradients start at the
guess, on the picture shrunk to ``MAX_PX``; the result is carried to full resolution like any coarse matte.

References:
    Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import AlphaMatte, Mask, Rgb, SaliencyMap
from app.imaging.matting.laplacian import matting_laplacian
from app.imaging.matting.matte import SURE_BACKGROUND, SURE_FOREGROUND, carry_alpha, refine_alpha
from app.imaging.matting.saliency import resize_saliency
from app.imaging.progress import Check, no_check
from app.imaging.tiles import shrink

MAX_PX = 800_000
"""Of the picture that is solved: a 12-megapixel one is shrunk by 4."""

_NEARNESS = 0.03  # weight of the guess against one window
_EPSILON = 1e-6  # colour variance, colours in [0, 1]
_ITERATIONS = 60
_TOLERANCE = 1e-3  # of the residual, relative to the first
_SMALLEST_PX = 3  # side of a window

_Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Solved:
    """A matte, (H, W) in [0, 1], and whether there was time to solve it to the end."""

    alpha: AlphaMatte
    is_complete: bool


def solve_alpha(
    rgb: Rgb, saliency: SaliencyMap, *, is_time_left: Callable[[], bool], check: Check = no_check
) -> Solved:
    """Solve the soft band of a saliency map by the colours of its picture.

    Args:
        rgb: Upright picture, (H, W, 3).
        saliency: Stretched map in [0, 1] of any size; it is stretched over the whole picture.
        is_time_left: Called before each step; when it says no, what was reached so far is used.
        check: Called in the steps before and after solving, whose end is never cut short.

    Returns:
        A matte that is exactly 0 or 1 outside the soft band. Where there is no band, or no room for a
        window, there is nothing to solve and it is that of ``refine_alpha``.
    """
    scale = _scale(*rgb.shape[:2])
    coarse_rgb = shrink(rgb, scale)
    guess = refine_alpha(coarse_rgb, saliency, check=check)
    coarse_map = resize_saliency(saliency, *guess.shape)
    wanted = (coarse_map >= SURE_BACKGROUND) & (coarse_map <= SURE_FOREGROUND)
    if not wanted.any() or min(guess.shape) < _SMALLEST_PX:
        return Solved(refine_alpha(rgb, saliency, check=check), is_complete=True)
    alpha, is_complete = _solved(coarse_rgb, guess, wanted, is_time_left)
    if scale > 1:
        alpha = carry_alpha(rgb, saliency, coarse_rgb, alpha, scale=scale, check=check)
    return Solved(alpha, is_complete)


def _scale(height: int, width: int) -> int:
    """Return the least whole factor that brings a picture to ``MAX_PX``."""
    scale = 1
    while -(-height // scale) * -(-width // scale) > MAX_PX:
        scale += 1
    return scale


def _solved(
    rgb: Rgb, guess: AlphaMatte, wanted: Mask, is_time_left: Callable[[], bool]
) -> tuple[AlphaMatte, bool]:
    """Minimise αᵀ L α + nearness · |α - guess|² over the wanted pixels; the others keep the guess.

    Conjugate gradients with a diagonal preconditioner, over the change of alpha alone.
    """
    laplacian = matting_laplacian(rgb, wanted, epsilon=_EPSILON, is_time_left=is_time_left)
    if laplacian is None:
        return guess, False
    places = np.flatnonzero(wanted)
    spread = np.zeros(guess.size, dtype=np.float32)

    def apply(change: _Float) -> _Float:
        spread[places] = change
        return laplacian.apply(spread)[places] + np.float32(_NEARNESS) * change

    diagonal = laplacian.diagonal(guess.size)[places] + np.float32(_NEARNESS)
    residual = -laplacian.apply(guess.ravel())[places]
    change, is_complete = _conjugate_gradients(apply, residual, diagonal, is_time_left)
    alpha = guess.ravel().copy()
    alpha[places] = np.clip(alpha[places] + change, 0, 1)
    return alpha.reshape(guess.shape), is_complete


def _conjugate_gradients(
    apply: Callable[[_Float], _Float], residual: _Float, diagonal: _Float, is_time_left: Callable[[], bool]
) -> tuple[_Float, bool]:
    """Solve ``apply(x) = residual`` from x = 0; return x, and whether it was not cut short by time."""
    solution = np.zeros_like(residual)
    direction = residual / diagonal
    energy = first = float(residual @ direction)
    for _ in range(_ITERATIONS):
        if energy <= _TOLERANCE**2 * first:
            return solution, True
        if not is_time_left():
            return solution, False
        image = apply(direction)
        step = np.float32(energy / float(direction @ image))
        solution += step * direction
        residual = residual - step * image
        weighed = residual / diagonal
        energy, before = float(residual @ weighed), energy
        direction = weighed + np.float32(energy / before) * direction
    return solution, True
