"""Dockerfile, locks and compose file: held against the tools and schemas of those who read them."""

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

from app.settings import Settings
from tests.journeys.dockerfile import closure, stages_of

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "docker/locks"
IMAGES = ("cpu", "openvino", "cuda")
COMPOSE = ROOT / "docker-compose.yml"


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


def requirements(lock: str) -> dict[str, list[str]]:
    """Return the lines of a lock by package: the requirement, then its hashes; comments are left out."""
    found: dict[str, list[str]] = {}
    text = re.sub(r"^#.*\n", "", (LOCKS / f"{lock}.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for entry in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        found.setdefault(canonical(Requirement(requirement).name), []).extend([requirement, *hashes])
    return found


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package that a lock means for this Python."""
    found = {}
    for lines in requirements(lock).values():
        for requirement in (Requirement(line) for line in lines if "==" in line):
            if requirement.marker is None or requirement.marker.evaluate():
                found[str(canonical(requirement.name))] = str(requirement.specifier).removeprefix("==")
    return found


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([tool("hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("", 0)


def test_hadolint_would_have_something_to_say(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nENTRYPOINT cutout serve\n")
    done = subprocess.run([tool("hadolint"), str(tmp_path / "Dockerfile")], capture_output=True, text=True)

    assert {"DL3007", "DL3025"} <= set(re.findall(r"DL\d+", done.stdout))


@pytest.mark.parametrize("broken", [False, True])
def test_the_compose_file_keeps_to_the_specification(tmp_path: Path, *, broken: bool) -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    (tmp_path / "docker-compose.yml").write_text(text.replace("mem_limit", "memlimit") if broken else text)
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(tmp_path / "docker-compose.yml")], capture_output=True, text=True)

    assert (done.returncode != 0) == broken, done.stdout


def test_every_pin_has_its_hashes_and_no_address() -> None:
    for lock in (*IMAGES, "export", "build", "torch"):
        for name, lines in requirements(lock).items():
            assert any(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", line) for line in lines), name
        assert "://" not in (LOCKS / f"{lock}.txt").read_text(encoding="utf-8")


def test_images_are_made_of_the_same_versions_but_for_the_runtime_of_the_network() -> None:
    common = {n: v for n, v in pins("cpu").items() if not n.startswith("onnxruntime")}

    for image in IMAGES:
        assert common.items() <= pins(image).items()
    assert "onnxruntime-openvino" in pins("openvino")
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13"} <= set(pins("cuda"))
    assert not any(name.startswith("nvidia") for name in pins("cpu"))


def test_what_the_service_asks_for_is_in_every_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [Requirement(line) for line in project["dependencies"]]
    for requirement in (each for each in asked if not each.name.startswith("onnxruntime")):
        for image in IMAGES:
            assert requirement.specifier.contains(pins(image)[canonical(requirement.name)]), requirement


def test_the_export_is_pinned_to_the_torch_that_make_takes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert f"torch=={pins('torch')['torch']}\n" in makefile


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_without_what_the_others_need(image: str) -> None:
    needed = closure(stages_of(ROOT / "Dockerfile"), image)

    assert needed == {"export", "wheel", f"install-{image}", "runtime", image}


def test_a_gpu_is_reserved_and_a_silent_cpu_refused() -> None:
    (device,) = services()["cutout"]["deploy"]["resources"]["reservations"]["devices"]

    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services()["cutout"]["environment"]["CUTOUT_DEVICE"] == "cuda"
    assert "profiles" not in services()["cutout"]


def test_each_image_has_its_service_and_its_profile() -> None:
    built = {name: each["build"]["target"] for name, each in services().items() if "build" in each}

    assert built == {"cutout": "cuda", "cutout-cpu": "cpu", "cutout-openvino": "openvino"}
    assert services()["cutout-cpu"]["profiles"] == ["cpu"]
    assert services()["cutout-openvino"]["profiles"] == ["openvino"]


def test_every_service_is_bounded_and_may_write_nothing_but_its_volumes() -> None:
    for name, service in services().items():
        assert service["mem_limit"], name
        assert service["ulimits"]["nofile"], name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name


def test_a_container_has_time_to_drain() -> None:
    lifecycle = Settings().lifecycle
    for name, service in services().items():
        given_s = float(service["stop_grace_period"].removesuffix("s"))
        assert given_s >= lifecycle.drain_delay_s + lifecycle.drain_timeout_s + 1, name


def test_everything_that_compose_can_be_told_is_explained_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))
    explained = dict(
        re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert explained == used
    assert not re.findall(r"\$\{\w+\}", COMPOSE.read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git on this machine")
def test_a_filled_in_env_file_is_never_committed() -> None:
    done = subprocess.run(["git", "check-ignore", "--quiet", ".env"], cwd=ROOT)

    assert done.returncode == 0
