"""Command line: ``python -m model_export`` fetches, trains, exports, compares and evaluates models.

Each command imports only what it needs: ``evaluate`` runs without torch, and the other commands run without
the service's own libraries.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.engine.models.manifest import read_manifest, read_model
from app.errors import CutoutError, ModelUnavailable
from app.onnx_import.refusal import GraphRefused, RunFailed
from app.system_errors import sentence_of
from app.weights.fetch import PUBLISHED, WEIGHTS_FOLDER, WeightsUnavailable, fetch_weights, published
from app.weights.own import OWN
from model_export.errors import CommandFailed
from model_export.precision_cli import (
    calibrate_model,
    declare_precision_commands,
    judge_model,
    parse_precisions,
    sensitivity_of_model,
)
from model_export.sweep import declare_sweep, run_sweep
from model_export.train_cli import (
    architecture_table,
    declare_export_of_run,
    declare_pretraining,
    declare_teaching,
    declare_training,
    run_pretraining,
    run_training,
)

DEFAULT_PRECISIONS = "float32,int8"
FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; the process's arguments if None.

    Returns:
        The exit status: 0, 1 if the command failed for a known reason (one line on stderr), 130 if the
        user interrupted it. Wrong usage exits with 2.
    """
    args = _parser().parse_args(arguments)
    try:
        _COMMANDS[args.command](args)
    except ModelUnavailable as error:
        print(f"error: {error.reason}", file=sys.stderr)
        return FAILED
    except (CommandFailed, CutoutError, GraphRefused, RunFailed, WeightsUnavailable, OSError) as error:
        print(f"error: {sentence_of(error)}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        print(
            f"error: {error.name} is not in this environment. `make setup` puts it into .venv-export: "
            "then run .venv-export/bin/python -m model_export",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; downloaded files are kept", file=sys.stderr)
        return INTERRUPTED
    return 0


def _export(args: argparse.Namespace) -> None:
    if args.checkpoint is None:
        if (args.depth, args.accurate, args.size, args.tile) != (None, False, None, None):
            raise CommandFailed("--depth, --accurate, --size and --tile need --checkpoint, a training run.")
        precisions = parse_precisions(args.precision or [DEFAULT_PRECISIONS])
        if args.name in OWN:
            from model_export.export_own import export_own

            export_own(args.name, args.models_dir, precisions=precisions)
        else:
            from model_export.export import export

            published(args.name)
            export(args.name, args.models_dir, precisions=precisions, local_weights=args.weights)
    else:
        from model_export.export_checkpoint import export_trained
        from model_export.served_shape import ServedShape

        if parse_precisions(args.precision or []):
            raise CommandFailed("A training run is exported in float32 only.")
        export_trained(
            args.name,
            args.checkpoint,
            args.models_dir,
            authors=args.authors,
            license_name=args.license,
            shape=ServedShape(args.depth, args.accurate, args.size, args.tile),
        )
    print(args.models_dir / args.name)


def _train(args: argparse.Namespace) -> None:
    print(run_training(args))


def _pretrain(args: argparse.Namespace) -> None:
    print(run_pretraining(args))


def _teach(args: argparse.Namespace) -> None:
    from model_export.teach import teach

    print(teach(args.model, args.data, args.models_dir))


def _sweep(args: argparse.Namespace) -> None:
    print("\n".join(run_sweep(args)))


def _architectures(args: argparse.Namespace) -> None:
    print("\n".join(architecture_table(args.size)))


def _weights(args: argparse.Namespace) -> None:
    print(fetch_weights(args.name, args.models_dir / WEIGHTS_FOLDER, local=args.weights))


def _parity(args: argparse.Namespace) -> None:
    """Measure an earlier export again."""
    from model_export.architectures import ARCHITECTURES
    from model_export.parity import measure_parity
    from model_export.pictures import synthetic_pictures
    from model_export.port import port
    from model_export.weights import read_convolutions

    folder = args.models_dir / args.name
    manifest = read_manifest(folder)
    model_bytes = read_model(folder, manifest)
    weights_path = fetch_weights(args.name, args.models_dir / WEIGHTS_FOLDER, local=args.weights)
    parity = measure_parity(
        port(ARCHITECTURES[args.name](), read_convolutions(weights_path)),
        served=model_bytes,
        published=weights_path,
        pictures=synthetic_pictures(manifest.input_size_px)[:3],
    )
    for figure, value in parity.quality().items():
        print(f"{figure}  {value:.3g}")
    parity.require()


def _evaluate(args: argparse.Namespace) -> None:
    """Judge the results of a model, or the classes of a checkpoint, and print the table."""
    if args.checkpoint is None:
        from model_export.evaluate import run, table

        print("\n".join(table(run(args))))
        return
    from model_export.evaluate_classes import class_table, evaluate_classes, write_json

    if args.result or args.option or args.report or args.matting != ["none"]:
        raise CommandFailed(
            "--matting, --result, --option and --report judge the service; with --checkpoint there is none."
        )
    evaluation = evaluate_classes(args.checkpoint, args.data, only=args.only, unknown=args.unknown_classes)
    if args.json is not None:
        write_json(evaluation, args.json)
    print("\n".join(class_table(evaluation)))


def _calibrate(args: argparse.Namespace) -> None:
    print(calibrate_model(args))


def _judge(args: argparse.Namespace) -> None:
    print("\n".join(judge_model(args)))


def _sensitivity(args: argparse.Namespace) -> None:
    print("\n".join(sensitivity_of_model(args)))


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "export": _export,
    "weights": _weights,
    "parity": _parity,
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "judge": _judge,
    "sensitivity": _sensitivity,
    "train": _train,
    "finetune": _train,
    "pretrain": _pretrain,
    "teach": _teach,
    "architectures": _architectures,
    "sweep": _sweep,
    "series": _sweep,  # the old name
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
        names = sorted({*PUBLISHED, *OWN}) if command == "export" else sorted(PUBLISHED)
        choices = names if command != "export" else None
        sub.add_argument("name", metavar="NAME", choices=choices, help=", ".join(names))
        sub.add_argument("--models-dir", type=Path, default=Path("models"), help="folder of models (models)")
        sub.add_argument("--weights", type=Path, help="a local file to try before the network")
        if command == "export":
            sub.add_argument(
                "--precision",
                action="append",
                metavar="LIST",
                help=f"float32, int8, fp16; float32 always; may be repeated ({DEFAULT_PRECISIONS})",
            )
            declare_export_of_run(sub)
    purpose = "train a network on pictures and masks"
    declare_training(commands.add_parser("train", help=purpose, description=purpose), table="ours")
    purpose = "fine-tune a published network: train NAME --recipe finetune"
    declare_training(commands.add_parser("finetune", help=purpose, description=purpose), table="finetune")
    purpose = "train the classifier whose weights an STDC-Seg begins with, on pictures in classes"
    declare_pretraining(commands.add_parser("pretrain", help=purpose, description=purpose))
    purpose = "write a model's soft maps next to pictures, as targets for training"
    declare_teaching(commands.add_parser("teach", help=purpose, description=purpose))
    purpose = "train several recipes in parallel, judge them and keep their weights in half precision"
    declare_sweep(commands.add_parser("sweep", aliases=["series"], help=purpose, description=purpose))
    purpose = "list the networks with their sizes and costs"
    sub = commands.add_parser("architectures", help=purpose, description=purpose)
    sub.add_argument("--size", type=int, default=320, help="side of the picture in pixels (320)")
    declare_precision_commands(commands)
    purpose = "judge the results of the service with a model on pictures with known truth"
    _declare_evaluation(commands.add_parser("evaluate", help=purpose, description=purpose))
    return parser


def _declare_evaluation(sub: argparse.ArgumentParser) -> None:
    judged = sub.add_mutually_exclusive_group(required=True)
    judged.add_argument("--model", metavar="NAME", help="an exported model")
    judged.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a training run with classes, judged on label maps"
    )
    sub.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="a layout of model_export/samples.py: images/ with masks/, for example",
    )
    sub.add_argument(
        "--only", type=Path, metavar="FILE", help="judge only these pictures: stems, one per line"
    )
    sub.add_argument(
        "--unknown-classes",
        choices=("refuse", "background", "void"),
        help="with --checkpoint, what annotations of other names are (as in the run's recipe)",
    )
    sub.add_argument("--matting", nargs="+", default=["none"], metavar="PATH", help="matting paths (none)")
    sub.add_argument(
        "--result",
        "--answer",  # the old name
        choices=("mask", "cutout"),
        help="which result to judge; by default the one that matches the kind of truth",
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
    sub.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
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
