"""The locks on arm64: every package has a wheel there, resolved from the package index without installing."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.images.conftest import ROOT
from tests.journeys.packages import UV

pytestmark = [pytest.mark.journey, pytest.mark.images]
RESOLVE = ("pip", "install", "--dry-run", "--no-deps", "--only-binary=:all:", "--python-version=3.12")


def resolved_on_arm64(lock: str, folder: Path) -> set[str]:
    """Return the packages that an arm64 build would install."""
    target = ("--python-platform=aarch64-manylinux_2_28", "--target", folder, "--require-hashes")
    command = (UV, *RESOLVE, *target, "--requirement", ROOT / f"docker/locks/{lock}.txt")
    done = subprocess.run(command, capture_output=True, text=True)
    if "dns error" in done.stderr or "Could not connect" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr[-1000:]
    return set(re.findall(r"^ \+ ([\w.-]+)==", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(("lock", "package"), [("cpu", "onnxruntime"), ("build", "pip"), ("export", "onnx")])
def test_the_cpu_image_can_be_built_on_arm64(lock: str, package: str, tmp_path: Path) -> None:
    assert package in resolved_on_arm64(lock, tmp_path)


@pytest.mark.parametrize(
    ("lock", "package"), [("openvino", "onnxruntime-openvino"), ("cuda", "onnxruntime-gpu")]
)
def test_openvino_and_cuda_have_no_wheels_for_arm64(lock: str, package: str, tmp_path: Path) -> None:
    """When this fails, docs/docker.md may promise these images for arm64."""
    assert package not in resolved_on_arm64(lock, tmp_path)
