"""Triton's own HTTP client, unmodified, against the real server."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.imaging.matting.saliency import stretch, to_grey
from app.imaging.prepare import prepare
from tests.journeys.conftest import ROOT, Server
from tests.journeys.packages import install
from tests.pictures import opened

pytestmark = pytest.mark.journey
PICTURE = ROOT / "docs/images/astronaut.jpg"


@pytest.fixture(scope="module")
def triton_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triton")
    install(folder, "tritonclient[http]==2.73.0")
    return folder


def test_the_triton_client_gets_the_saliency_of_the_mask(
    serve: Callable[..., Server], triton_client: Path, tmp_path: Path
) -> None:
    """In binary, its default; the caller resamples the picture, here with the code of the service."""
    url = serve("--model", "u2netp").url
    network_input = prepare(opened(PICTURE.read_bytes()), 320)
    network_input.tofile(tmp_path / "in.raw")
    program = f"""
import numpy as np
import tritonclient.http as triton
client = triton.InferenceServerClient("{url.removeprefix("http://")}")
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("u2netp")
side = client.get_model_metadata("u2netp")["inputs"][0]["shape"][1]
tensor = triton.InferInput("network_input", [1, side, side, 3], "UINT8")
tensor.set_data_from_numpy(np.fromfile("in.raw", np.uint8).reshape(1, side, side, 3))
client.infer("u2netp", [tensor]).as_numpy("saliency").tofile("out.raw")
"""
    environment = {**os.environ, "PYTHONPATH": str(triton_client)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=120)
    saliency = np.fromfile(tmp_path / "out.raw", np.float32).reshape(320, 320)
    mask = httpx.post(f"{url}/v1/mask", content=PICTURE.read_bytes(), params={"size": "network"}, timeout=120)

    assert np.array_equal(to_grey(stretch(saliency)), opened(mask.content))
