"""Runs commands in this process, with a fast model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.commands import cutout
from app.logs import configure_logs
from tests.networks import redness_model

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def fast_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fast model named u2netp."""
    folder = tmp_path_factory.mktemp("models")
    redness_model(folder, "u2netp")
    return folder


@pytest.fixture
def command(fast_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Run ``cutout`` in an empty working directory, with a wide terminal."""
    monkeypatch.chdir(tmp_path)
    environment = {
        "CUTOUT_MODELS_DIR": str(fast_models),
        "CUTOUT_MODELS": "u2netp",
        "CUTOUT_DEVICE": "cpu",
        "COLUMNS": "200",
    }

    def run(*arguments: str, stdin: bytes | None = None, prog_name: str = "cutout", **more: str) -> Result:
        return CliRunner().invoke(
            cutout,
            list(arguments),
            input=stdin,
            env={**environment, **more},
            catch_exceptions=False,
            prog_name=prog_name,
        )

    yield run
    configure_logs("json")  # the log must not keep the runner's stderr
