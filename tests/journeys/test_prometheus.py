"""A real Prometheus scrapes the running service with our rules, and has data for every dashboard query."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.test_monitoring import queries, rules
from tests.journeys.conftest import ROOT, Server, free_port
from tests.journeys.debian import debian_program

pytestmark = [pytest.mark.journey, pytest.mark.slow]
PICTURE = (ROOT / "docs/images/astronaut.jpg").read_bytes()
EMPTY_WITHOUT_ERRORS = re.compile(
    r"outcome=~|requested=\"cuda\"|cancelled|wasted|connections_closed|restarts|gpu_memory|CPUExecution|estimated"
)
"""Matches queries that are empty as long as there are no errors."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of prometheus and promtool."""
    return debian_program("prometheus", tmp_path_factory.mktemp("prometheus")).parent


@pytest.fixture
def prometheus(serve: Callable[..., Server], programs: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped a server after a few requests."""
    metrics_port, port = free_port(), free_port()
    url = serve("--model", "u2netp", CUTOUT_WEB__METRICS_PORT=str(metrics_port)).url
    text = (ROOT / "docker/prometheus/prometheus.yml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text.replace("15s", "1s").replace("5s", "1s"))
    (job,) = settings["scrape_configs"]
    (servers,) = job.pop("dns_sd_configs")
    assert (servers["names"], servers["port"]) == (["cutout"], 9000)
    job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(ROOT / "docker/prometheus/rules.yml", tmp_path)
    process = subprocess.Popen(
        [
            programs / "prometheus",
            *("--config.file=prometheus.yml", "--storage.tsdb.path=data"),
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:
            wait_for(client, 'up{job="cutout"} == 1')
            until_s = time.monotonic() + 120
            # A rate needs two scrapes with an increase in between.
            while time.monotonic() < until_s and not found(client, "cutout:requests:rate5m > 0"):
                assert httpx.post(f"{url}/v1/cutout", content=PICTURE, timeout=120).status_code == 200
                assert httpx.post(f"{url}/v1/mask", content=b"junk", timeout=120).status_code == 415
                time.sleep(0.5)
            wait_for(client, 'cutout:requests:rate5m{outcome="ok"} > 0')
            wait_for(client, "cutout:step_utilisation:rate1m > 0")
            yield client
    finally:
        process.kill()
        process.wait()


def found(client: httpx.Client, query: str) -> list[object]:
    response = client.get("/query", params={"query": query}).raise_for_status().json()
    assert response["status"] == "success", (query, response)
    return list(response["data"]["result"])


def wait_for(client: httpx.Client, query: str) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        try:
            if found(client, query):
                return
        except httpx.HTTPError:  # it does not listen yet, or returns 503 while it starts
            pass
        time.sleep(0.3)
    raise AssertionError(query)


def test_a_real_prometheus_has_data_for_the_dashboard_and_fires_no_alert(prometheus: httpx.Client) -> None:
    empty = [query for query in queries() if not found(prometheus, query)]

    assert [query for query in empty if not EMPTY_WITHOUT_ERRORS.search(query)] == []
    groups = prometheus.get("/rules").json()["data"]["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]

    assert len(loaded) == len(rules())
    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}
    assert [rule["name"] for rule in loaded if rule["type"] == "alerting" and rule["state"] == "firing"] == []


def test_promtool_accepts_the_rules(programs: Path) -> None:
    folder = ROOT / "docker/prometheus"
    checked = subprocess.run(
        [programs / "promtool", "check", "config", "prometheus.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules())} rules found" in checked.stdout
