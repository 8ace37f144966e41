"""The scripts for leaving remove.bg, run as a person runs them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.packages import install, npm_package

pytestmark = pytest.mark.journey
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "deploy/removebg"
SERVER = "https://cutout.example"

SOURCES = {
    "cut.sh": 'curl -H "X-Api-Key: $REMOVE_BG_API_KEY" -F size=auto https://api.remove.bg/v1.0/removebg',
    "cut.py": "import os\nfrom removebg import RemoveBg\nclient = RemoveBg(os.environ['KEY'], 'error.log')",
    "cut.ts": 'import { removeBackgroundFromImageFile } from "remove.bg";',
    "cut.rb": 'require "remove_bg"\nRemoveBg::Api::URL',
    "Cut.java": 'URI.create("https://api.remove.bg/v1.0/account");\nform.add("shadow_type", "3D");',
    "package.json": '{"dependencies": {"remove.bg": "^1.3.0"}}',
    "requirements.txt": "requests\nremovebg==0.4",
}
UNRELATED = {
    "notes.md": "The function removes_background() has an image_url and a shadow.",
    "add.py": "add_shadow = True\nimage_url = None",
    "node_modules/remove.bg/index.js": 'const API_ENDPOINT = "https://api.remove.bg/v1.0/removebg";',
}


def find(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command: tuple[str | Path, ...] = (
        sys.executable,
        SCRIPTS / "find_usages.py",
        folder,
        "--server",
        SERVER,
        *more,
    )
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("name", SOURCES)
def test_each_kind_of_call_is_found_with_what_to_do(name: str, tmp_path: Path) -> None:
    write(tmp_path, {name: SOURCES[name]})
    done = find(tmp_path)

    assert done.returncode == 0
    assert f"{tmp_path / name}:" in done.stdout
    assert SERVER in done.stdout or "dependencies" in done.stdout


def test_the_lines_and_actions_are_those_of_the_calls(tmp_path: Path) -> None:
    write(tmp_path, SOURCES)
    found = json.loads(find(tmp_path, "--json").stdout)
    by_file: dict[str, list[tuple[int, str]]] = {Path(each["path"]).name: [] for each in found}
    for each in found:
        by_file[Path(each["path"]).name].append((each["line"], each["kind"]))

    assert by_file == {
        "Cut.java": [(1, "change"), (1, "check"), (2, "check")],
        "cut.py": [(2, "change")],
        "cut.rb": [(1, "change"), (2, "change")],
        "cut.sh": [(1, "change"), (1, "change")],
        "cut.ts": [(1, "change")],
        "package.json": [(1, "check")],
        "requirements.txt": [(2, "check")],
    }


def test_unrelated_code_and_installed_packages_are_not_reported(tmp_path: Path) -> None:
    write(tmp_path, UNRELATED)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\0api.remove.bg")
    done = find(tmp_path)

    assert done.returncode == 1
    assert "0 places to change and 0 to check, in 0 files." in done.stdout


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    done = find(tmp_path / "none")

    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_the_smoke_test_says_that_nothing_listens() -> None:
    command = (sys.executable, SCRIPTS / "smoke_test.py", "http://127.0.0.1:9")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "cannot be reached" in done.stdout


@pytest.mark.whole
def test_the_calls_of_public_clients_are_found_in_their_sources(tmp_path: Path) -> None:
    install(tmp_path / "python", "--no-deps", "removebg==0.4")
    package = npm_package("remove.bg@1.3.0", tmp_path)
    write(tmp_path, {"shell/cut.sh": SOURCES["cut.sh"]})
    clients = (tmp_path / "python", package / "dist", tmp_path / "shell")  # npm has only what was built
    found = {
        client: [Path(each["path"]) for each in json.loads(find(client, "--json").stdout)]
        for client in clients
    }
    texts = {path: path.read_text(errors="replace") for client in clients for path in files_of(client)}
    calls = {path for path, text in texts.items() if "api.remove.bg" in text}

    assert len(calls) >= len(clients)
    assert calls <= {path for paths in found.values() for path in paths}
    assert all(found.values())


@pytest.mark.parametrize("script", ["find_usages.py", "smoke_test.py"])
def test_the_scripts_have_the_syntax_of_python_3_9(script: str) -> None:
    ast.parse((SCRIPTS / script).read_text(), feature_version=(3, 9))
