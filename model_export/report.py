"""Report: an evaluation becomes an HTML page with curves and the worst pictures side by side."""

import base64
import heapq
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_export.masks import SourceFile

MAX_CASES = 12
THUMBNAIL_PX = 260
PAGE, CURVES = "index.html", "precision-recall.png"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.25rem .6rem;"
    "border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}"
    ".row{display:flex;gap:8px;margin:.4rem 0 1.2rem;flex-wrap:wrap}.row img{height:180px}"
    "h3{margin:0;font-size:1rem;font-weight:600}"
)


@dataclass(order=True, slots=True)
class Case:
    """One bad result: its error |result - truth|, 0 to 1, and thumbnails of picture, truth and result."""

    error: float
    name: str
    thumbnails: tuple[str, ...] = field(compare=False)


class Gallery:
    """Collects the worst results of a set."""

    def __init__(self, max_cases: int = MAX_CASES) -> None:
        self._max_cases = max_cases
        self._worst: list[Case] = []

    def add(self, picture: SourceFile, grey: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Add the result of one picture, (H, W), and its truth; it is kept if it is among the worst."""
        error = float(np.abs(grey.astype(np.float32) - truth).mean() / 255)
        if len(self._worst) == self._max_cases and error <= self._worst[0].error:
            return
        with picture.open("rb") as file, Image.open(file) as stored:
            upright = ImageOps.exif_transpose(stored).convert("RGB")
        thumbnails = tuple(
            _thumbnail(each) for each in (upright, Image.fromarray(truth), Image.fromarray(grey))
        )
        add_case = heapq.heappush if len(self._worst) < self._max_cases else heapq.heapreplace
        add_case(self._worst, Case(error, picture.name, thumbnails))

    def worst(self) -> list[Case]:
        """Return the cases, the worst first."""
        return sorted(self._worst, reverse=True)


def write_report(
    folder: Path,
    *,
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    galleries: Mapping[str, Gallery],
    has_curves: bool,
) -> Path:
    """Write the page into a folder and return its path; the pictures are embedded.

    Args:
        folder: Created if missing; it already holds ``precision-recall.png`` if there are curves.
        title: The title of the page.
        header: Names of the table's columns.
        rows: Rows of the table.
        galleries: Galleries by matting path.
        has_curves: Whether there are curves to show.
    """
    lines = [
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>",
        "<table>",
        _row("th", header),
        *(_row("td", row) for row in rows),
        "</table>",
    ]
    if has_curves:
        lines.append(f"<h2>Precision and recall</h2><img src={CURVES} alt='Precision over recall'>")
    for matting, gallery in galleries.items():
        lines.append(f"<h2>The worst, matting {html.escape(matting)}: picture, truth, result</h2>")
        for case in gallery.worst():
            pictures = "".join(f"<img src='{thumbnail}' alt=''>" for thumbnail in case.thumbnails)
            lines.append(f"<h3>{html.escape(case.name)}, mean error {case.error:.3f}</h3>")
            lines.append(f"<div class=row>{pictures}</div>")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _row(tag: str, texts: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"


def _thumbnail(picture: Image.Image) -> str:
    file = io.BytesIO()
    ImageOps.contain(picture, (2 * THUMBNAIL_PX, THUMBNAIL_PX)).save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
