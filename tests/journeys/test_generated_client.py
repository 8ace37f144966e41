"""A client generated from the contract by openapi-python-client: fully typed, and able to get a cutout."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import ROOT, Server
from tests.journeys.packages import UV, make_environment

pytestmark = [pytest.mark.journey, pytest.mark.slow]
KEY = "a-key"
GENERATOR = "openapi-python-client==0.29.1"
PROGRAM = """
import base64, sys
import httpx
from cutout_client import AuthenticatedClient
from cutout_client.api.default import cutout, list_models
from cutout_client.models import CutoutJsonBody, ModelList, PictureResult

client = AuthenticatedClient(
    sys.argv[1], token=sys.argv[3], headers={"Accept": "application/json"}, timeout=httpx.Timeout(60)
)
models = list_models.sync(client=client)
assert isinstance(models, ModelList), models
name: str = models.default
picture = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
result = cutout.sync(client=client, body=CutoutJsonBody(image=picture, model=name))
assert isinstance(result, PictureResult), result
coverage: float = result.verdict.coverage
open("out.png", "wb").write(base64.b64decode(result.image))
print(result.model, result.width_px, result.height_px, coverage)
"""


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_is_typed_and_gets_a_cutout(serve: Callable[..., Server], tmp_path: Path) -> None:
    url = serve("--model", "u2netp", CUTOUT_ACCESS__KEY_HASHES=hashlib.sha256(KEY.encode()).hexdigest()).url
    made = tmp_path / "generator"
    make_environment(made, GENERATOR, "mypy")
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{url}/openapi.json").content)
    (tmp_path / "config.yml").write_text("post_hooks: []\nproject_name_override: cutout-client\n")
    run(
        made / "bin/openapi-python-client",
        *("generate", "--path", "openapi.json", "--config", "config.yml", "--output-path", "client"),
        folder=tmp_path,
    )
    run(UV, "pip", "install", "--quiet", "--python", made / "bin/python", "./client", folder=tmp_path)
    (tmp_path / "program.py").write_text(PROGRAM)
    picture = ROOT / "docs/images/astronaut.jpg"

    run(made / "bin/mypy", "--strict", "program.py", folder=tmp_path)
    output = run(made / "bin/python", "program.py", url, picture, KEY, folder=tmp_path)

    assert output.startswith("u2netp ")
    plain = httpx.post(
        f"{url}/v1/cutout", content=picture.read_bytes(), headers={"X-Api-Key": KEY}, timeout=60
    )
    assert (tmp_path / "out.png").read_bytes() == plain.content
