"""Laplacian: how far an alpha matte is from being, in each small window, linear in the picture's colours.

Strategy: Levin's matting Laplacian is a sum over 3 × 3 windows. On one window it takes away from nine values
what the best linear function of their colours explains. So each window is kept as a basis of those
functions, nine numbers times four, and applied without ever writing the matrix down; only windows that
touch a pixel whose alpha is wanted are kept at all.

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
_WINDOWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Laplacian:
    """The windows that touch the wanted pixels of one picture.

    Attributes:
        pixels: (9, K) int32, places of each window's pixels in the flattened picture.
        basis: (9, K, 4) float32; a window's matrix is 1 - basis · basisᵀ.
    """

    pixels: NDArray[np.int32]
    basis: _Float

    def apply(self, alpha: _Float) -> _Float:
        """Multiply by the matrix: sum up what no window can explain of ``alpha``, flattened.

        Exact at the wanted pixels; elsewhere windows are missing.
        """
        total = np.zeros_like(alpha)
        for part in _parts(self.pixels.shape[1]):
            pixels, basis = self.pixels[:, part], self.basis[:, part]
            values = alpha[pixels]
            explained = np.einsum("pkc,pk->kc", basis, values)
            values -= np.einsum("pkc,kc->pk", basis, explained)
            for places, lacking in zip(pixels, values, strict=True):
                total[places] += lacking  # within one row no pixel comes twice
        return total

    def diagonal(self, size: int) -> _Float:
        """Return the diagonal of the matrix for a picture of ``size`` pixels."""
        total = np.zeros(size, dtype=np.float32)
        for places, basis in zip(self.pixels, self.basis, strict=True):
            total[places] += 1 - np.sum(basis * basis, axis=1)
        return total


def matting_laplacian(
    guide: Rgb, wanted: Mask, *, epsilon: float, is_time_left: Callable[[], bool]
) -> Laplacian | None:
    """Build the matting Laplacian of a picture around the wanted pixels.

    Args:
        guide: (H, W, 3), at least 3 pixels each way.
        wanted: (H, W), the pixels whose alpha is sought.
        epsilon: Regularisation: the colour variance below which a window counts as flat, colours in [0, 1].
        is_time_left: Called every few thousand windows.

    Returns:
        At most 180 bytes a pixel of the picture, where all are wanted; ``None`` when time ran out.
    """
    height, width = wanted.shape
    rows, columns = np.nonzero(wanted)
    is_centre = np.zeros((height, width), dtype=bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):  # a window lies in the picture as a whole
            is_centre[np.clip(rows + down, 1, height - 2), np.clip(columns + right, 1, width - 2)] = True
    offsets = np.array([down * width + right for down in (-1, 0, 1) for right in (-1, 0, 1)], dtype=np.int32)
    pixels = offsets[:, None] + np.flatnonzero(is_centre).astype(np.int32)
    colours = guide.reshape(-1, 3)
    basis = np.empty((*pixels.shape, 4), dtype=np.float32)
    for part in _parts(pixels.shape[1]):
        if not is_time_left():
            return None
        basis[:, part] = _basis(colours[pixels[:, part]] / np.float64(255), epsilon)
    return Laplacian(pixels, basis)


def _parts(count: int) -> list[slice]:
    """Cut ``count`` windows into parts whose temporaries stay in the processor's cache."""
    return [slice(start, start + _WINDOWS_AT_ONCE) for start in range(0, count, _WINDOWS_AT_ONCE)]


def _basis(colours: NDArray[np.float64], epsilon: float) -> NDArray[np.float64]:
    """Return (9, K, 4): a constant, and three directions of colour scaled by how much they tell.

    Then 1 - basis · basisᵀ is Levin's window: δ - (1 + c (Σ + ε/9)⁻¹ c) / 9, c less the window's mean.
    """
    centred = colours - colours.mean(axis=0)
    covariance = np.einsum("pki,pkj->kij", centred, centred) / _WINDOW_PX
    covariance += np.eye(3) * (epsilon / _WINDOW_PX)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    directions = np.einsum("kij,pkj->pki", whitening, centred)
    constant = np.ones((*centred.shape[:2], 1))
    return np.concatenate([constant, directions], axis=2) / 3
