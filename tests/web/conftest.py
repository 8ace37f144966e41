"""Runs the service with a fast model on a real socket, in a thread of the test process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.cli.worker import connection_limits_of
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings
from app.web.connection import Connection
from app.web.service import Service
from tests.networks import redness_model
from tests.web.stub_server import StubServer, stub_servers


@dataclass
class Live:
    """A running service and its HTTP client."""

    service: Service
    client: httpx.Client
    port: int


@contextmanager
def serving(settings: Settings) -> Iterator[Live]:
    """Run the service in a thread during the block; it is ready at the start of the block."""
    configure_logs("json")
    app = create_app(settings)
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        port=0,
        http=partial(Connection, connection_limits_of(service)),  # type: ignore[arg-type] # called like the class
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up_at_s = time.monotonic() + 180
    while service.pipeline is None or not server.started:
        assert time.monotonic() < give_up_at_s, service.failure
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        yield Live(service, client, port)
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of fast models with the names of the real ones: these tests judge HTTP and not maps."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("u2netp", "u2net"):
        redness_model(folder, name)
    return folder


@pytest.fixture(scope="session")
def live(models_dir: Path) -> Iterator[Live]:
    """The service with a fast model, ready to serve."""
    with serving(settings_with(models_dir)) as served:
        yield served


@pytest.fixture(scope="session")
def live_u2netp(exported_models_dir: Path) -> Iterator[Live]:
    """The service with the real u2netp, for tests that depend on its map or on how long it takes."""
    with serving(settings_with(exported_models_dir)) as served:
        yield served


def settings_with(models_dir: Path, **more: Any) -> Settings:
    """Return the settings of a service on the CPU, with limits that a test can reach."""
    return Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        limits={"picture_pixels": 13_000_000, "upload_bytes": 4_000_000},
        **more,
    )


@pytest.fixture
def start_server() -> Iterator[Callable[..., StubServer]]:
    """Starts stub servers with custom connection limits."""
    with stub_servers() as start:
        yield start
