"""Networks: every model of a folder in each of its precisions, in one table.

    .venv-export/bin/python -m benchmarks.networks --models-dir DIR [--data ECSSD] [--mattes ALPHAMATTING]
        [--models NAME …] [--rounds 7] [--threads 1] [--figures FILE.json]

work      Parameters as in the manifest, and multiply-accumulates of convolutions and matrix products, counted
          in a profile of one run of the unoptimised float32 graph.
memory    What a fresh process has grown by once the model has loaded and run twice, alone, as the server
          counts it.
time      All graphs are loaded in one process, and each runs once in a round; the figure is the graph's
          fastest run divided by that of ``--reference`` in float32.
masks     MAE, maxF (paper) and relaxed boundary F of ``/v1/mask`` with ``matting=none``.
mattes    Error of a cutout's alpha in the trimap's unknown region, with the service's defaults and
          the network's own maps.

Add networks of others first: ``CUTOUT_MODELS_DIR=DIR cutout models add NAME``. ``--figures`` keeps what was
measured of a graph, by its sha256, so that a broken or extended measurement continues.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from app.engine.capacity.memory import tune_allocator
from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.engine.models.manifest import FLOAT32, Manifest, read_manifest, read_model, sha256_of
from app.engine.models.onnxruntime_loader import onnxruntime
from app.engine.models.session import OnnxSession
from benchmarks.report import print_machine, print_table
from model_export.evaluate import judge, parse_path
from model_export.predictions import open_predictor
from model_export.samples import find_samples

HEADER = (
    "model",
    "precision",
    "parameters",
    "GMACs",
    "warm memory",
    "time",
    "MAE",
    "maxF (paper)",
    "boundary F",
    "SAD/1000",
    "MSE",
)
CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "QLinearConv"})
PRODUCTS = frozenset({"MatMul", "MatMulInteger", "Gemm"})
PRECISION_VARIABLE = "CUTOUT_PRECISION"
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a model; the rows of the table are its figures."""

    models_dir: Path
    manifest: Manifest
    precision: str

    @property
    def folder(self) -> Path:
        """The model's folder, whose name may differ from the manifest's only by mistake."""
        return self.models_dir / self.manifest.name

    @property
    def shown_precision(self) -> str:
        """The precision, or that of the file if the graph is a third party's own."""
        return self.manifest.precision if self.precision == FLOAT32 else self.precision

    def open(self, threads: int) -> tuple[OnnxSession, int]:
        """Load and warm it; return the session and the bytes that the process has grown by."""
        loader = Loader(
            self.models_dir,
            device="cpu",
            probe=probe("cpu"),
            threads=threads,
            max_batch=1,
            clock=SystemClock(),
            precision=self.precision,  # type: ignore[arg-type]  # a key of the manifest, or float32
        )
        loaded = loader.load(self.manifest.name)
        assert isinstance(loaded.session, OnnxSession)
        return loaded.session, loaded.memory_bytes[1]


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--models-dir", type=Path, default=Path("models"))
    parser.add_argument("--models", nargs="+", help="by default all of the folder")
    parser.add_argument("--data", type=Path, help="pictures with true masks")
    parser.add_argument("--mattes", type=Path, help="pictures with true mattes and trimaps")
    parser.add_argument("--reference", default="u2netp")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of a run; 0 uses all cores")
    parser.add_argument("--figures", type=Path, help="keeps figures in this file")
    parser.add_argument("--alone", metavar="PRECISION", help=argparse.SUPPRESS)
    args = parser.parse_args()
    graphs = graphs_of(args.models_dir, args.models)
    if args.alone is not None:
        tune_allocator()
        (graph,) = [each for each in graphs if each.precision == args.alone]
        print(graph.open(args.threads)[1])
        return
    print_machine()
    kept: dict[str, Figures] = {}
    if args.figures is not None and args.figures.exists():
        kept = json.loads(args.figures.read_text())
    for graph in graphs:
        figures = kept.setdefault(sha256_of(graph.manifest, graph.precision), {})
        for name, measure in _measures(graph, args).items():
            if name not in figures:
                figures |= measure()
                if args.figures is not None:
                    args.figures.write_text(json.dumps(kept, indent=1))
    seconds = fastest_runs(graphs, args.rounds, args.threads)
    reference = seconds[args.reference, FLOAT32]
    rows = [
        row_of(
            graph,
            kept[sha256_of(graph.manifest, graph.precision)],
            seconds[graph.manifest.name, graph.precision] / reference,
        )
        for graph in graphs
    ]
    print(f"time: {args.reference} in float32 took {1e3 * reference:.0f} ms with {args.threads} threads\n")
    print_table(HEADER, rows)


def graphs_of(models_dir: Path, names: Sequence[str] | None) -> list[Graph]:
    """Return the graphs of models by name, float32 or the file's own first."""
    found = sorted(path.parent.name for path in models_dir.glob("*/manifest.json"))
    manifests = [read_manifest(models_dir / name) for name in names or found]
    return [
        Graph(models_dir, manifest, precision)
        for manifest in manifests
        for precision in (FLOAT32, *manifest.precisions)
    ]


def _measures(graph: Graph, args: argparse.Namespace) -> Mapping[str, Callable[[], Figures]]:
    """Return what can be measured of a graph alone, by the name of one of its figures."""
    measures: dict[str, Callable[[], Figures]] = {
        "gmacs": lambda: {"gmacs": gmacs_of(graph)},
        "memory": lambda: {"memory": memory_of(graph, args.threads)},
    }
    if args.data is not None:
        measures["MAE"] = lambda: figures_of(graph, args.data, "mask", "none")
    if args.mattes is not None:
        measures["MSE"] = lambda: figures_of(graph, args.mattes, "cutout", "fast")
    return measures


def row_of(graph: Graph, figures: Figures, ratio: float) -> tuple[str, ...]:
    """Return a row of the table."""
    formats = {
        "MAE": ".4f",
        "maxF (paper)": ".4f",
        "relaxed boundary F": ".4f",
        "SAD/1000": ".2f",
        "MSE": ".4f",
    }
    return (
        graph.manifest.name,
        graph.shown_precision,
        f"{graph.manifest.parameters / 1e6:.2f} M",
        f"{figures['gmacs']:.1f}",
        f"{figures['memory'] / 2**20:.0f} MiB",
        f"{ratio:.2f} ×",
        *(f"{figures[name]:{form}}" if name in figures else "" for name, form in formats.items()),
    )


def gmacs_of(graph: Graph) -> float:
    """Return billions of multiply-accumulates of one picture, from a profile of the unoptimised graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        model_bytes = read_model(graph.folder, graph.manifest)  # all precisions do the same work
        session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
        side_px = graph.manifest.input_size_px
        session.run(None, {"network_input": np.zeros((1, side_px, side_px, 3), np.uint8)})
        events = json.loads(Path(session.end_profiling()).read_text())
    return sum(macs_of(event.get("args", {})) for event in events) / 1e9


def macs_of(node: Mapping[str, Any]) -> int:
    """Return the multiply-accumulates of one node of a profile, 0 for other operators and events."""
    operator = node.get("op_name")
    if operator not in CONVOLUTIONS | PRODUCTS or "output_type_shape" not in node:
        return 0
    inputs, outputs = (
        [next(iter(shape.values())) for shape in node[name]]
        for name in ("input_type_shape", "output_type_shape")
    )
    if operator in PRODUCTS:
        return prod(outputs[0]) * inputs[0][-1]
    kernel = next(shape for shape in inputs[1:] if len(shape) == 4)  # (out, in, height, width)
    return prod(outputs[0]) * prod(kernel[1:])


def memory_of(graph: Graph, threads: int) -> float:
    """Return the bytes that a fresh process grows by."""
    command = [sys.executable, "-m", "benchmarks.networks", "--models-dir", str(graph.models_dir)]
    command += ["--models", graph.manifest.name, "--alone", graph.precision, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def figures_of(graph: Graph, folder: Path, result: str, matting: str) -> Figures:
    """Return the figures of the service's results for a set of pictures with known truth."""
    os.environ[PRECISION_VARIABLE] = graph.precision
    try:
        with open_predictor(graph.manifest.name, graph.models_dir) as predictor:
            assert predictor.precision == graph.precision
            rows = judge(predictor, find_samples(folder), matting, parse_path(result, matting, {}))
    finally:
        del os.environ[PRECISION_VARIABLE]
    return dict(rows[0].figures)  # of masks there is one region; of mattes the unknown one is first


def fastest_runs(graphs: Sequence[Graph], rounds: int, threads: int) -> dict[tuple[str, str], float]:
    """Return the seconds of each graph's fastest run; a round runs each once, in an order that alternates."""
    clock = SystemClock()
    sessions = [(graph, graph.open(threads)[0]) for graph in graphs]
    fastest: dict[tuple[str, str], float] = {}
    rng = np.random.default_rng(0)
    for number in range(rounds):
        for graph, session in sessions if number % 2 else reversed(sessions):
            side_px = graph.manifest.input_size_px
            picture = rng.integers(0, 256, (1, side_px, side_px, 3), np.uint8)
            began_s = clock.now_s()
            session.infer(picture)
            key = graph.manifest.name, graph.precision
            fastest[key] = min(fastest.get(key, np.inf), clock.now_s() - began_s)
    return fastest


if __name__ == "__main__":
    main()
