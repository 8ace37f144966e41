"""Checks the server against its OpenAPI document with schemathesis, with a no-op network for speed."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.conftest import ROOT

pytestmark = [pytest.mark.journey, pytest.mark.slow]


@pytest.fixture
def url(models_dir: Path) -> Iterator[str]:
    settings = {"CUTOUT_MODELS": "u2netp", "CUTOUT_MODELS_DIR": str(models_dir), "CUTOUT_WEB__PORT": "0"}
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.noop"],
        env={**os.environ, **settings},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    yield next(match[1] for line in server.stdout if (match := re.search(r"listens on\s+(\S+)", line)))
    server.kill()
    server.wait()


def test_the_server_conforms_to_its_contract(url: str, tmp_path: Path) -> None:
    checked = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", ROOT / "schemathesis.toml", "run", f"{url}/openapi.json"),
            *("--checks", "all", "--max-examples", "25", "--seed", "1", "--no-color"),
            *(
                "--request-timeout",
                "100",
                "--max-response-time",
                "100",
            ),  # the example loads a model, which takes as long as it takes
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert checked.returncode == 0, checked.stdout[-6000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", checked.stdout)
    assert cases is not None
    assert int(cases[1]) == int(cases[2]) > 500
