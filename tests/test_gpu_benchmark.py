"""The benchmark for GPUs: its steps and its budget, and the whole of it on the CPU."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from app.engine.models.manifest import read_model
from benchmarks import gpu
from benchmarks.gpu_service import find_limit
from benchmarks.gpu_sessions import Absent, BoundRunner, Configuration, open_runner, pin, read_fp16
from benchmarks.gpu_steps import CONFIGURATIONS, Bench, Step, measure_configuration, run_steps
from tests.networks import redness_model

MODEL = "u2netp"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    redness_model(tmp_path, MODEL)
    return Bench(tmp_path, MODEL, "cpu", 0.01, batches=(1, 2), clients=(1, 2))


class SteppedClock:
    """A clock that advances by a second at each reading."""

    def __init__(self) -> None:
        self.reading_s = 0.0

    def now_s(self) -> float:
        self.reading_s += 1.0
        return self.reading_s


def fail(_: Bench) -> dict[str, object]:
    raise RuntimeError("the driver is odd")


def lack(_: Bench) -> dict[str, object]:
    raise Absent("no such file")


def exit_early(_: Bench) -> dict[str, object]:
    raise SystemExit("The server did not start")


def test_a_failed_step_ends_no_other(bench: Bench) -> None:
    steps = [Step("a", fail), Step("b", lack), Step("c", exit_early), Step("d", lambda _: {"rate": 2.0})]

    rows = run_steps(steps, bench, seconds=1000, now_s=SteppedClock().now_s)

    assert ["failed", "skipped", "failed", "done"] == [row["status"] for row in rows]
    assert "RuntimeError: the driver is odd" == rows[0]["reason"]
    assert {"rate": 2.0} == rows[3]["figures"]


def test_a_step_without_time_is_recorded_and_a_shorter_one_still_runs(bench: Bench) -> None:
    steps = [Step("long", lambda _: {}, min_s=100), Step("short", lambda _: {}, min_s=1)]

    rows = run_steps(steps, bench, seconds=10, now_s=SteppedClock().now_s)

    assert [("long", "skipped"), ("short", "done")] == [(row["step"], row["status"]) for row in rows]
    assert "100 needed" in rows[0]["reason"]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda each: each.name)
def test_the_options_are_those_of_the_provider(configuration: Configuration) -> None:
    options = configuration.provider_options()

    assert {"cudnn_conv_algo_search", "use_tf32", "prefer_nhwc", "enable_cuda_graph"} == set(options)
    assert ("CUDA graphs" in configuration.name) == (options["enable_cuda_graph"] == "1")
    assert ("TF32" in configuration.name) == (options["use_tf32"] == "1")


@pytest.mark.parametrize("has_graphs", [False, True])
def test_bound_runs_give_the_maps_of_plain_ones(bench: Bench, *, has_graphs: bool) -> None:
    """A second batch of the same size shows that the bound input is copied again."""
    model_bytes = read_model(bench.folder, bench.manifest)
    runner = open_runner(model_bytes, Configuration("bound", is_bound=True, has_graphs=has_graphs), "cpu")
    assert isinstance(runner, BoundRunner)
    inputs, maps = bench.inputs(), bench.maps()

    for chosen in ([0, 1], [2, 3], [4], [5]):
        np.testing.assert_allclose(maps[chosen], runner.infer(inputs[chosen]), atol=1e-6)
    assert 0.2 < maps.std()  # the pictures have subjects, so equal maps are no accident


def test_a_configuration_with_other_maps_is_reported(bench: Bench) -> None:
    bench.maps()[:] += np.float32(2 / 255)

    figures = measure_configuration(Configuration("float32"))(bench)

    assert figures["within 1/255"] is False
    assert 2 / 255 == pytest.approx(figures["max difference"], abs=1e-6)
    assert ["1", "2"] == list(figures["batches"])


def test_fp16_is_read_if_it_is_exported_and_its_hash_is_checked(bench: Bench) -> None:
    manifest = bench.manifest
    model_bytes = read_model(bench.folder, manifest)
    (bench.folder / "model.fp16.onnx").write_bytes(model_bytes)
    assert (model_bytes, "exported") == read_fp16(bench.folder, manifest)
    path = bench.folder / "manifest.json"
    members = json.loads(path.read_text())
    path.write_text(
        json.dumps({**members, "precisions": {"fp16": {"file": "model.fp16.onnx", "sha256": "0"}}})
    )

    with pytest.raises(Absent, match="differs from the sha256"):
        read_fp16(bench.folder, manifest)


def test_the_limit_is_the_slower_of_card_and_host(bench: Bench) -> None:
    bench.best_rate, bench.host_rate = {"TF32": 90.0, "fp16": 200.0}, {"/v1/mask": 120.0, "/v1/cutout": 60.0}

    limits = find_limit(bench)

    assert ("the card", "the host") == tuple(each["limited by"] for each in limits.values())
    assert 200.0 == limits["/v1/mask"]["card at best (fp16)"]


def test_memory_cannot_be_pinned_without_the_cuda_runtime() -> None:
    with pytest.raises(Absent, match="libcudart"):
        pin(np.zeros(4, np.uint8))


@pytest.mark.process
def test_a_run_that_does_not_reach_the_device_exits_with_1(tmp_path: Path) -> None:
    redness_model(tmp_path, MODEL)

    code = gpu.main(
        ["--minutes", "0", "--model", MODEL, "--models-dir", str(tmp_path), "--out", str(tmp_path)]
    )

    assert 1 == code
    assert {"skipped"} == {row["status"] for row in json.loads((tmp_path / "gpu.json").read_text())["steps"]}


@pytest.mark.process
@pytest.mark.slow
def test_a_dry_run_measures_every_step_on_the_cpu(tmp_path: Path) -> None:
    redness_model(tmp_path / "models", MODEL)
    arguments = [
        "--dry-run",
        "--model",
        MODEL,
        "--models-dir",
        str(tmp_path / "models"),
        "--out",
        str(tmp_path),
    ]

    code = gpu.main(arguments)

    report = json.loads((tmp_path / "gpu.json").read_text())
    statuses = {row["step"]: row["status"] for row in report["steps"]}
    assert [step.name for step in gpu.STEPS] == list(statuses)
    fp16 = "skipped" if find_spec("onnx") is None else "done"  # without onnx, nothing can be converted
    assert statuses == {name: fp16 if name.startswith("fp16") else "done" for name in statuses}
    assert 0 == code
    text = (tmp_path / "gpu.md").read_text()
    assert "| float32, CUDA graphs | 2 |" in text
    assert "| /v1/cutout | 2 |" in text
