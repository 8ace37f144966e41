"""Judge of mattes: alpha mattes and true ones, one at a time, become the figures of the matting papers.

Each figure is given for the unknown band of the trimap, if there is one, and for the whole picture.
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
    """Sees every picture of a set once."""

    def __init__(self) -> None:
        self._seen: dict[str, list[list[float]]] = {}

    def see(
        self, alpha: NDArray[np.uint8], truth: NDArray[np.uint8], trimap: NDArray[np.uint8] | None
    ) -> None:
        """Take note of one matte and the true one, (H, W) of the same size, and its trimap.

        Raises:
            ValueError: The trimap knows everything.
        """
        regions = {"whole": np.ones(alpha.shape, dtype=np.bool_)}
        if trimap is not None:
            regions = {"unknown": (trimap > 0) & (trimap < 255), **regions}
        for name, region in regions.items():
            figures = [metric(alpha, truth, region) for metric in METRICS.values()]
            self._seen.setdefault(name, []).append(figures)

    def curve(self) -> None:
        """Return nothing: mattes are no yes or no."""

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the means over the pictures, by region and name; all are best at 0."""
        return {
            region: dict(zip(METRICS, np.mean(figures, axis=0).tolist(), strict=True))
            for region, figures in self._seen.items()
        }
