"""Fixtures that every folder may use: real models and reference pictures; and which tests are unit tests.

A test is a unit test if none of its markers and fixtures says that it needs more than this process. A unit
test that starts a process or opens a socket fails, so `make unit` stays fast and needs no network.
"""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from tests.generated import load_profile
except ImportError:  # the environments for torch and Ray have no Hypothesis
    pass
else:
    load_profile()

ROOT = Path(__file__).resolve().parents[1]
MODELS_DIR = ROOT / "models"
LARGE_MARKERS = {"journey", "torch", "ray", "gpu", "images", "page", "whole", "slow", "process"}
LARGE_FIXTURES = {
    "exported_models_dir",
    "models_dir",
    "weights_folder",
    "shared_data",
    "start_server",
    "hosts",
    "server",
}
REFUSED_EVENTS = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "socket.bind", "socket.connect"}
_in_unit_test = False


def pytest_configure(config: pytest.Config) -> None:
    """Serve float32 by default, and watch for the events that a unit test must not cause."""
    # By default the server compares precisions at its start, and which one is faster depends on the machine.
    os.environ["CUTOUT_PRECISION"] = "float32"
    every_thread = config.option.markexpr == "unit"  # else threads of an earlier test may start processes

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event in REFUSED_EVENTS and _in_unit_test and (every_thread or _is_main_thread()):
            raise RuntimeError(f"a unit test caused {event}: mark it with @pytest.mark.process")

    sys.addaudithook(refuse)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the unit tests."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if not LARGE_FIXTURES & fixtures and not LARGE_MARKERS & {mark.name for mark in item.iter_markers()}:
            item.add_marker("unit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Refuse processes and sockets while a unit test runs."""
    global _in_unit_test
    _in_unit_test = item.get_closest_marker("unit") is not None
    try:
        return (yield)
    finally:
        _in_unit_test = False


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@pytest.fixture(scope="session")
def models_dir(exported_models_dir: Path) -> Path:
    """The models that a folder's tests use: the exported ones, unless its conftest.py overrides this."""
    return exported_models_dir


@pytest.fixture(scope="session")
def exported_models_dir() -> Path:
    """The folder of exported models; ``make test`` fills it."""
    if not (MODELS_DIR / "u2netp" / "manifest.json").exists():
        pytest.fail(
            "models/u2netp is missing: run the tests by `make test`, or first `make export MODEL=u2netp`"
        )
    return MODELS_DIR


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference pictures outside the repository; without it, the test is skipped."""
    folder = Path(os.environ.get("CUTOUT_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the reference pictures are not on this machine (CUTOUT_TEST_DATA)")
    return folder
