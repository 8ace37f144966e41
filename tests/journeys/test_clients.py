"""Third-party clients, unmodified, against the real server behind TLS; their results must equal those of /v1.

The test run installs the clients, and skips their tests if that fails. A patched resolver of Python and of
Node maps host names to this machine, like a hosts file.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.journeys.conftest import ROOT, Server
from tests.journeys.packages import install
from tests.journeys.tls_proxy import tls_proxy
from tests.pictures import opened

pytestmark = pytest.mark.journey
PICTURE = ROOT / "docs/images/astronaut.jpg"
HOST, PROXY, KEY = "api.remove.bg", "127.0.0.2", "an-account-s-key"
PYTHON_CLIENTS = ("removebg==0.4", "remove-bg-api==0.2.1", "removebg-cli==1.0.0")
NODE_CLIENTS = ("remove.bg@1.3.0", "removebg-id@2.0.1")

PYTHON_HOSTS = f"""
import socket
find, names = socket.getaddrinfo, {{"{HOST}": "{PROXY}"}}
socket.getaddrinfo = lambda host, *more, **named: find(names.get(host, host), *more, **named)
"""
NODE_HOSTS = f"""
const dns = require("dns"), find = dns.lookup;
dns.lookup = (host, ...more) => find(host === "{HOST}" ? "{PROXY}" : host, ...more);
"""


@dataclass(frozen=True)
class Stage:
    """A server behind a TLS proxy, and a working directory."""

    url: str
    folder: Path
    trusted: Path

    def run(self, *command: str | Path, **environment: str) -> str:
        """Run a client, and return its output."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def python(self, program: str, clients: Path) -> str:
        """Run a Python program with the clients."""
        (self.folder / "sitecustomize.py").write_text(PYTHON_HOSTS)
        path = os.pathsep.join((str(self.folder), str(clients)))
        trust = str(self.trusted)
        return self.run(
            sys.executable, "-c", program, PYTHONPATH=path, REQUESTS_CA_BUNDLE=trust, REMOVE_BG_API_KEY=KEY
        )

    def node(self, program: str, clients: Path) -> str:
        """Run a Node program with the clients."""
        (self.folder / "hosts.cjs").write_text(NODE_HOSTS)
        (self.folder / "main.cjs").write_text(program)
        return self.run(
            "node",
            *("--require", self.folder / "hosts.cjs", "main.cjs"),
            NODE_PATH=str(clients / "node_modules"),
            NODE_EXTRA_CA_CERTS=str(self.trusted),
        )

    def of_v1(self, **options: str) -> NDArray[np.uint8]:
        """Return the result of /v1 for the picture."""
        response = httpx.post(
            f"{self.url}/v1/cutout",
            content=PICTURE.read_bytes(),
            params=options,
            headers={"X-Api-Key": KEY},
            timeout=120,
        )
        assert response.status_code == 200
        return opened(response.content)

    def written(self, name: str) -> NDArray[np.uint8]:
        """Return a picture that a client has written."""
        return opened((self.folder / name).read_bytes())


@pytest.fixture
def stage(serve: Callable[..., Server], tmp_path: Path) -> Iterator[Stage]:
    server = serve("--model", "u2netp", CUTOUT_ACCESS__KEY_HASHES=hashlib.sha256(KEY.encode()).hexdigest())
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    shutil.copy(PICTURE, tmp_path / "in.jpg")
    with tls_proxy(HOST, PROXY, (host, int(port)), tmp_path) as trusted:
        yield Stage(f"http://{host}:{port}", tmp_path, trusted)


@pytest.fixture(scope="module")
def python_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("python")
    install(folder, *PYTHON_CLIENTS)
    install(folder, "--no-deps", "napari-rembg==0.0.7", "withoutbg==1.3.0")
    return folder


@pytest.fixture(scope="module")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine")
    folder = tmp_path_factory.mktemp("node")
    npm = ("npm", "install", "--silent", "--no-audit", "--no-fund", *NODE_CLIENTS)
    done = subprocess.run(npm, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"npm's registry is out of reach: {done.stderr[-200:]}")
    return folder


def test_removebg_from_pypi(stage: Stage, python_clients: Path) -> None:
    text = base64.b64encode(PICTURE.read_bytes()).decode()
    (stage.folder / "in.b64").write_text(text)
    stage.python(
        f"""
from removebg import RemoveBg
client = RemoveBg("{KEY}", "error.log")
client.remove_background_from_img_file("in.jpg")
client.remove_background_from_base64_img(open("in.b64").read(), new_file_name="b64.png", bg_color="81d4fa")
""",
        python_clients,
    )

    assert np.array_equal(stage.written("in.jpg_no_bg.png"), stage.of_v1(megapixels="0.25"))
    over = stage.of_v1(megapixels="0.25", background="81d4fa", format="jpeg")
    assert np.array_equal(stage.written("b64.png"), over)


def test_remove_bg_api_from_pypi(stage: Stage, python_clients: Path) -> None:
    output = stage.python(
        f"""
from remove_bg_api import RemoveBg
client = RemoveBg("{KEY}")
client.remove_bg_file("in.jpg", out_path="file.png", raw=False)
open("bytes.png", "wb").write(client.remove_bg_bytes(open("in.jpg", "rb").read(), size="full"))
print("done", vars(client.account))
""",
        python_clients,
    )

    assert "done" in output
    assert np.array_equal(stage.written("file.png"), stage.of_v1(megapixels="0.25"))
    assert np.array_equal(stage.written("bytes.png"), stage.of_v1())


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("-f", "png", "-c", "--shadow"), {"crop": "true"}),
        (("-f", "png", "-b", "ff0000", "-s", "preview"), {"background": "red", "megapixels": "0.25"}),
        (("-f", "jpg", "-b", "white"), {"background": "white", "format": "jpeg"}),
        (("-f", "webp"), {"format": "webp"}),
    ],
    ids=str,
)
def test_removebg_cli_from_pypi(
    stage: Stage, python_clients: Path, arguments: tuple[str, ...], options: dict[str, str]
) -> None:
    line = ["removebg", "in.jpg", "-o", "out.img", *arguments]
    stage.python(f"import sys, removebg_cli; sys.argv = {line!r}; removebg_cli.main()", python_clients)

    assert np.array_equal(stage.written("out.img"), stage.of_v1(**options))


def test_removebg_cli_from_pypi_shows_the_account(stage: Stage, python_clients: Path) -> None:
    output = stage.python(
        "import sys, removebg_cli; sys.argv = ['removebg', '--account']; removebg_cli.main()", python_clients
    )

    assert "1000000" in output.replace(",", "")


def test_remove_bg_from_npm(stage: Stage, node_clients: Path) -> None:
    output = stage.node(
        f"""
const fs = require("fs"), client = require("remove.bg");
const more = {{ apiKey: "{KEY}", size: "auto", type: "auto" }};
(async () => {{
  const picture = {{ path: "in.jpg", outputFile: "file.png", ...more }};
  const file = await client.removeBackgroundFromImageFile(picture);
  const base64img = fs.readFileSync("in.jpg").toString("base64");
  const text = {{ base64img, outputFile: "b64.png", ...more, size: "regular", crop: true }};
  const b64 = await client.removeBackgroundFromImageBase64(text);
  delete file.base64img;
  console.log(JSON.stringify(file));
}})().catch((error) => {{ console.error(JSON.stringify(error)); process.exit(1); }});
""",
        node_clients,
    )

    facts = json.loads(output.strip().splitlines()[-1])
    assert (facts["resultWidth"], facts["resultHeight"], facts["detectedType"]) == ("512", "512", "other")
    assert np.array_equal(stage.written("file.png"), stage.of_v1())
    assert np.array_equal(stage.written("b64.png"), stage.of_v1(megapixels="0.25", crop="true"))


def test_remove_bg_from_npm_reports_an_error(stage: Stage, node_clients: Path) -> None:
    output = stage.node(
        """
const client = require("remove.bg");
client.removeBackgroundFromImageFile({ path: "in.jpg", apiKey: "wrong" })
  .then(() => process.exit(1), (errors) => console.log(JSON.stringify(errors)));
""",
        node_clients,
    )

    assert json.loads(output.strip().splitlines()[-1])[0]["title"] == "API Key invalid"


def test_removebg_id_from_npm(stage: Stage, node_clients: Path) -> None:
    stage.node(f'require("removebg-id").FromPath("in.jpg", "{KEY}");', node_clients)

    assert np.array_equal(stage.written("hasil-path.png"), stage.of_v1())


def test_the_client_of_napari_rembg(
    serve: Callable[..., Server], python_clients: Path, tmp_path: Path
) -> None:
    """The module is loaded by its path, because the package imports napari; rembg's server has no keys."""
    url = serve("--model", "u2netp").url
    module = python_clients / "napari_rembg/segmentation_api_client.py"
    program = f"""
import importlib.util, numpy as np
from PIL import Image
spec = importlib.util.spec_from_file_location("client", {str(module)!r})
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)
picture = np.asarray(Image.open({str(PICTURE)!r}))
result = client.SegmentationAPIClient("{url}/api/remove").predict_via_api(picture)
np.save("result.npy", np.asarray(result))
"""
    environment = {**os.environ, "PYTHONPATH": str(python_clients)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=120)
    mask = httpx.post(
        f"{url}/v1/mask", content=PICTURE.read_bytes(), params={"threshold": "0.5"}, timeout=120
    )

    assert np.array_equal(np.load(tmp_path / "result.npy") > 0, opened(mask.content) == 255)


def test_the_client_of_withoutbg(stage: Stage, python_clients: Path) -> None:
    """The module is loaded into a stub package of the same name, because the real one imports a model hub."""
    program = f"""
import importlib, sys, types
package = types.ModuleType("withoutbg")
package.__path__ = [{str(python_clients / "withoutbg")!r}]
sys.modules["withoutbg"] = package
for absent in ("huggingface_hub", "tqdm", "tqdm.auto"):
    sys.modules.setdefault(absent, types.ModuleType(absent))
sys.modules["huggingface_hub"].hf_hub_download = None
api = importlib.import_module("withoutbg.api")
client = api.WithoutBGAPIClient({KEY!r}, base_url="https://{HOST}")
client.remove_background("in.jpg").save("out.png")
try:
    api.WithoutBGAPIClient("no key", base_url="https://{HOST}").remove_background("in.jpg")
except api.APIError as error:
    print(error)
"""
    output = stage.python(program, python_clients)

    assert "Invalid API key" in output
    assert np.array_equal(stage.written("out.png")[:, :, 3], stage.of_v1(channels="alpha"))


def test_the_address_in_each_client_is_found(
    python_clients: Path, node_clients: Path, tmp_path: Path
) -> None:
    shutil.copytree(node_clients / "node_modules/remove.bg", tmp_path / "remove.bg")
    for name in ("removebg", "remove_bg_api"):
        shutil.copytree(python_clients / name, tmp_path / name)
    command = (sys.executable, ROOT / "deploy/removebg/find_usages.py", tmp_path, "--json")
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    addresses = {each["path"] for each in found if "address of the remove.bg API" in each["meaning"]}

    assert {str(Path(path).relative_to(tmp_path)) for path in addresses} == {
        "remove.bg/index.js",
        "remove_bg_api/__init__.py",
        "removebg/removebg.py",
    }


def test_the_smoke_test_passes_with_the_key_alone(stage: Stage) -> None:
    script = ROOT / "deploy/removebg/smoke_test.py"
    output = stage.run(sys.executable, script, stage.url, "--key", KEY)
    refused = subprocess.run((sys.executable, script, stage.url), capture_output=True, text=True)

    assert "9 of 9 requests" in output
    assert refused.returncode == 1
    assert "cutout keys new" in refused.stdout
