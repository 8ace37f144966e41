"""ONNX Runtime as the loader imports it: with telemetry disabled, it writes nothing to the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD_AND_RUN = """
import sys
from app.engine.models.device import CPU, Probe
from app.engine.clock import SystemClock
from app.engine.models.loading import Loader
from pathlib import Path
loader = Loader(Path(sys.argv[1]), device="cpu", probe=Probe((CPU,), None), threads=1, max_batch=1,
                clock=SystemClock())
loader.load("u2netp")
import os
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
PLAIN = "import onnxruntime"


def _files_left(program: str, folder: Path, models_dir: Path) -> list[str]:
    """Run a program whose home and temporary folder are ``folder``, and return the files it left there."""
    # CI and ORT_DISABLE_TELEMETRY disable the library's telemetry by themselves.
    kept = {n: v for n, v in os.environ.items() if n not in ("CI", "ORT_DISABLE_TELEMETRY", "GITHUB_ACTIONS")}
    folders = dict.fromkeys(
        ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(folder)
    )
    environment = {**kept, **folders, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program, str(models_dir)], env=environment, check=True)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_loader_writes_nothing_to_the_disk(models_dir: Path, tmp_path: Path) -> None:
    assert _files_left(LOAD_AND_RUN, tmp_path, models_dir) == []


def test_a_plain_import_writes_to_the_disk(models_dir: Path, tmp_path: Path) -> None:
    """If this fails, the test above proves nothing: the library writes its files elsewhere."""
    left = _files_left(PLAIN, tmp_path, models_dir)
    if not left:
        pytest.skip("this build of ONNX Runtime writes nothing to the disk")

    assert ".ses" in " ".join(left)
