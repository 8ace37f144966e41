"""Evaluate: a model and a folder of pictures with known truth become a table of figures.

    python -m model_export evaluate --model u2netp --data DIR [--only FILE] [--matting none fast …]

The service's own pipeline processes every picture, once for each matting path, and the result is compared
with the truth. If the truths are masks, the results are those of ``/v1/mask``; if they are mattes, the alpha
of ``/v1/cutout``.
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

from app.engine.models.manifest import sha256_of
from app.errors import CutoutError, InvalidOption
from app.options import CutoutOptions, MaskOptions
from app.options_parser import parse_options
from model_export.errors import CommandFailed
from model_export.metrics import Curves
from model_export.predictions import Judged, Predictor, open_predictor
from model_export.report import CURVES, Gallery, write_report
from model_export.samples import Sample, SampleSet, SamplesInvalid, find_samples, read_grey
from model_export.splits import read_split

OPTIONS_OF_RESULT: Mapping[str, type[MaskOptions] | type[CutoutOptions]] = {
    "mask": MaskOptions,
    "cutout": CutoutOptions,
}
RESULT_OF_KIND = {"saliency": "mask", "matting": "cutout"}


class PictureFailed(CommandFailed):
    """The service refused a picture of the set, or failed to process it."""


class Judge(Protocol):
    """Collects the results of a set, and computes its figures."""

    def add(
        self, grey: NDArray[np.uint8], truth: NDArray[np.uint8], trimap: NDArray[np.uint8] | None
    ) -> None:
        """Add one result and its truth."""
        ...

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the figures of the set, by region and name."""
        ...

    def curve(self) -> Curves | None:
        """Return precision and recall of the set, or None if the judge does not measure them."""
        ...


@dataclass(slots=True)
class PathReport:
    """What a report shows for one matting path in addition to its figures."""

    gallery: Gallery | None
    curve: Curves | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one matting path over one region, and the number of pictures without a subject."""

    matting: str
    region: str
    empty: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures of an evaluation, and the model, data and options they belong to."""

    model: str
    sha256: str
    provider: str
    precision: str
    data: str
    kind: str
    pictures: int
    result: str
    options: Mapping[str, str]
    rows: Sequence[Row]


def run(args: argparse.Namespace) -> Evaluation:
    """Evaluate, and write the figures to a file if requested.

    Raises:
        SamplesInvalid: The folder is not a set of pictures with known truth.
        PictureFailed: The service failed on one of the pictures.
        CutoutError: An option is invalid, or the model is missing.
    """
    sample_set = find_samples(args.data)
    if args.only is not None:
        sample_set = sample_set.only(read_split(args.only))
    result = args.result or RESULT_OF_KIND[sample_set.kind]
    paths = {matting: parse_path(result, matting, dict(args.option)) for matting in args.matting}
    path_reports = {matting: PathReport(Gallery() if args.report else None) for matting in args.matting}
    with open_predictor(args.model, args.models_dir) as predictor:
        evaluation = Evaluation(
            model=predictor.manifest.name,
            sha256=sha256_of(predictor.manifest, predictor.precision),
            provider=predictor.provider,
            precision=predictor.precision,
            data=args.data.resolve().name,
            kind=sample_set.kind,
            pictures=len(sample_set.samples),
            result=result,
            options=dict(args.option),
            rows=[
                row
                for matting, path in paths.items()
                for row in judge(predictor, sample_set, matting, path, path_reports[matting])
            ],
        )
    if args.json is not None:
        text = json.dumps(asdict(evaluation), indent=2, ensure_ascii=False)
        args.json.write_text(text + "\n", encoding="utf-8")
    if args.report is not None:
        _report(args.report, evaluation, path_reports)
    return evaluation


def parse_path(result: str, matting: str, options: Mapping[str, str]) -> MaskOptions | CutoutOptions:
    """Return the request's options for one matting path.

    Raises:
        UnknownOption: There is no such option.
        InvalidOption: The option does not have this value.
    """
    if "format" in options:
        raise InvalidOption("format", "nothing here: the evaluation always judges PNG, which is lossless")
    return parse_options(OPTIONS_OF_RESULT[result], {**options, "matting": matting})


def judge(
    predictor: Predictor,
    sample_set: SampleSet,
    matting: str,
    options: MaskOptions | CutoutOptions,
    path_report: PathReport | None = None,
) -> list[Row]:
    """Process every picture along one matting path, and return a row for each region."""
    path_judge = _judge_for(sample_set.kind)
    path_report = path_report or PathReport(None)
    empty = 0
    progress = track(
        sample_set.samples, f"{predictor.manifest.name}, {matting}", console=Console(stderr=True)
    )
    for sample in progress:
        prediction = _predict(predictor, sample, options)
        empty += prediction.is_empty
        truth, trimap = _read_truth(sample, prediction.grey.shape)
        path_judge.add(prediction.grey, truth, trimap)
        if path_report.gallery is not None:
            path_report.gallery.add(sample.picture, prediction.grey, truth)
    path_report.curve = path_judge.curve()
    return [Row(matting, region, empty, figures) for region, figures in path_judge.figures().items()]


def table(evaluation: Evaluation) -> list[str]:
    """Return the lines of a Markdown table, headed by a line with model, data and options."""
    names = list(evaluation.rows[0].figures)
    extra = "".join(f", {name}={value}" for name, value in evaluation.options.items())
    lines = [
        f"{evaluation.model} on {evaluation.provider} in {evaluation.precision}, "
        f"{evaluation.data}: {evaluation.pictures} pictures, {evaluation.kind}, "
        f"judged by the {evaluation.result}{extra}",
        "",
        f"| matting | region | {' | '.join(names)} | empty |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in evaluation.rows:
        figures = " | ".join(format_figure(row.figures[name]) for name in names)
        lines.append(f"| {row.matting} | {row.region} | {figures} | {row.empty} |")
    return lines


def format_figure(figure: float) -> str:
    """Format a figure: with four decimals up to 1, with two above."""
    return f"{figure:.4f}" if figure <= 1 else f"{figure:.2f}"


def _report(folder: Path, evaluation: Evaluation, path_reports: Mapping[str, PathReport]) -> None:
    names = list(evaluation.rows[0].figures)
    curves = {
        f"{evaluation.model}, {matting}": each.curve
        for matting, each in path_reports.items()
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
            (row.matting, row.region, *(format_figure(row.figures[name]) for name in names), str(row.empty))
            for row in evaluation.rows
        ],
        galleries={
            matting: each.gallery for matting, each in path_reports.items() if each.gallery is not None
        },
        has_curves=bool(curves),
    )


def _judge_for(kind: str) -> Judge:
    # Imported here, so that mattes can be judged without pysodmetrics.
    if kind == "matting":
        from model_export.judge_matting import MattingJudge

        return MattingJudge()
    from model_export.judge_saliency import SaliencyJudge

    return SaliencyJudge()


def _predict(predictor: Predictor, sample: Sample, options: MaskOptions | CutoutOptions) -> Judged:
    try:
        return predictor.predict(sample.picture.read_bytes(), options)
    except CutoutError as error:
        raise PictureFailed(f"{sample.picture}: {error}") from error


def _read_truth(sample: Sample, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Read a sample's truth and trimap, and check that they are as large as the result."""
    truth = sample.read_truth()
    trimap = None if sample.trimap is None else read_grey(sample.trimap)
    for path, grey in ((sample.truth, truth), (sample.trimap, trimap)):
        if grey is not None and grey.shape != shape:
            sizes = " and ".join(f"{width} × {height} px" for height, width in (grey.shape, shape))
            raise SamplesInvalid(f"{path} and the result for {sample.picture.name} differ in size: {sizes}.")
    return truth, trimap
