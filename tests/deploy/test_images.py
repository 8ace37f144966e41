"""The Dockerfile, the lock files and the compose file, checked with linters and published schemas."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from app.settings import Settings, read_settings
from tests.deploy.dockerfile import closure, stages_of

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "docker/locks"
IMAGES = ("cpu", "openvino", "cuda")
COMPOSE = ROOT / "docker-compose.yml"


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def services() -> dict[str, Any]:
    by_name: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return by_name


def requirements(lock: str) -> dict[str, list[str]]:
    """Return the requirement and the hashes of each package in a lock file, without comments."""
    lines: dict[str, list[str]] = {}
    text = re.sub(r"^#.*\n", "", (LOCKS / f"{lock}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        lines.setdefault(canonical(Requirement(requirement).name), []).extend([requirement, *hashes])
    return lines


def pins(lock: str) -> dict[str, str]:
    """Return the version that a lock file pins for this Python, by package."""
    versions = {}
    for lines in requirements(lock).values():
        for requirement in (Requirement(line) for line in lines if "==" in line):
            if requirement.marker is None or requirement.marker.evaluate():
                versions[str(canonical(requirement.name))] = str(requirement.specifier).removeprefix("==")
    return versions


@pytest.mark.process
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    finished = subprocess.run([tool("hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True)

    assert (finished.stdout, finished.returncode) == ("", 0)


@pytest.mark.process
def test_hadolint_finds_mistakes(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nENTRYPOINT cutout serve\n")
    command = [tool("hadolint"), str(tmp_path / "Dockerfile")]
    finished = subprocess.run(command, capture_output=True, text=True)

    assert {"DL3007", "DL3025"} <= set(re.findall(r"DL\d+", finished.stdout))


@pytest.mark.process
@pytest.mark.parametrize("broken", [False, True])
def test_the_compose_file_matches_the_specification(tmp_path: Path, *, broken: bool) -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    (tmp_path / "docker-compose.yml").write_text(text.replace("mem_limit", "memlimit") if broken else text)
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    finished = subprocess.run(
        [*command, str(tmp_path / "docker-compose.yml")], capture_output=True, text=True
    )

    assert (finished.returncode != 0) == broken, finished.stdout


def test_every_pin_has_hashes_and_no_url() -> None:
    for lock in (*IMAGES, "export", "build", "torch"):
        for name, lines in requirements(lock).items():
            assert any(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", line) for line in lines), name
        assert "://" not in (LOCKS / f"{lock}.txt").read_text(encoding="utf-8")


def test_images_have_the_same_versions_except_for_onnxruntime() -> None:
    common = {n: v for n, v in pins("cpu").items() if not n.startswith("onnxruntime")}

    for image in IMAGES:
        assert common.items() <= pins(image).items()
    assert "onnxruntime-openvino" in pins("openvino")
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13"} <= set(pins("cuda"))
    assert not any(name.startswith("nvidia") for name in pins("cpu"))


def test_every_lock_satisfies_the_service_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = [Requirement(line) for line in project["dependencies"]]
    for requirement in (each for each in dependencies if not each.name.startswith("onnxruntime")):
        for image in IMAGES:
            assert requirement.specifier.contains(pins(image)[canonical(requirement.name)]), requirement


def test_the_lock_and_the_makefile_pin_the_same_torch() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert f"torch=={pins('torch')['torch']}\n" in makefile


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_without_the_stages_of_the_others(image: str) -> None:
    needed = closure(stages_of(ROOT / "Dockerfile"), image)

    assert needed == {"export", "tools", "wheel", f"packages-{image}", f"service-{image}", "runtime", image}


@pytest.mark.process
def test_an_image_serves_all_models_that_it_was_built_with(tmp_path: Path) -> None:
    """Runs the command of the build that lists them, in another folder."""
    (build,) = (rest for verb, rest in stages_of(ROOT / "Dockerfile")["export"].steps if "${MODELS}" in rest)
    command = build.split("&&")[-1].replace("/build/models", str(tmp_path))
    subprocess.run(["/bin/sh", "-c", command], check=True, env={"MODELS": "u2netp u2net"})

    assert read_settings(models_dir=tmp_path).models == ("u2netp", "u2net")


def test_the_gpu_service_reserves_a_gpu_and_requires_cuda() -> None:
    (device,) = services()["cutout"]["deploy"]["resources"]["reservations"]["devices"]

    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services()["cutout"]["environment"]["CUTOUT_DEVICE"] == "cuda"
    assert "profiles" not in services()["cutout"]


def test_each_image_has_its_service_and_its_profile() -> None:
    built = {name: each["build"]["target"] for name, each in services().items() if "build" in each}
    kinds = {"cutout": "cuda", "cutout-cpu": "cpu", "cutout-cpu-2": "cpu", "cutout-openvino": "openvino"}

    assert built == kinds
    assert services()["cutout-cpu"]["profiles"] == ["cpu", "pair"]
    assert services()["cutout-cpu-2"]["profiles"] == ["pair"]
    assert services()["cutout-openvino"]["profiles"] == ["openvino"]


def test_every_service_has_limits_and_a_read_only_file_system() -> None:
    for name, service in services().items():
        assert service["mem_limit"], name
        assert service["ulimits"]["nofile"], name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


def test_a_container_has_time_to_drain() -> None:
    lifecycle = Settings().lifecycle
    for name, service in services().items():
        grace_s = float(service["stop_grace_period"].removesuffix("s"))
        assert grace_s >= lifecycle.drain_delay_s + lifecycle.drain_timeout_s + 1, name


def test_every_compose_variable_is_documented_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))
    documented = dict(
        re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert documented == used
    assert not re.findall(r"\$\{\w+\}", COMPOSE.read_text(encoding="utf-8"))


@pytest.mark.process
@pytest.mark.skipif(shutil.which("git") is None, reason="this machine has no git")
def test_git_ignores_the_env_file() -> None:
    finished = subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT)

    assert finished.returncode == 0
