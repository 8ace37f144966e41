"""Command line: ``python -m model_export`` fetches, exports and compares published models."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.engine.manifest import read_manifest, read_model
from app.errors import ModelUnavailable
from app.weights.fetch import PUBLISHED, WEIGHTS_FOLDER, WeightsUnavailable, fetch_weights
from model_export.architectures import ARCHITECTURES
from model_export.export import export
from model_export.parity import ParityFailed, measure_parity
from model_export.pictures import synthetic_pictures
from model_export.port import port
from model_export.weights import PublishedWeightsInvalid, read_convolutions

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
    options = _parser().parse_args(arguments)
    try:
        _COMMANDS[options.command](options.name, options.models_dir, options.weights)
    except ModelUnavailable as error:
        print(f"error: {error.reason}", file=sys.stderr)
        return FAILED
    except (WeightsUnavailable, PublishedWeightsInvalid, ParityFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; what was downloaded is kept", file=sys.stderr)
        return INTERRUPTED
    return 0


def _export(name: str, models_dir: Path, local_weights: Path | None) -> None:
    export(name, models_dir, local_weights=local_weights)
    print(models_dir / name)


def _weights(name: str, models_dir: Path, local_weights: Path | None) -> None:
    print(fetch_weights(name, models_dir / WEIGHTS_FOLDER, local=local_weights))


def _parity(name: str, models_dir: Path, local_weights: Path | None) -> None:
    """Measure an earlier export again."""
    manifest = read_manifest(models_dir / name)
    model_bytes = read_model(models_dir / name, manifest)
    weights_path = fetch_weights(name, models_dir / WEIGHTS_FOLDER, local=local_weights)
    parity = measure_parity(
        port(ARCHITECTURES[name](), read_convolutions(weights_path)),
        served=model_bytes,
        published=weights_path,
        pictures=synthetic_pictures(manifest.input_size_px)[:3],
    )
    for figure, value in parity.quality().items():
        print(f"{figure}  {value:.3g}")
    parity.require()


_COMMANDS = {"export": _export, "weights": _weights, "parity": _parity}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, purpose in (
        ("export", "make models/NAME: model.onnx, manifest.json and a model card"),
        ("weights", "fetch and verify the published weights"),
        ("parity", "compare an export with the published file again"),
    ):
        sub = commands.add_parser(command, help=purpose, description=purpose)
        sub.add_argument("name", metavar="NAME", choices=sorted(PUBLISHED), help=", ".join(sorted(PUBLISHED)))
        sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")
        sub.add_argument("--weights", type=Path, help="a local file to try before the network")
    return parser


if __name__ == "__main__":
    sys.exit(main())
