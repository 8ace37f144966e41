"""Judge saliency: computes the figures of the saliency papers from masks and true masks.

Most figures come from pysodmetrics, the field's common implementation. Two are implemented here. The papers'
own maxF averages precision and recall over the set before computing F; pysodmetrics averages the F of each
picture, which gives less (0.80 against 0.85 on a hard set), so the two must not be compared. The relaxed
boundary measure is not in pysodmetrics. Masks are judged as served: they are not stretched again.
"""

import numpy as np
from numpy.typing import NDArray
from py_sod_metrics import MAE, Emeasure, FmeasureHandler, FmeasureV2, Smeasure, WeightedFmeasure

from model_export.metrics import (
    BETA_SQUARED,
    Curves,
    max_f_of_means,
    precision_and_recall,
    relaxed_boundary_f,
)
from model_export.samples import FOREGROUND_THRESHOLD


class SaliencyJudge:
    """Collects the figures of every picture of a set."""

    def __init__(self) -> None:
        self._mae, self._structure, self._alignment = MAE(), Smeasure(), Emeasure()
        self._weighted_f = WeightedFmeasure()
        self._f = FmeasureV2({"f": FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=BETA_SQUARED)})
        self._curves: list[Curves] = []
        self._boundary: list[float] = []

    def add(self, mask: NDArray[np.uint8], truth: NDArray[np.uint8], _: NDArray[np.uint8] | None) -> None:
        """Add one mask and its truth, (H, W) of the same size; there is no trimap.

        A picture without a subject counts in MAE alone: the recall of nothing is not defined.
        """
        is_foreground = truth >= FOREGROUND_THRESHOLD
        scaled = mask / np.float64(255)
        if not is_foreground.any():
            self._mae.step(scaled, is_foreground, normalize=False)
            return
        for metric in (self._mae, self._structure, self._alignment, self._weighted_f, self._f):
            metric.step(scaled, is_foreground, normalize=False)
        saliency = scaled.astype(np.float32)
        self._curves.append(precision_and_recall(saliency, is_foreground))
        self._boundary.append(relaxed_boundary_f(saliency, is_foreground))

    def curve(self) -> Curves | None:
        """Return precision and recall at the thresholds 0 to 255, averaged; None if there are no subjects."""
        if not self._curves:
            return None
        precision, recall = np.mean(self._curves, axis=0)
        return precision, recall

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures of the whole set, by region and name; 1 is best for all but MAE."""
        if not self._curves:
            return {"whole": {"MAE": float(self._mae.get_results()["mae"])}}
        f = self._f.get_results()["f"]
        alignment = self._alignment.get_results()["em"]
        figures = {
            "MAE": self._mae.get_results()["mae"],
            "maxF": f["dynamic"].max(),
            "meanF": f["dynamic"].mean(),
            "adpF": f["adaptive"],
            "wF": self._weighted_f.get_results()["wfm"],
            "S": self._structure.get_results()["sm"],
            "maxE": alignment["curve"].max(),
            "meanE": alignment["curve"].mean(),
            "adpE": alignment["adp"],
            "maxF (paper)": max_f_of_means(self._curves),
            "relaxed boundary F": np.mean(self._boundary),
        }
        return {"whole": {name: float(figure) for name, figure in figures.items()}}
