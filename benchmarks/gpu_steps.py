"""GPU steps: what ``benchmarks.gpu`` measures of the network, and how steps run; a failed one ends no other.

Every configuration is compared with the float32 map of the CPU on the same pictures, at the batch sizes that
it is timed at.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.capacity.processor import usable_processor
from app.engine.models.device import probe
from app.engine.models.manifest import Manifest, read_manifest, read_model
from app.engine.models.onnxruntime_loader import onnxruntime
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from app.imaging.prepare import prepare
from benchmarks.gpu_sessions import Absent, BoundRunner, Configuration, Runner, open_runner, read_fp16
from benchmarks.load import percentile
from benchmarks.pictures import camera_photo
from benchmarks.report import ROOT

MAX_DIFFERENCE = 1 / 255
"""The largest |difference| to the float32 map of the CPU: one level of the published mask."""
PICTURES = 8
CONFIGURATIONS = (
    Configuration("float32"),
    Configuration("TF32", use_tf32=True),
    Configuration("fp16", is_fp16=True),
    Configuration("float32, bound and pinned", is_bound=True),
    Configuration("float32, CUDA graphs", has_graphs=True),
    Configuration("TF32, CUDA graphs", use_tf32=True, has_graphs=True),
    Configuration("fp16, CUDA graphs", is_fp16=True, has_graphs=True),
    Configuration("TF32, NHWC", use_tf32=True, prefer_nhwc=True),
    Configuration("float32, exhaustive search", conv_search="EXHAUSTIVE"),
)
Json = dict[str, Any]


@dataclass(slots=True)
class Bench:
    """What all steps share: the model, the device, how long and how much to measure, and the figures so far.

    ``seconds`` is the length of one measurement.
    """

    models_dir: Path
    model: str
    device: str
    seconds: float
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
    clients: Sequence[int] = (1, 8, 32, 64)
    megapixels: float = 1.0
    best_rate: dict[str, float] = field(default_factory=dict)
    host_rate: dict[str, float] = field(default_factory=dict)
    service_rate: dict[str, float] = field(default_factory=dict)
    _inputs: NetworkInput | None = None
    _maps: SaliencyMap | None = None

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        return self.models_dir / self.model

    @property
    def manifest(self) -> Manifest:
        """The manifest of the model."""
        return read_manifest(self.folder)

    def inputs(self) -> NetworkInput:
        """Return eight different pictures as the network's input, uint8 (8, S, S, 3)."""
        if self._inputs is None:
            upload = (ROOT / "docs" / "images" / "astronaut.jpg").read_bytes()
            astronaut = decode(upload, sniff(upload)).rgb
            pictures = [
                astronaut,
                astronaut[:, ::-1],
                astronaut[: len(astronaut) * 3 // 4],
                astronaut[60:, 40:],
            ]
            pictures += [camera_photo(0.5, seed) for seed in range(PICTURES - len(pictures))]
            side = self.manifest.input_size_px
            self._inputs = np.stack([prepare(np.ascontiguousarray(rgb), side) for rgb in pictures])
        return self._inputs

    def maps(self) -> SaliencyMap:
        """Return the float32 maps of the inputs from the CPU, (8, S, S)."""
        if self._maps is None:
            model_bytes = read_model(self.folder, self.manifest)
            runner = open_runner(model_bytes, Configuration("reference"), "cpu")
            self._maps = np.concatenate([runner.infer(each[None]) for each in self.inputs()])
        return self._maps


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the report; ``min_s`` is the time without which it is not begun."""

    name: str
    measure: Callable[[Bench], Json]
    min_s: float = 5.0


def run_steps(
    steps: Sequence[Step], bench: Bench, *, seconds: float, now_s: Callable[[], float]
) -> list[Json]:
    """Run the steps in their order within ``seconds``; what fails or has no time left is recorded.

    Args:
        steps: The steps, most important first.
        bench: What the steps share.
        seconds: The time for all steps.
        now_s: The clock, in seconds.
    """
    until_s = now_s() + seconds
    done = []
    for step in steps:
        began_s = now_s()
        row: Json = {"step": step.name}
        if until_s - began_s < step.min_s:
            row |= {"status": "skipped", "reason": f"{until_s - began_s:.0f} s left, {step.min_s:g} needed"}
        else:
            print(step.name, file=sys.stderr, flush=True)
            row |= _attempt(step, bench)
        done.append({**row, "seconds": round(now_s() - began_s, 2)})
    return done


def _attempt(step: Step, bench: Bench) -> Json:
    try:
        return {"status": "done", "figures": step.measure(bench)}
    except Absent as absence:
        return {"status": "skipped", "reason": str(absence)}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one driver's fault must not cost the other figures
        return {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:2000]}


def describe_device(bench: Bench) -> Json:
    """Return the card, the driver, ONNX Runtime, and the provider that is active with the served graph.

    Raises:
        Absent: CUDA is wanted and not active.
    """
    found = probe("cuda" if bench.device == "cuda" else "cpu")
    figures: Json = {
        "onnxruntime": onnxruntime.__version__,
        "cores": usable_processor().threads,
        "card": _nvidia_smi(bench.device, "name,driver_version,memory.total,clocks.max.sm,power.limit"),
    }
    if bench.device == "cuda" and found.why_not_cuda:
        raise Absent(f"CUDA cannot be used: {found.why_not_cuda}")
    runner = open_runner(read_model(bench.folder, bench.manifest), Configuration("float32"), bench.device)
    return figures | {"active provider": runner.session.get_providers()[0]}


def measure_configuration(configuration: Configuration) -> Callable[[Bench], Json]:
    """Return the measurement of a configuration: maps against the CPU's, and the time of each batch size."""

    def measure(bench: Bench) -> Json:
        model_bytes, origin = read_model(bench.folder, bench.manifest), "exported"
        if configuration.is_fp16:
            model_bytes, origin = read_fp16(bench.folder, bench.manifest)
        runner = open_runner(model_bytes, configuration, bench.device)
        figures: Json = {"graph": origin, "batches": {}}
        for size in bench.batches:
            try:
                figures["batches"][str(size)] = _measure_batch(runner, bench, size)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - larger batches may not fit, smaller ones count
                figures["batches"][str(size)] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        measured = [each for each in figures["batches"].values() if "rate" in each]
        if not measured:
            raise RuntimeError(f"no batch ran: {figures['batches']}")
        if isinstance(runner, BoundRunner):
            figures["pinned"] = runner.why_not_pinned or "yes"
        bench.best_rate[configuration.name] = figures["best rate"] = max(each["rate"] for each in measured)
        figures["max difference"] = max(each["max difference"] for each in measured)
        figures["within 1/255"] = figures["max difference"] <= MAX_DIFFERENCE
        figures["card"] = _nvidia_smi(bench.device, "memory.used,clocks.sm,power.draw,temperature.gpu")
        return figures

    return measure


def _measure_batch(runner: Runner, bench: Bench, size: int) -> Json:
    """Return rate, median and p95 of one batch size, and the largest difference of two different batches."""
    inputs, maps = bench.inputs(), bench.maps()
    began_s = time.perf_counter()
    differences = []
    for shift in (0, 3):  # the second batch shows that a replayed graph reads its new input
        chosen = np.arange(shift, shift + size) % len(inputs)
        differences.append(np.abs(runner.infer(np.ascontiguousarray(inputs[chosen])) - maps[chosen]))
    first_s = time.perf_counter() - began_s
    batch = np.ascontiguousarray(inputs[np.arange(size) % len(inputs)])
    took_s: list[float] = []
    until_s = time.perf_counter() + bench.seconds / 2
    while time.perf_counter() < until_s or len(took_s) < 3:
        run_began_s = time.perf_counter()
        runner.infer(batch)
        took_s.append(time.perf_counter() - run_began_s)
    return {
        "rate": size / statistics.median(took_s),
        "p50_ms": 1e3 * statistics.median(took_s),
        "p95_ms": 1e3 * percentile(took_s, 95),
        "first_two_s": round(first_s, 3),
        "runs": len(took_s),
        "max difference": float(max(each.max() for each in differences)),
        "mean difference": float(np.mean([each.mean() for each in differences])),
    }


def _nvidia_smi(device: str, fields: str) -> str:
    if device != "cuda":
        return "none"
    command = ("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi: {error}"
