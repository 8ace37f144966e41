import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from app.web.endpoints.playground import read_files
from tests.journeys.packages import build_packages

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL_BYTES = 1_000_000  # 0.65 MB; a model, a test's picture or a video would exceed it
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


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    return build_packages(tmp_path_factory.mktemp("dist"))


def names_in_the_wheel(packages: Path) -> set[str]:
    (wheel,) = packages.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.process
@pytest.mark.slow
def test_the_wheel_is_the_package_alone(packages: Path) -> None:
    files = (path for path in (ROOT / "app").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    (wheel,) = packages.glob("*.whl")
    kept = {str(path.relative_to(ROOT)) for path in files}
    others = names_in_the_wheel(packages) - kept

    assert kept <= names_in_the_wheel(packages)
    assert {f"app/web/page/{name}" for name in read_files()} <= kept
    assert {name.split("/", 1)[1] for name in others} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


@pytest.mark.process
@pytest.mark.slow
def test_the_sdist_has_what_the_wheel_is_built_from(packages: Path) -> None:
    (sdist,) = packages.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    top = {name.partition("/")[0] for name in names}

    assert top == {"app", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert {name for name in names_in_the_wheel(packages) if name.startswith("app/")} <= names
