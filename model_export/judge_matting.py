"""Judge matting: computes the figures of the matting papers from alpha mattes and true mattes.

Each figure is computed over the unknown band of the trimap, if there is one, and over the whole picture.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from model_export.matting_metrics import (
    Grey,
    Region,
    absolute_error,
    connectivity_error,
    gradient_error,
    squared_error,
)

METRICS: Mapping[str, Callable[[Grey, Grey, Region], float]] = {
    "SAD/1000": absolute_error,
    "MSE": squared_error,
    "Grad/1000": gradient_error,
    "Conn/1000": connectivity_error,
}


class MattingJudge:
    """Collects the figures of every picture of a set."""

    def __init__(self) -> None:
        self._figures: dict[str, list[list[float]]] = {}

    def add(
        self, alpha: NDArray[np.uint8], truth: NDArray[np.uint8], trimap: NDArray[np.uint8] | None
    ) -> None:
        """Add one matte and its truth, (H, W) of the same size, and its trimap.

        Raises:
            ValueError: The trimap has no unknown pixels.
        """
        regions = {"whole": np.ones(alpha.shape, dtype=np.bool_)}
        if trimap is not None:
            regions = {"unknown": (trimap > 0) & (trimap < 255), **regions}
        for name, region in regions.items():
            figures = [metric(alpha, truth, region) for metric in METRICS.values()]
            self._figures.setdefault(name, []).append(figures)

    def curve(self) -> None:
        """Return None: precision and recall need yes/no masks."""

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the means over the pictures, by region and name; 0 is best for all."""
        return {
            region: dict(zip(METRICS, np.mean(figures, axis=0).tolist(), strict=True))
            for region, figures in self._figures.items()
        }
