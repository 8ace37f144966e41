"""Why CUDA cannot be used, and that the page for GPU hosts has each sentence with the next step."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.engine.models.device import obstacle_of, why_cuda_is_out_of_reach

PAGE = (Path(__file__).parents[3] / "docs" / "docker.md").read_text(encoding="utf-8")
TOO_OLD = "the NVIDIA driver is too old: it is for CUDA 12.2, and onnxruntime needs CUDA 13.0"
OBSTACLES = [
    (0, 12020, 1, "13.0", TOO_OLD),
    (803, 12020, 0, "13.0", TOO_OLD),  # an old driver may refuse to start, too: its age is the cause
    (100, 13000, 0, "13.0", "the NVIDIA driver does not start (cuInit returned 100)"),
    (999, None, 0, "13.0", "the NVIDIA driver does not start (cuInit returned 999)"),
    (0, 13000, 0, "13.0", "the NVIDIA driver has no device"),
]


@pytest.mark.parametrize(("status", "version", "devices", "needed", "sentence"), OBSTACLES)
def test_an_obstacle_is_named_with_the_next_step(
    status: int, version: int | None, devices: int, needed: str, sentence: str
) -> None:
    found = obstacle_of(init_status=status, version=version, devices=devices, needed=needed)

    assert found is not None
    assert found.startswith(sentence)
    assert any(step in found for step in ("install a newer driver", "run nvidia-smi"))


@pytest.mark.parametrize(
    ("version", "needed"), [(13000, "13.0"), (13000, "13.2"), (14010, "13.0"), (12020, None), (None, "13.0")]
)
def test_a_driver_of_the_same_major_version_or_a_newer_one_is_no_obstacle(
    version: int | None, needed: str | None
) -> None:
    assert obstacle_of(init_status=0, version=version, devices=1, needed=needed) is None


@pytest.mark.skipif(why_cuda_is_out_of_reach() is None, reason="this machine has a GPU")
@pytest.mark.skipif(sys.platform != "linux", reason="the test makes a library of Linux")
@pytest.mark.process
def test_the_functions_of_the_driver_are_called_as_cuda_declares_them(tmp_path: Path) -> None:
    """A driver in C that is for CUDA 12.2 and has two devices."""
    source = tmp_path / "cuda.c"
    source.write_text(
        "int cuInit(unsigned flags) { return 0; }\n"
        "int cuDriverGetVersion(int *version) { *version = 12020; return 0; }\n"
        "int cuDeviceGetCount(int *count) { *count = 2; return 0; }\n"
    )
    library = tmp_path / "libcuda.so.1"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("this machine has no C compiler")
    program = "from app.engine.models.device import why_cuda_is_out_of_reach as why; print(why())"
    command = [sys.executable, "-c", program]
    environment = {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    assert done.stdout.startswith((TOO_OLD, "this build of onnxruntime")), done.stderr


@pytest.mark.parametrize(
    "sentence", sorted({each[-1].partition(" (cu")[0] for each in OBSTACLES} | {"libcuda"})
)
def test_the_page_for_gpu_hosts_has_each_sentence(sentence: str) -> None:
    assert sentence.partition(":")[0] in PAGE
