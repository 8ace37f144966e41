"""Precision CLI: the commands ``calibrate``, ``judge`` and ``sensitivity``.

All three read the float32 model of an earlier export and the file of ranges in the repository.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from app.engine.models.manifest import FLOAT32, VARIANT_FILES, Manifest, read_manifest, read_model
from app.weights.fetch import PUBLISHED
from app.weights.own import OWN
from model_export.errors import CommandFailed
from model_export.ranges import RANGES_FOLDER, Judgement, read_ranges, write_ranges

METHODS = ("min-max", "squared-error")  # those of app/onnx_import/precision/calibrate.py
CALIBRATION_PICTURES = 96
SENSITIVITY_PICTURES = 8
Item = TypeVar("Item")


def parse_precisions(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the precisions of repeated or comma-separated options, without float32, which is always made.

    Raises:
        CommandFailed: A precision is unknown.
    """
    names = [name for text in texts for name in text.split(",") if name]
    if unknown := sorted(set(names) - {FLOAT32, *VARIANT_FILES}):
        raise CommandFailed(
            f"unknown precision {', '.join(unknown)}; known: {FLOAT32}, {', '.join(VARIANT_FILES)}"
        )
    return tuple(name for name in VARIANT_FILES if name in names)


def declare_precision_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the arguments of the three commands."""
    purpose = "find the ranges of a model's tensors on pictures, for its int8 graph"
    sub = _declare(commands, "calibrate", purpose, "a folder of pictures; not one to judge on")
    sub.add_argument("--limit", type=int, default=CALIBRATION_PICTURES, help="pictures to use at most (96)")
    sub.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help=f"how to choose a range ({METHODS[0]})"
    )
    purpose = "measure a model in other precisions on pictures with true masks, and keep the figures"
    sub = _declare(commands, "judge", purpose, "images/ with masks/, or NAME-Image/ with NAME-Mask/")
    sub.add_argument(
        "--precision", choices=sorted(VARIANT_FILES), default="int8", help="int8 (default) or fp16"
    )
    sub.add_argument("--every", type=int, default=1, metavar="N", help="judge every n-th picture only")
    sub.add_argument("--worst", type=int, default=20, metavar="N", help="pictures on the sheet (20)")
    sub.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write the pictures with the largest d as PNG"
    )
    purpose = "print what it costs to quantise each stage alone, and what each island is worth"
    sub = _declare(commands, "sensitivity", purpose, "a folder of pictures")
    sub.add_argument("--limit", type=int, default=SENSITIVITY_PICTURES, help="pictures to use at most (8)")
    sub.add_argument("--by", choices=("stage", "layer"), default="stage", help="rows of the table (stage)")


def calibrate_model(args: argparse.Namespace) -> Path:
    """Write the ranges of a model, without figures, and return the file."""
    from model_export.calibrate import calibrate
    from model_export.network_inputs import find_pictures

    manifest, model_bytes = _float32(args)
    pictures = find_pictures(args.data, args.limit)
    ranges = calibrate(
        model_bytes,
        pictures,
        manifest.input_size_px,
        model=args.name,
        data=args.data.resolve().name,
        method=args.method,
        track=lambda each, title: _track(each, title, len(pictures)),
    )
    return write_ranges(ranges, _path(args))


def judge_model(args: argparse.Namespace) -> list[str]:
    """Judge a variant, write its figures into the file of ranges, and return the lines of a table."""
    from app.onnx_import.precision.quantise import graph_digest
    from app.onnx_import.runner import Runner
    from model_export.judge_precision import judge_pictures, quality_of, write_sheet
    from model_export.samples import find_samples
    from model_export.variants import make_variant

    manifest, model_bytes = _float32(args)
    ranges = read_ranges(_path(args))
    variant_bytes = make_variant(model_bytes, args.precision, ranges)
    graphs = Runner.load(model_bytes), Runner.load(variant_bytes)
    samples = find_samples(args.data).samples[:: args.every]
    judged = judge_pictures(
        *graphs,
        samples,
        manifest.input_size_px,
        track=lambda each: _track(each, f"{args.name}, {args.precision}", len(samples)),
    )
    halves = {"even": quality_of(judged[::2]), "odd": quality_of(judged[1::2] or judged)}
    quality = quality_of(judged)
    judgement = Judgement(
        graph=graph_digest(variant_bytes),
        data=args.data.resolve().name,
        pictures=len(judged),
        quality=quality,
        halves=halves,
    )
    write_ranges(replace(ranges, judged={**ranges.judged, args.precision: judgement}), _path(args))
    if args.sheet is not None:
        worst = sorted(judged, key=lambda each: -each.d)[: args.worst]
        write_sheet(worst, graphs, manifest.input_size_px, args.sheet)
    return _table({"all": quality, **halves})


def sensitivity_of_model(args: argparse.Namespace) -> list[str]:
    """Return the lines of the tables."""
    from model_export.network_inputs import find_pictures, read_network_input
    from model_export.sensitivity import measure_sensitivity, sensitivity_table

    manifest, model_bytes = _float32(args)
    pictures = find_pictures(args.data, args.limit)
    network_inputs = [read_network_input(path, manifest.input_size_px) for path in pictures]
    alone, given_up = measure_sensitivity(
        model_bytes,
        read_ranges(_path(args)),
        network_inputs,
        by_layer=args.by == "layer",
        track=lambda each: _track(each, args.name, None),
    )
    return sensitivity_table(alone, given_up)


def _declare(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str, data: str
) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=purpose, description=purpose)
    names = sorted({*PUBLISHED, *OWN})
    sub.add_argument("name", metavar="NAME", choices=names, help=", ".join(names))
    sub.add_argument("--data", required=True, type=Path, metavar="DIR", help=data)
    sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")
    sub.add_argument("--ranges-dir", type=Path, default=RANGES_FOLDER, help="folder of ranges")
    return sub


def _float32(args: argparse.Namespace) -> tuple[Manifest, bytes]:
    folder = args.models_dir / args.name
    manifest = read_manifest(folder)
    return manifest, read_model(folder, manifest)


def _path(args: argparse.Namespace) -> Path:
    path: Path = args.ranges_dir / f"{args.name}.json"
    return path


def _table(rows: dict[str, dict[str, float]]) -> list[str]:
    names = list(rows["all"])
    lines = [f"| pictures | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for title, figures in rows.items():
        lines.append(f"| {title} | {' | '.join(f'{figures[name]:.5f}' for name in names)} |")
    return lines


def _track(items: Iterable[Item], title: str, total: float | None) -> Iterable[Item]:
    return track(items, title, total=total, console=Console(stderr=True))
