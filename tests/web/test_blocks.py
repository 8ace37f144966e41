"""The code blocks of the README and the pages: each command runs here, or is named in ``NOT_RUN``."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.blocks import NOT_RUN, ROOT, Block, blocks, program_of, reason_not_to_run
from tests.networks import redness_model
from tests.onnx_import import graphs
from tests.pictures import jpeg, photo, png
from tests.web.conftest import Live, serving, settings_with

pytestmark = [pytest.mark.process, pytest.mark.slow]
BLOCKS = blocks()
SERVERS = (
    *("http://127.0.0.1:8000", "http://host:8000", "https://your-host", "https://cutout.example"),
    "https://api.remove.bg/v1.0",
)
"""What stands for the address of a server; the last is what clients of remove.bg replace."""
BROWSER = """
import { readFileSync } from "node:fs";
const file = new Blob([readFileSync("photo.jpg")], { type: "image/jpeg" });
globalThis.createImageBitmap = async (blob) => {
  if (!blob.type.startsWith("image/")) throw new Error(`not a picture: ${blob.type}`);
  return { width: 480, height: 360, close() {} };
};
"""
"""What a browser has and Node has not, for the blocks in JavaScript."""


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def runnable(block: Block) -> list[str]:
    return [command for command in block.commands if reason_not_to_run(command) is None]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fast models with the names that the blocks use."""
    made = tmp_path_factory.mktemp("models")
    for name in ("u2netp", "u2net", "mine"):
        redness_model(made, name)
    return made


@pytest.fixture(scope="module")
def live(models_dir: Path) -> Iterator[Live]:
    settings = settings_with(models_dir)
    web = settings.web.model_copy(update={"cors_origins": "https://shop.example"})
    with serving(settings.model_copy(update={"web": web})) as served:
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the blocks name."""
    picture = photo(360, 480)
    for name in (
        "photo.jpg",
        "photos/one.jpg",
        "photos/two.jpg",
        "catalogue/shoes/three.jpg",
        "inbox/four.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(picture))
    (tmp_path / "alpha.png").write_bytes(png(picture[:, :, 0]))
    with ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("one.jpg", jpeg(picture))
    code = tmp_path / "path" / "to" / "your" / "code"
    code.mkdir(parents=True)
    (code / "cut.py").write_text("URL = 'https://api.remove.bg/v1.0/removebg'\n")
    (tmp_path / "network.onnx").write_bytes(graphs.dynamic().SerializeToString())
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    for name in ("docs", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(command: str, folder: Path, live: Live, models_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a block with the address of the server in place of the one that it names."""
    for server in SERVERS:
        command = command.replace(server, f"http://127.0.0.1:{live.port}")
    command = re.sub(r"^curl ", "curl --fail-with-body --silent --show-error ", command)
    if program_of(command).startswith("cutout models add"):
        command = re.sub(r"( +#|$)", r" --yes\1", command, count=1)  # there is no terminal to ask on
    if "--watch" in command:
        command = f"exec {command}"  # so that Ctrl-C ends no shell before the command
    with subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=environment(models_dir if "models add" not in command else folder / "models"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        if "--watch" in command:
            stop_once_written(process, folder / "done")
        output, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def environment(models: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    variables = {"CUTOUT_MODELS_DIR": str(models), "CUTOUT_MODELS": "u2netp", "CUTOUT_PRECISION": "float32"}
    programs = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, **variables, "PATH": programs, "NO_PROXY": "127.0.0.1", "KEY": "none"}


def stop_once_written(process: "subprocess.Popen[str]", results: Path) -> None:
    """Press Ctrl-C, as it were, when a folder has its first result."""
    give_up_at_s = time.monotonic() + 120
    while not list(results.glob("*.png")) and process.poll() is None and time.monotonic() < give_up_at_s:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)


def check_results(command: str, folder: Path) -> None:
    """Check that the files after ``-o`` are pictures or archives, as their suffixes say."""
    for name in re.findall(r" -o ([\w/.-]+)", command):
        files = (
            [folder / name]
            if "." in name
            else [path for path in (folder / name).rglob("*") if path.is_file()]
        )
        assert files, name
        for file in files:
            content = file.read_bytes()
            if file.suffix == ".zip":
                assert ZipFile(BytesIO(content)).testzip() is None
            else:
                Image.open(BytesIO(content)).load()


@pytest.mark.parametrize("block", [block for block in of("sh") if runnable(block)], ids=str)
def test_the_commands_of_a_block_run(block: Block, folder: Path, live: Live, models_dir: Path) -> None:
    for command in runnable(block):
        name = program_of(command).split()[0]
        if name in ("curl", "zip", "kubectl") and shutil.which(name) is None:
            pytest.skip(f"{name} is not on this machine")
        done = run(command, folder, live, models_dir)
        stopped = 130 if "--watch" in command else 0

        assert stopped == done.returncode, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        check_results(command, folder)


@pytest.mark.parametrize("block", of("js"), ids=str)
def test_a_block_in_javascript_runs(block: Block, folder: Path, live: Live) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    text = block.text
    for server in SERVERS:
        text = text.replace(server, f"http://127.0.0.1:{live.port}")
    (folder / "block.mjs").write_text(BROWSER + text)
    done = subprocess.run(["node", "block.mjs"], cwd=folder, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_a_block_in_python_runs(block: Block, folder: Path, live: Live) -> None:
    text = block.text
    for server in SERVERS:
        text = text.replace(server, f"http://127.0.0.1:{live.port}")
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    check_results(" ".join(f"-o {name}" for name in re.findall(r'"([\w-]+\.png)"', text)), folder)


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_a_block_in_toml_is_well_formed(block: Block) -> None:
    assert tomllib.loads(block.text)


def test_the_report_of_a_batch_has_the_members_of_its_example(live: Live) -> None:
    (block,) = of("json")
    example = json.loads(block.text)
    upload = {"image": ("shoe.jpg", jpeg(photo(40, 50)))}
    broken = {"image": ("broken.jpg", jpeg(photo(40, 50))[:-300])}
    response = live.client.post("/v1/batch", files=[*upload.items(), *broken.items()])
    report = json.loads(ZipFile(BytesIO(response.content)).read("report.json"))
    items = {item["status"]: item for item in report["items"]}

    assert set(example) == set(report)
    assert [200, 422, 304] == [item["status"] for item in example["items"]]
    for item in example["items"][:2]:
        assert set(item) <= set(items[item["status"]]), item


def test_every_block_has_a_language_that_these_tests_run() -> None:
    assert {block.language for block in BLOCKS} <= {"sh", "js", "python", "toml", "json"}


def test_each_reason_not_to_run_is_needed() -> None:
    programs = [program_of(command) for block in of("sh") for command in block.commands]

    assert [start for start in NOT_RUN if not any(each.startswith(start) for each in programs)] == []


def test_commands_that_do_not_run_have_targets_and_options_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    folders = ("model_export", "benchmarks")
    sources = "".join(path.read_text() for name in folders for path in (ROOT / name).rglob("*.py"))
    not_run = [program_of(each) for block in of("sh") for each in block.commands if reason_not_to_run(each)]
    targets = {each.split()[1] for each in not_run if each.startswith("make ")}
    options = {
        option
        for each in not_run
        if each.startswith(("python -m", "… train", "make bench"))
        for option in re.findall(r"(--[a-z-]+)", each)
    }

    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    assert [option for option in options if f'"{option}"' not in sources] == []
