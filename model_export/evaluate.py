"""Evaluate: a model and a folder of pictures with their truths become a table of figures.

    python -m model_export evaluate --model u2netp --data DIR [--matting none fast …] [--json FILE] [--report
    DIR]

Every picture is carried through the service's own journey, once for each matting path, and its answer is
compared with its truth. Where the truths are masks, the answers are those of ``/v1/mask``; where they are
mattes, the alpha of ``/v1/cutout``.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from app.errors import CutoutError, InvalidOption
from app.options import CutoutOptions, MaskOptions, parse_options
from model_export.errors import CommandFailed
from model_export.metrics import Curves
from model_export.predictions import Journey, Judged, open_journey
from model_export.report import CURVES, Gallery, write_report
from model_export.samples import Sample, SampleSet, SamplesInvalid, find_samples, read_grey

ANSWERS: Mapping[str, type[MaskOptions] | type[CutoutOptions]] = {
    "mask": MaskOptions,
    "cutout": CutoutOptions,
}
ANSWER_OF = {"saliency": "mask", "matting": "cutout"}


class PictureFailed(CommandFailed):
    """The service refused a picture of the set, or could not do it."""


class Judge(Protocol):
    """Someone who sees every answer of a set and then has figures."""

    def see(
        self, grey: NDArray[np.uint8], truth: NDArray[np.uint8], trimap: NDArray[np.uint8] | None
    ) -> None:
        """Take note of one answer and its truth."""
        ...

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures of the set, by region and name."""
        ...

    def curve(self) -> Curves | None:
        """Return precision and recall of the set, if they are among what is judged."""
        ...


@dataclass(slots=True)
class Witness:
    """What a report shows of one path beside its figures."""

    gallery: Gallery | None
    curve: Curves | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one matting path over one region, and how often no subject was seen."""

    matting: str
    region: str
    empty: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was judged, and the figures."""

    model: str
    sha256: str
    provider: str
    data: str
    kind: str
    pictures: int
    result: str
    options: Mapping[str, str]
    rows: Sequence[Row]


def run(asked: argparse.Namespace) -> Evaluation:
    """Evaluate, and write the figures to a file if one is asked for.

    Raises:
        SamplesInvalid: The folder is not a set of pictures with their truths.
        PictureFailed: The service does not answer one of the pictures.
        CutoutError: An option is wrong, or the model is missing.
    """
    found = find_samples(asked.data)
    result = asked.result or ANSWER_OF[found.kind]
    paths = {matting: parse_path(result, matting, dict(asked.option)) for matting in asked.matting}
    witnesses = {matting: Witness(Gallery() if asked.report else None) for matting in asked.matting}
    with open_journey(asked.model, asked.models_dir) as journey:
        evaluation = Evaluation(
            model=journey.manifest.name,
            sha256=journey.manifest.sha256,
            provider=journey.provider,
            data=asked.data.resolve().name,
            kind=found.kind,
            pictures=len(found.samples),
            result=result,
            options=dict(asked.option),
            rows=[
                row
                for matting, path in paths.items()
                for row in judge(journey, found, matting, path, witnesses[matting])
            ],
        )
    if asked.json is not None:
        text = json.dumps(asdict(evaluation), indent=2, ensure_ascii=False)
        asked.json.write_text(text + "\n", encoding="utf-8")
    if asked.report is not None:
        _report(asked.report, evaluation, witnesses)
    return evaluation


def parse_path(result: str, matting: str, options: Mapping[str, str]) -> MaskOptions | CutoutOptions:
    """Return the request's options for one matting path.

    Raises:
        UnknownOption: There is no such option.
        InvalidOption: There is, but not this value of it.
    """
    if "format" in options:
        raise InvalidOption("format", "nothing here, since PNG is judged, which is exact")
    return parse_options(ANSWERS[result], {**options, "matting": matting})


def judge(
    journey: Journey,
    found: SampleSet,
    matting: str,
    options: MaskOptions | CutoutOptions,
    witness: "Witness | None" = None,
) -> list[Row]:
    """Carry every picture along one path and return a row for each region."""
    judge_ = _judge_of(found.kind)
    witness = witness or Witness(None)
    empty = 0
    progress = track(found.samples, f"{journey.manifest.name}, {matting}", console=Console(stderr=True))
    for sample in progress:
        judged = _judged(journey, sample, options)
        empty += judged.is_empty
        truth, trimap = _truth_of(sample, judged.grey.shape)
        judge_.see(judged.grey, truth, trimap)
        if witness.gallery is not None:
            witness.gallery.see(sample.picture, judged.grey, truth)
    witness.curve = judge_.curve()
    return [Row(matting, region, empty, figures) for region, figures in judge_.figures().items()]


def table(evaluation: Evaluation) -> list[str]:
    """Return the lines of a Markdown table, under a line that says what was judged."""
    names = list(evaluation.rows[0].figures)
    extra = "".join(f", {name}={value}" for name, value in evaluation.options.items())
    lines = [
        f"{evaluation.model} on {evaluation.provider}, {evaluation.data}: {evaluation.pictures} pictures, "
        f"{evaluation.kind}, judged by the {evaluation.result}{extra}",
        "",
        f"| matting | region | {' | '.join(names)} | empty |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in evaluation.rows:
        figures = " | ".join(shown(row.figures[name]) for name in names)
        lines.append(f"| {row.matting} | {row.region} | {figures} | {row.empty} |")
    return lines


def shown(figure: float) -> str:
    """Return a figure as text: four decimals of a part of 1, two of what is larger."""
    return f"{figure:.4f}" if figure <= 1 else f"{figure:.2f}"


def _report(folder: Path, evaluation: Evaluation, witnesses: Mapping[str, Witness]) -> None:
    names = list(evaluation.rows[0].figures)
    curves = {
        f"{evaluation.model}, {matting}": each.curve
        for matting, each in witnesses.items()
        if each.curve is not None
    }
    folder.mkdir(parents=True, exist_ok=True)
    if curves:
        from model_export.curves import plot_precision_recall

        plot_precision_recall(curves, folder / CURVES)
    write_report(
        folder,
        title=table(evaluation)[0],
        header=("matting", "region", *names, "empty"),
        rows=[
            (row.matting, row.region, *(shown(row.figures[name]) for name in names), str(row.empty))
            for row in evaluation.rows
        ],
        galleries={matting: each.gallery for matting, each in witnesses.items() if each.gallery is not None},
        has_curves=bool(curves),
    )


def _judge_of(kind: str) -> Judge:
    # Here, so that mattes can be judged where pysodmetrics is not installed.
    if kind == "matting":
        from model_export.judge_matting import MattingJudge

        return MattingJudge()
    from model_export.judge_saliency import SaliencyJudge

    return SaliencyJudge()


def _judged(journey: Journey, sample: Sample, options: MaskOptions | CutoutOptions) -> Judged:
    try:
        return journey.predict(sample.picture.read_bytes(), options)
    except CutoutError as error:
        raise PictureFailed(f"{sample.picture}: {error}") from error


def _truth_of(sample: Sample, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Read a sample's truth and trimap, which must be as large as the answer."""
    truth = read_grey(sample.truth)
    trimap = None if sample.trimap is None else read_grey(sample.trimap)
    for path, grey in ((sample.truth, truth), (sample.trimap, trimap)):
        if grey is not None and grey.shape != shape:
            sizes = " and ".join(f"{width} × {height} px" for height, width in (grey.shape, shape))
            raise SamplesInvalid(f"{path} and the answer to {sample.picture.name} differ in size: {sizes}.")
    return truth, trimap
