"""Decoder processes: killed, without file descriptors, and after the exit of their server."""

import argparse
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from benchmarks.decoder_kills import decoders_of, kill_under_load
from tests.journeys.conftest import Server
from tests.journeys.processes import has_ended
from tests.journeys.test_faults import UPLOAD, attempts_until_recovered, limited

pytestmark = [pytest.mark.journey, pytest.mark.skipif(sys.platform != "linux", reason="prlimit, /proc")]
Serve = Callable[..., Server]
TWO = {"CUTOUT_ENGINE__DECODERS": "2"}


def test_killed_decoders_cause_only_retryable_errors(serve: Serve) -> None:
    server = serve("--model", "u2netp", **TWO)
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    target = SimpleNamespace(host=host, port=int(port), pid=server.process.pid)
    options = argparse.Namespace(clients=4, every=0.7, seconds=4.0)
    statuses, kills = kill_under_load(target, options)  # type: ignore[arg-type] # has all the attributes that it uses

    assert statuses.keys() <= {200, 503}
    assert statuses[503] <= kills
    assert attempts_until_recovered(f"http://{host}:{port}") == 0
    assert server.stop() == 0


def test_without_descriptors_for_a_decoder_requests_get_503(serve: Serve) -> None:
    server = serve("--model", "u2netp", **TWO)
    url = server.url
    statuses: Counter[int] = Counter()

    def post(_: int) -> None:
        statuses[httpx.post(f"{url}/v1/mask", content=UPLOAD, timeout=60).status_code] += 1

    with httpx.Client(base_url=url, timeout=60) as client:
        client.get("/livez").raise_for_status()
        used = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        with limited(server, resource.RLIMIT_NOFILE, used - 2):  # as many as without decoders
            for pid in decoders_of(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            until_s = time.monotonic() + 60
            while (response := client.post("/v1/mask", content=UPLOAD)).status_code == 200:
                assert time.monotonic() < until_s
            refused = [client.post("/v1/mask", content=UPLOAD) for _ in range(5)]
    attempts_until_recovered(url)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(16)))

    assert {(each.status_code, each.json()["resource"]) for each in (response, *refused)} == {
        (503, "decoders")
    }
    assert {each.headers["retry-after"] for each in refused} == {"1"}
    assert statuses == {200: 16}
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_server_that_ends_leaves_no_decoder_behind(serve: Serve, number: signal.Signals) -> None:
    server = serve("--model", "u2netp", **TWO)
    assert server.url
    decoders = decoders_of(server.process.pid)
    server.stop(number)

    assert len(decoders) == 2
    assert all(has_ended(pid) for pid in decoders)
