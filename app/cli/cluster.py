"""Cluster: the service on Ray Serve, one whole server a replica.

    serve run app.cli.cluster:cutout             or: python -m app.cli.cluster

Ray routes, counts, scales and restarts; batching, admission, deadlines and the answers are the replica's
own, as they are in ``cutout serve``. Rule: none of Ray's batching (``@serve.batch``), which would queue what
is queued already. Needs the extra ``ray``. What the front door of ``cutout serve`` does for slow and hostile
clients (``app/web/connection.py``) is not there, since Ray has its own: put a proxy before it.
"""

import os
import signal
from typing import Any

import typer
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.cli.worker import serve_metrics, tune_process
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings, read_settings
from app.web.endpoints.health import check_alive
from app.web.service import Service

LONGER_S = 5.0
"""What Ray waits beyond the service's own deadlines, so that the service is the one that answers."""


class Cluster(BaseModel):
    """How many replicas there may be and what each needs; ``serve run`` takes these as NAME=VALUE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(1, ge=0, description="Replicas that are always there.")
    max_replicas: int = Field(4, ge=1, description="Replicas at most.")
    ongoing: float = Field(
        4, gt=0, description="Requests each is to have at a time; with more, one is added."
    )
    cpus: float = Field(2, gt=0, description="Cores that Ray sets aside for a replica.")
    gpus: float = Field(0, ge=0, description="GPUs that Ray sets aside for a replica.")
    upscale_delay_s: float = Field(10, ge=0, description="Time for which there must be too few.")
    downscale_delay_s: float = Field(300, ge=0, description="Time for which there must be too many.")


class Server:
    """A replica: the application of ``cutout serve``, with its own engine."""

    app: FastAPI  # Ray's wrapper has it

    def check_health(self) -> None:
        """Raise where ``/livez`` would be red; Ray then replaces the replica.

        Raises:
            NotReady: The executor seems to hang.
        """
        check_alive(self.app.state.service)


def build_app() -> FastAPI:
    """Return the application of a replica, which is not ready before its models are warm.

    Raises:
        ValueError: Nobody said who may come in.
        OSError: There is a port for metrics, and it is taken.
    """
    settings = _decided_settings()
    configure_logs(settings.log_format)
    tune_process()
    app = create_app(settings, on_settled=_fail_without_model, opens_when_warm=True)
    app.add_middleware(ForTheProxy)
    serve_metrics(app.state.service)
    return app


def _decided_settings() -> Settings:
    settings = read_settings()
    if not settings.access.is_decided:
        raise ValueError(
            "who may use this cluster? Name a file of keys in CUTOUT_ACCESS__KEYS_FILE, or insist on "
            "everybody with CUTOUT_ACCESS__OPEN=true"
        )
    return settings


class ForTheProxy:
    """Answers as Ray's proxy wants them.

    They are bytes, since Ray cannot send views of what was encoded to another process, and without the
    request's id, since the proxy draws one, which the service takes over, and adds it itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_as_wanted(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            elif "body" in message:
                message["body"] = bytes(message["body"])
            await send(message)

        await self._app(scope, receive, send_as_wanted)


def _fail_without_model(service: Service) -> None:
    if service.failure is not None:
        raise service.failure


def cutout(cluster: Cluster) -> Any:
    """Return the application for ``serve.run``; replicas get this process's ``CUTOUT_*`` variables.

    Raises:
        ValueError: Nobody said who may come in.
    """
    settings = _decided_settings()
    maximum = settings.limits.in_flight_requests
    lifecycle = settings.lifecycle
    deployment = serve.deployment(
        serve.ingress(build_app)(Server),
        name="cutout",
        max_ongoing_requests=maximum,
        max_queued_requests=maximum,
        # As the service itself says that it has too much to do.
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        autoscaling_config=AutoscalingConfig(
            min_replicas=cluster.min_replicas,
            max_replicas=cluster.max_replicas,
            target_ongoing_requests=cluster.ongoing,
            upscale_delay_s=cluster.upscale_delay_s,
            downscale_delay_s=cluster.downscale_delay_s,
        ),
        health_check_period_s=2,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=lifecycle.drain_timeout_s + LONGER_S,
        ray_actor_options={
            "num_cpus": cluster.cpus,
            "num_gpus": cluster.gpus,
            "runtime_env": {"env_vars": variables_of(settings)},
        },
    )
    return deployment.bind()


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the variables by which a replica reads the same settings; paths are absolute."""
    here = {name: value for name, value in os.environ.items() if name.startswith("CUTOUT_")}
    here["CUTOUT_MODELS_DIR"] = str(settings.models_dir.absolute())
    if settings.access.keys_file is not None:
        here["CUTOUT_ACCESS__KEYS_FILE"] = str(settings.access.keys_file.absolute())
    # Several replicas may share a machine.
    return {"CUTOUT_WEB__METRICS_PORT": "none", **here}


def http_options(settings: Settings) -> HTTPOptions:
    """Return where Ray's proxies listen, and how long they wait for the service to answer."""
    return HTTPOptions(
        host=str(settings.web.host),
        port=settings.web.port,
        request_timeout_s=settings.limits.deadline_s + settings.limits.upload_timeout_s + LONGER_S,
    )


def main() -> None:
    """Serve on a cluster of this machine alone, until told to stop."""
    settings = read_settings()
    serve.start(http_options=http_options(settings))
    serve.run(cutout(Cluster()), name="cutout")
    typer.echo(f"\n  Cutout listens on  http://{settings.web.host}:{settings.web.port}, on Ray Serve\n")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        signal.pause()
    except KeyboardInterrupt:
        serve.shutdown()


if __name__ == "__main__":
    main()
