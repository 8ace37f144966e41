"""Report: an evaluation becomes a page for people, with curves and the worst pictures side by side."""

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

WORST = 12
THUMB_PX = 260
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
    """One picture that went badly: |answer - truth|, 0 to 1, and thumbnails of picture, truth and answer."""

    error: float
    name: str
    thumbs: tuple[str, ...] = field(compare=False)


class Gallery:
    """Sees every answer of a set, and keeps the worst."""

    def __init__(self, maximum: int = WORST) -> None:
        self._maximum = maximum
        self._worst: list[Case] = []

    def see(self, picture: Path, grey: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """Take note of one answer, (H, W), to a picture, and of the truth."""
        error = float(np.abs(grey.astype(np.float32) - truth).mean() / 255)
        if len(self._worst) == self._maximum and error <= self._worst[0].error:
            return
        with Image.open(picture) as stored:
            upright = ImageOps.exif_transpose(stored).convert("RGB")
        thumbs = tuple(_thumb(each) for each in (upright, Image.fromarray(truth), Image.fromarray(grey)))
        keep = heapq.heappush if len(self._worst) < self._maximum else heapq.heapreplace
        keep(self._worst, Case(error, picture.name, thumbs))

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
    """Write the page into a folder and return its path; the pictures are in it.

    Args:
        folder: Made if it is not there; ``precision-recall.png`` lies in it already, if there is one.
        title: What was judged.
        header: Names of the table's columns.
        rows: The table.
        galleries: By matting path.
        has_curves: Whether there are curves to show.
    """
    parts = [
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style><h1>{html.escape(title)}</h1>",
        "<table>",
        _row("th", header),
        *(_row("td", row) for row in rows),
        "</table>",
    ]
    if has_curves:
        parts.append(f"<h2>Precision and recall</h2><img src={CURVES} alt='Precision over recall'>")
    for matting, gallery in galleries.items():
        parts.append(f"<h2>The worst, matting {html.escape(matting)}: picture, truth, answer</h2>")
        for case in gallery.worst():
            pictures = "".join(f"<img src='{thumb}' alt=''>" for thumb in case.thumbs)
            parts.append(f"<h3>{html.escape(case.name)}, mean error {case.error:.3f}</h3>")
            parts.append(f"<div class=row>{pictures}</div>")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _row(kind: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"


def _thumb(picture: Image.Image) -> str:
    file = io.BytesIO()
    ImageOps.contain(picture, (2 * THUMB_PX, THUMB_PX)).save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
