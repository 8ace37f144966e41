import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from app.web.endpoints.playground import read_files
from tests.journeys.packages import UV

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements_in(name: str) -> set[str]:
    lines = (ROOT / "model_export" / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_the_export_requirements_match_the_export_extra() -> None:
    required = requirements_in("requirements.txt")
    shared = {
        line
        for line in PROJECT["dependencies"]
        if line.split(">=")[0] in {"httpx", "numpy", "pillow", "rich"}
    }

    assert required | {"torch==2.13.0"} == set(PROJECT["optional-dependencies"]["export"]) | shared


def test_the_evaluation_requirements_match_the_service_and_the_evaluate_extra() -> None:
    runtimes = {line for line in PROJECT["dependencies"] if line.startswith("onnxruntime")}
    required = requirements_in("requirements-evaluate.txt")
    in_both = {line for line in requirements_in("requirements.txt") if line in PROJECT["dependencies"]}

    assert required | in_both == (
        set(PROJECT["dependencies"]) - runtimes | set(PROJECT["optional-dependencies"]["evaluate"])
    )


def test_the_service_never_installs_torch_or_onnx() -> None:
    extras = [extra for extra in PROJECT["optional-dependencies"] if extra not in ("export", "models", "dev")]
    names = [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra]),
    ]

    assert not [name for name in names if re.match(r"torch|onnx\b(?!runtime)", name)]


def test_adding_models_installs_onnx_and_no_torch() -> None:
    assert ["onnx>=1.23"] == PROJECT["optional-dependencies"]["models"]


def test_each_platform_installs_exactly_one_onnxruntime() -> None:
    lines = [line for line in PROJECT["dependencies"] if line.startswith("onnxruntime")]
    markers = [line.partition(";")[2] for line in lines]
    machines = [
        ("x86_64", "linux"),
        ("AMD64", "win32"),
        ("aarch64", "linux"),
        ("arm64", "darwin"),
        ("x86_64", "darwin"),
    ]

    for machine, system in machines:
        chosen = [eval(marker, {"platform_machine": machine, "sys_platform": system}) for marker in markers]
        assert chosen.count(True) == 1


@pytest.mark.process
@pytest.mark.slow
def test_the_wheel_contains_the_page(tmp_path: Path) -> None:
    command = [UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"the wheel cannot be built, which needs hatchling: {done.stderr[-200:]}")
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {f"app/web/page/{name}" for name in read_files()} <= names
