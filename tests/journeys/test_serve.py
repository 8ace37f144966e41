import io
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.journeys.conftest import ROOT, Server
from tests.pictures import jpeg, photo

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(240, 320))


@pytest.fixture(scope="module")
def served_models(models_dir: Path) -> Path:
    """The exported models: these tests judge the service as it is installed."""
    return models_dir


def test_the_example_command_in_the_readme_gives_a_cutout(serve: Serve, tmp_path: Path) -> None:
    url = serve("--model", "u2netp").url
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^curl .*-o cutout\.png .*$", readme, re.MULTILINE)
    target = tmp_path / "cutout.png"
    command = line.replace("http://127.0.0.1:8000", url).replace("cutout.png", str(target))
    subprocess.run(shlex.split(command), cwd=ROOT, check=True, capture_output=True)
    cutout = np.asarray(Image.open(target))

    assert cutout.shape == (512, 512, 4)
    assert 0.2 < (cutout[:, :, 3] > 128).mean() < 0.9


def test_readyz_reports_the_provider_and_sigterm_stops_the_server_cleanly(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_DEVICE="cpu")
    url = server.url
    ready = httpx.get(f"{url}/readyz").json()

    assert ready["provider"] == ready["models"]["u2netp"] == "CPUExecutionProvider"
    assert ready["why_not_cuda"] == "the device is set to cpu"
    assert httpx.get(f"{url}/livez").status_code == httpx.get(f"{url}/startupz").status_code == 200
    assert server.stop() == 0


def test_metrics_have_their_own_port_and_add_up(serve: Serve) -> None:
    server = serve("--model", "u2netp")
    url = server.url
    metrics_url = _metrics_url(server)
    for _ in range(3):
        httpx.post(f"{url}/v1/mask", content=UPLOAD)
    httpx.post(f"{url}/v1/mask", content=b"nothing")
    text = httpx.get(metrics_url).text
    samples = dict(re.findall(r"^(cutout_\S+) (\S+)$", text, re.MULTILINE))

    assert float(samples['cutout_requests_received_total{endpoint="/v1/mask"}']) == 4
    assert float(samples['cutout_requests_total{endpoint="/v1/mask",model="u2netp",outcome="ok"}']) == 3
    refused = 'cutout_requests_total{endpoint="/v1/mask",model="u2netp",outcome="unsupported-format"}'
    assert float(samples[refused]) == 1
    assert float(samples['cutout_batch_size_sum{bucket="1",model="u2netp"}']) == 3
    assert float(samples['cutout_step_duration_seconds_count{step="infer"}']) == 3
    assert float(samples["cutout_inflight_requests"]) == float(samples["cutout_inflight_pixels"]) == 0
    assert float(samples["cutout_ready"]) == 1
    info = [name for name in samples if name.startswith("cutout_provider_info")]
    assert info == ['cutout_provider_info{active="CPUExecutionProvider",model="u2netp",requested="auto"}']
    assert httpx.get(f"{url}/metrics").status_code == 404


def _metrics_url(server: Server) -> str:
    (found,) = [match.group(1) for line in server.stdout if (match := re.search(r"Metrics\s+(\S+)", line))]
    return found


def test_each_request_is_one_json_line_without_its_contents(serve: Serve) -> None:
    server = serve("--model", "u2netp")
    url = server.url
    httpx.post(
        f"{url}/v1/mask", files={"image": ("secret-name.jpg", UPLOAD)}, headers={"X-Request-Id": "one"}
    )
    httpx.post(f"{url}/v1/mask?oddity=secret-value", content=UPLOAD, headers={"X-Request-Id": "two"})
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.stderr]
    requests = [line for line in lines if line["event"] == "request"]

    assert [(line["request_id"], line["status"], line["outcome"]) for line in requests] == [
        ("one", 200, "ok"),
        ("two", 400, "unknown-option"),
    ]
    assert requests[0]["steps_ms"]["infer"] > 0
    assert (requests[0]["width_px"], requests[0]["height_px"]) == (320, 240)
    assert "secret" not in "".join(server.stderr)


def test_a_model_with_one_byte_changed_never_serves(serve: Serve, damaged_models: Path) -> None:
    server = serve("--model", "broken", models=damaged_models)
    manifest = json.loads((damaged_models / "broken" / "manifest.json").read_text())

    assert server.process.wait(30) == 3
    assert re.search(rf"expected sha256 {manifest['sha256']}, found [0-9a-f]{{64}}", "".join(server.stderr))
    assert "Traceback" not in "".join(server.stderr)


def test_a_broken_model_is_unavailable_and_the_other_one_is_served(
    serve: Serve, damaged_models: Path
) -> None:
    url = serve("--model", "u2netp", "--model", "broken", models=damaged_models).url
    refused = httpx.post(f"{url}/v1/mask?model=broken", content=UPLOAD)

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/model-unavailable")
    assert not re.search(r"sha256|/models|Traceback", refused.text)
    assert int(refused.headers["retry-after"]) > 0
    assert httpx.post(f"{url}/v1/mask", content=UPLOAD).status_code == 200
    assert httpx.get(f"{url}/readyz").json()["unavailable"] == ["broken"]


@pytest.mark.skipif(
    subprocess.run(["which", "nvidia-smi"], capture_output=True).returncode == 0, reason="there is a GPU here"
)
def test_cuda_without_a_gpu_refuses_to_start(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_DEVICE="cuda")

    assert server.process.wait(30) == 3
    assert "CUDA is asked for, but" in "".join(server.stderr)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CUTOUT_DEVISE", "cpu", "CUTOUT_DEVISE"),
        ("CUTOUT_WEB__PORT", "lots", "CUTOUT_WEB__PORT"),
        ("CUTOUT_MODELS", "nope", "nope"),
    ],
)
def test_an_invalid_setting_fails_at_the_start_with_one_line(
    serve: Serve, variable: str, value: str, expected: str
) -> None:
    server = serve(**{variable: value})

    assert server.process.wait(30) in (1, 3)
    assert expected in "".join(server.stderr)
    assert "Traceback" not in "".join(server.stderr)


@pytest.mark.parametrize("setting", ["CUTOUT_WEB__METRICS_PORT", "--port"])
def test_a_port_in_use_fails_at_the_start_with_one_line(serve: Serve, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        server = serve("--port", port) if setting == "--port" else serve(**{setting: port})

        assert server.process.wait(30) == 1
    assert re.fullmatch(rf"cutout: cannot .* port {port}: .*", "".join(server.stderr))


def test_a_picture_of_twelve_megapixels_is_returned_upright_and_complete(serve: Serve) -> None:
    url = serve("--model", "u2netp").url
    turned = jpeg(np.rot90(photo(3000, 4000)).copy(), exif_orientation=6)
    response = httpx.post(f"{url}/v1/cutout", content=turned, timeout=60)
    cutout = np.asarray(Image.open(io.BytesIO(response.content)))

    assert cutout.shape == (3000, 4000, 4)
    assert not cutout[cutout[:, :, 3] == 0].any()
    assert cutout[1500, 2000, 3] == 255
