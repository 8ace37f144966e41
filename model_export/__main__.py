"""Command line: ``python -m model_export`` fetches, trains, exports, compares and evaluates models.

Each command imports what it needs: ``evaluate`` runs where there is no torch, and the others where the
service's own libraries are missing.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.engine.models.manifest import read_manifest, read_model
from app.errors import CutoutError, ModelUnavailable
from app.weights.fetch import PUBLISHED, WEIGHTS_FOLDER, WeightsUnavailable, fetch_weights, published
from model_export.errors import CommandFailed
from model_export.sweep import declare_series, run_series
from model_export.train_cli import declare_training, run_training, table_of_architectures

FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of the process if None.

    Returns:
        The exit status: 0, 1 if the command failed for a reason we know (said in a line on
        stderr), 130 if the user interrupted it. Bad usage exits with 2.
    """
    asked = _parser().parse_args(arguments)
    try:
        _COMMANDS[asked.command](asked)
    except ModelUnavailable as error:
        print(f"error: {error.reason}", file=sys.stderr)
        return FAILED
    except (CommandFailed, CutoutError, WeightsUnavailable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        print(
            f"error: {error.name} is not in this environment. `make setup` puts it into .venv-export: "
            "then run .venv-export/bin/python -m model_export",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; what was downloaded is kept", file=sys.stderr)
        return INTERRUPTED
    return 0


def _export(asked: argparse.Namespace) -> None:
    if asked.checkpoint is None:
        from model_export.export import export

        published(asked.name)
        export(asked.name, asked.models_dir, local_weights=asked.weights)
    else:
        from model_export.export_checkpoint import export_trained

        export_trained(
            asked.name,
            asked.checkpoint,
            asked.models_dir,
            authors=asked.authors,
            license_name=asked.license,
            depth=asked.depth,
        )
    print(asked.models_dir / asked.name)


def _train(asked: argparse.Namespace) -> None:
    print(run_training(asked))


def _series(asked: argparse.Namespace) -> None:
    print("\n".join(run_series(asked)))


def _architectures(asked: argparse.Namespace) -> None:
    print("\n".join(table_of_architectures(asked.size)))


def _weights(asked: argparse.Namespace) -> None:
    print(fetch_weights(asked.name, asked.models_dir / WEIGHTS_FOLDER, local=asked.weights))


def _parity(asked: argparse.Namespace) -> None:
    """Measure an earlier export again."""
    from model_export.architectures import ARCHITECTURES
    from model_export.parity import measure_parity
    from model_export.pictures import synthetic_pictures
    from model_export.port import port
    from model_export.weights import read_convolutions

    folder = asked.models_dir / asked.name
    manifest = read_manifest(folder)
    model_bytes = read_model(folder, manifest)
    weights_path = fetch_weights(asked.name, asked.models_dir / WEIGHTS_FOLDER, local=asked.weights)
    parity = measure_parity(
        port(ARCHITECTURES[asked.name](), read_convolutions(weights_path)),
        served=model_bytes,
        published=weights_path,
        pictures=synthetic_pictures(manifest.input_size_px)[:3],
    )
    for figure, value in parity.quality().items():
        print(f"{figure}  {value:.3g}")
    parity.require()


def _evaluate(asked: argparse.Namespace) -> None:
    """Judge the answers of a model, and print the table."""
    from model_export.evaluate import run, table

    print("\n".join(table(run(asked))))


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "export": _export,
    "weights": _weights,
    "parity": _parity,
    "evaluate": _evaluate,
    "train": _train,
    "architectures": _architectures,
    "series": _series,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, purpose in (
        ("export", "make models/NAME: model.onnx, manifest.json and a model card"),
        ("weights", "fetch and verify the published weights"),
        ("parity", "compare an export with the published file again"),
    ):
        sub = commands.add_parser(command, help=purpose, description=purpose)
        choices = sorted(PUBLISHED) if command != "export" else None
        sub.add_argument("name", metavar="NAME", choices=choices, help=", ".join(sorted(PUBLISHED)))
        sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")
        sub.add_argument("--weights", type=Path, help="a local file to try before the network")
        if command == "export":
            _declare_trained(sub)
    purpose = "train a network on pictures and masks, or fine-tune the published one"
    declare_training(commands.add_parser("train", help=purpose, description=purpose))
    purpose = "train several recipes side by side, judge them and keep what travels"
    declare_series(commands.add_parser("series", help=purpose, description=purpose))
    purpose = "list the networks with their sizes and costs"
    sub = commands.add_parser("architectures", help=purpose, description=purpose)
    sub.add_argument("--size", type=int, default=320, help="side of the picture in pixels (320)")
    purpose = "judge what the service answers with a model by pictures with their truths"
    _declare_evaluation(commands.add_parser("evaluate", help=purpose, description=purpose))
    return parser


def _declare_trained(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--checkpoint", type=Path, metavar="FILE", help="export a training run, as NAME")
    sub.add_argument("--authors", default="not said", help="who trained it")
    sub.add_argument("--license", default="not said; see the terms of the data", help="of its weights")
    sub.add_argument("--depth", type=int, help="of a U-Net++, the head to prune it to")


def _declare_evaluation(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", required=True, metavar="NAME", help="an exported model")
    sub.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="images/ with masks/ or alphas/ (and trimaps/), or NAME-Image/ with NAME-Mask/",
    )
    sub.add_argument("--matting", nargs="+", default=["none"], metavar="PATH", help="matting paths (none)")
    sub.add_argument(
        "--answer", choices=("mask", "cutout"), help="what to judge; if absent, the kind of truth decides"
    )
    sub.add_argument(
        "--option",
        action="append",
        default=[],
        type=_named_value,
        metavar="NAME=VALUE",
        help="another option of the request; may be repeated",
    )
    sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    sub.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page with curves and the worst pictures"
    )


def _named_value(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
