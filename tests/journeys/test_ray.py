"""The service on Ray Serve: three nodes on this machine, equal responses, and the failure of a node."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

pytest.importorskip("ray", reason="runs in the environment that has Ray (make test)")

from ray.serve.schema import ServeDeploySchema

import app.cli.cluster
from app.cli.cluster import Cluster, Server, build_app, cutout, http_options, variables_of
from app.settings import read_settings
from benchmarks.client import Shot
from benchmarks.ray_cluster import LONGEST_S, RayCluster, kill_under_load
from benchmarks.server import Server as DirectServer
from tests.journeys.conftest import ROOT, free_port
from tests.pictures import jpeg, photo

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.ray]
PICTURE = (ROOT / "docs/images/astronaut.jpg").read_bytes()
NODES = 3
REQUESTS = {
    "mask": httpx.Request("POST", "http://x/v1/mask", content=PICTURE),
    "cutout": httpx.Request("POST", "http://x/v1/cutout?background=blur", content=PICTURE),
    "in pieces": httpx.Request("POST", "http://x/v1/cutout", content=iter([PICTURE[:7], PICTURE[7:]])),
    "remove.bg": httpx.Request("POST", "http://x/v1.0/removebg", files={"image_file": PICTURE}),
    "rembg": httpx.Request("POST", "http://x/api/remove", files={"file": PICTURE}),
    "both": httpx.Request("POST", "http://x/v1/cutout?results=mask,cutout", content=PICTURE),
    "models": httpx.Request("GET", "http://x/v1/models"),
    "contract": httpx.Request("GET", "http://x/openapi.json"),
    "no picture": httpx.Request("POST", "http://x/v1/mask", content=b"nothing"),
    "no such option": httpx.Request("POST", "http://x/v1/cutout?scale=blue", content=PICTURE),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    settings = {"CUTOUT_MODELS_DIR": str(ROOT / "models"), "CUTOUT_MODELS": "u2netp"}
    with RayCluster(NODES, free_port(), settings) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def direct() -> Iterator[DirectServer]:
    with DirectServer("u2netp", ROOT / "models", {"CUTOUT_ENGINE__THREADS": "1"}) as server:
        yield server


def response_of(request: httpx.Request, server: DirectServer | RayCluster) -> httpx.Response:
    content = request.read()
    headers = {name: text for name, text in request.headers.items() if name.startswith("content-type")}
    url = request.url.copy_with(host=server.host, port=server.port)
    return httpx.request(request.method, url, content=content, headers=headers, timeout=LONGEST_S)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_responses_match_those_of_a_server_without_ray(
    cluster: RayCluster, direct: DirectServer, request_name: str
) -> None:
    through, plain = (response_of(REQUESTS[request_name], server) for server in (cluster, direct))

    assert through.status_code == plain.status_code
    assert len(through.headers.get_list("x-request-id")) == 1
    for name in ("etag", "x-cutout-model", "x-cutout-verdict", "x-cutout-warnings"):
        assert through.headers.get(name) == plain.headers.get(name)
    assert without_random_parts(through) == without_random_parts(plain)


def without_random_parts(response: httpx.Response) -> bytes:
    """Return the body without the request id, which Ray generates, the boundary, and what was measured."""
    random_texts = [response.headers["x-request-id"]]
    if response.headers["content-type"].startswith("multipart"):
        random_texts.append(response.headers["content-type"].partition("boundary=")[2].strip('"'))
    body = response.content
    for text in random_texts:
        body = body.replace(text.encode(), b"")
    return re.sub(rb'"(run_ms":{[^}]*}|memory_bytes":\d+)', b"", body)


def test_a_killed_node_loses_only_its_requests_in_flight(cluster: RayCluster) -> None:
    shot = Shot("/v1/mask", jpeg(photo(240, 320)))
    loss = asyncio.run(kill_under_load(cluster, shot, seconds=15))
    after = response_of(REQUESTS["mask"], cluster)

    assert any(r.intended_s > loss.killed_s for r in loss.results)
    assert loss.failed == loss.failed_in_flight
    assert loss.longest_s < LONGEST_S
    assert after.status_code == 200


def test_a_cluster_requires_configured_access(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUTOUT_ACCESS__OPEN", raising=False)

    with pytest.raises(ValueError, match="access to this cluster is not configured"):
        build_app()
    with pytest.raises(ValueError, match="access to this cluster is not configured"):
        cutout(Cluster())


def test_the_health_check_of_a_replica_is_livez_and_it_has_a_metrics_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__OPEN", "true")
    monkeypatch.setenv("CUTOUT_WEB__METRICS_PORT", str(port := free_port()))
    server, checked = Server(), []
    server.app = build_app()
    monkeypatch.setattr(app.cli.cluster, "check_alive", checked.append)
    server.check_health()

    assert checked == [server.app.state.service]
    assert "cutout_build_info" in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_replicas_get_the_settings_of_the_deploying_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUTOUT_MODELS_DIR", "here")
    monkeypatch.setenv("CUTOUT_ACCESS__KEYS_FILE", "keys.toml")

    variables = variables_of(read_settings())
    assert variables["CUTOUT_MODELS_DIR"] == str(tmp_path / "here")
    assert variables["CUTOUT_ACCESS__KEYS_FILE"] == str(tmp_path / "keys.toml")
    assert variables["CUTOUT_WEB__METRICS_PORT"] == "none"


def test_queues_are_bounded_and_the_shutdown_timeout_covers_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOUT_ACCESS__OPEN", "true")
    deployment = cutout(Cluster())._bound_deployment
    limits, lifecycle = read_settings().limits, read_settings().lifecycle

    assert deployment.max_ongoing_requests == deployment.max_queued_requests == limits.in_flight_requests
    assert deployment._deployment_config.graceful_shutdown_timeout_s > lifecycle.drain_timeout_s


def test_the_serve_config_for_several_machines_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    text = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text(encoding="utf-8"))
    (application,) = ServeDeploySchema.model_validate(text).applications
    for name, value in application.runtime_env["env_vars"].items():
        monkeypatch.setenv(name, value)
    settings = read_settings()

    assert settings.device == "cuda"
    assert settings.access.is_decided
    assert application.import_path == f"{cutout.__module__}:{cutout.__name__}"
    assert Cluster.model_validate(application.args).gpus == 1
    assert text["http_options"]["request_timeout_s"] >= http_options(settings).request_timeout_s
