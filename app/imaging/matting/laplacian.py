"""Laplacian: measures how far an alpha matte is from linear in the picture's colours, window by window.

Strategy: Levin's matting Laplacian is a sum over 3 × 3 windows. On one window it subtracts from nine values
their best fit by a linear function of the colours. Each window is therefore stored as a basis of those
functions, nine numbers times four, and applied without ever building the matrix; only windows that touch an
unknown pixel are stored at all.

References:
    Levin, Lischinski and Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.arrays import Mask, Rgb

_Float = NDArray[np.float32]
_WINDOW_PX = 9
_CHUNK_WINDOWS = 4096


@dataclass(frozen=True, slots=True)
class Laplacian:
    """The windows that touch the unknown pixels of one picture.

    Attributes:
        pixels: (9, K) int32, indices of each window's pixels in the flattened picture.
        basis: (9, K, 4) float32; a window's matrix is 1 - basis · basisᵀ.
    """

    pixels: NDArray[np.int32]
    basis: _Float

    def apply(self, alpha: _Float) -> _Float:
        """Multiply by the matrix: sum the windows' residuals of ``alpha``, flattened.

        Exact at the unknown pixels; elsewhere windows are missing.
        """
        total = np.zeros_like(alpha)
        for chunk in _chunks(self.pixels.shape[1]):
            pixels, basis = self.pixels[:, chunk], self.basis[:, chunk]
            values = alpha[pixels]
            coefficients = np.einsum("pkc,pk->kc", basis, values)
            values -= np.einsum("pkc,kc->pk", basis, coefficients)
            for indices, residual in zip(pixels, values, strict=True):
                total[indices] += residual  # within one row no pixel occurs twice
        return total

    def diagonal(self, size: int) -> _Float:
        """Return the diagonal of the matrix for a picture of ``size`` pixels."""
        total = np.zeros(size, dtype=np.float32)
        for indices, basis in zip(self.pixels, self.basis, strict=True):
            total[indices] += 1 - np.sum(basis * basis, axis=1)
        return total


def matting_laplacian(
    guide: Rgb, unknown: Mask, *, epsilon: float, is_time_left: Callable[[], bool]
) -> Laplacian | None:
    """Build the matting Laplacian of a picture around its unknown pixels.

    Args:
        guide: (H, W, 3), at least 3 pixels on each side.
        unknown: (H, W), the pixels to solve.
        epsilon: Regularisation: the colour variance below which a window counts as flat, colours in [0, 1].
        is_time_left: Called every few thousand windows.

    Returns:
        The Laplacian, of 180 bytes a pixel if all pixels are unknown; ``None`` if the time ran out.
    """
    height, width = unknown.shape
    rows, columns = np.nonzero(unknown)
    is_centre = np.zeros((height, width), dtype=bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):  # a window lies within the picture
            is_centre[np.clip(rows + down, 1, height - 2), np.clip(columns + right, 1, width - 2)] = True
    offsets = np.array([down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1)], dtype=np.int32)
    pixels = offsets[:, None] + np.flatnonzero(is_centre).astype(np.int32)
    colours = guide.reshape(-1, 3)
    basis = np.empty((*pixels.shape, 4), dtype=np.float32)
    for chunk in _chunks(pixels.shape[1]):
        if not is_time_left():
            return None
        basis[:, chunk] = _basis(colours[pixels[:, chunk]] / np.float64(255), epsilon)
    return Laplacian(pixels, basis)


def _chunks(count: int) -> list[slice]:
    """Split ``count`` windows into chunks whose temporaries stay in the CPU cache."""
    return [slice(start, start + _CHUNK_WINDOWS) for start in range(0, count, _CHUNK_WINDOWS)]


def _basis(colours: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """Return (9, K, 4): a constant, and three colour directions, whitened by the window's covariance.

    Then 1 - basis · basisᵀ is Levin's window: δ - (1 + cᵀ (Σ + ε/9)⁻¹ c) / 9, with c minus the window's mean.
    """
    centred = colours - colours.mean(axis=0)
    covariance = np.einsum("pki,pkj->kij", centred, centred) / _WINDOW_PX
    covariance += np.eye(3) * (epsilon / _WINDOW_PX)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    directions = np.einsum("kij,pkj->pki", whitening, centred)
    constant = np.ones((*centred.shape[:2], 1))
    return np.concatenate([constant, directions], axis=2) / 3
