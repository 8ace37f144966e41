"""Cluster: runs the service on Ray Serve, with a complete server in each replica.

    serve run app.cli.cluster:cutout             or: python -m app.cli.cluster

Ray routes requests, and counts, scales and restarts replicas. Batching, admission, deadlines and responses
are those of ``cutout serve``. Rule: do not use Ray's batching (``@serve.batch``), which would add a second
queue. Needs the extra ``ray``. Ray has its own HTTP server, without the protection of ``cutout serve``
against slow and hostile clients (``app/web/connection.py``): put a proxy in front of it.
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

TIMEOUT_MARGIN_S = 5.0
"""Ray's timeouts are this much longer than the service's own, so that the service sends the response."""


class Cluster(BaseModel):
    """The number of replicas and the resources of each; ``serve run`` accepts them as NAME=VALUE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(1, ge=0, description="Minimum number of replicas.")
    max_replicas: int = Field(4, ge=1, description="Maximum number of replicas.")
    ongoing: float = Field(
        4, gt=0, description="Target of concurrent requests in each replica; above it, Ray adds replicas."
    )
    cpus: float = Field(2, gt=0, description="Cores that Ray reserves for a replica.")
    gpus: float = Field(0, ge=0, description="GPUs that Ray reserves for a replica.")
    upscale_delay_s: float = Field(10, ge=0, description="Time with too few replicas before one is added.")
    downscale_delay_s: float = Field(
        300, ge=0, description="Time with too many replicas before one is removed."
    )


class Server:
    """A replica: the application of ``cutout serve``, with its own engine."""

    app: FastAPI  # set by Ray's wrapper

    def check_health(self) -> None:
        """Check the same as ``/livez``; Ray replaces the replica if it raises.

        Raises:
            NotReady: The executor seems to hang.
        """
        check_alive(self.app.state.service)


def build_app() -> FastAPI:
    """Build the application of a replica, which accepts requests only after its models are warm.

    Raises:
        ValueError: Access to the server is not configured.
        OSError: The metrics port is in use.
    """
    settings = _settings_with_access()
    configure_logs(settings.log_format)
    tune_process()
    app = create_app(settings, on_settled=_fail_without_model, opens_when_warm=True)
    app.add_middleware(RayProxyResponses)
    serve_metrics(app.state.service)
    return app


def _settings_with_access() -> Settings:
    settings = read_settings()
    if not settings.access.is_decided:
        raise ValueError(
            "access to this cluster is not configured: set CUTOUT_ACCESS__KEYS_FILE to a keys file, or allow "
            "everyone with CUTOUT_ACCESS__OPEN=true"
        )
    return settings


class RayProxyResponses:
    """Pure ASGI: adapts responses to Ray's proxy.

    Bodies become ``bytes``, because Ray cannot send memory views to another process. The ``X-Request-Id``
    header is removed, because the proxy generates the id, which the service uses too, and adds the header
    itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_adapted(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["x-request-id"]
            elif "body" in message:
                message["body"] = bytes(message["body"])
            await send(message)

        await self._app(scope, receive, send_adapted)


def _fail_without_model(service: Service) -> None:
    if service.failure is not None:
        raise service.failure


def cutout(cluster: Cluster) -> Any:
    """Return the application for ``serve.run``; replicas get this process's ``CUTOUT_*`` variables.

    Raises:
        ValueError: Access to the server is not configured.
    """
    settings = _settings_with_access()
    maximum = settings.limits.in_flight_requests
    lifecycle = settings.lifecycle
    deployment = serve.deployment(
        serve.ingress(build_app)(Server),
        name="cutout",
        max_ongoing_requests=maximum,
        max_queued_requests=maximum,
        # The same status as the service's own refusals under overload.
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
        graceful_shutdown_timeout_s=lifecycle.drain_timeout_s + TIMEOUT_MARGIN_S,
        ray_actor_options={
            "num_cpus": cluster.cpus,
            "num_gpus": cluster.gpus,
            "runtime_env": {"env_vars": variables_of(settings)},
        },
    )
    return deployment.bind()


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the environment variables of these settings for a replica; paths are absolute."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("CUTOUT_")}
    variables["CUTOUT_MODELS_DIR"] = str(settings.models_dir.absolute())
    if settings.access.keys_file is not None:
        variables["CUTOUT_ACCESS__KEYS_FILE"] = str(settings.access.keys_file.absolute())
    # Several replicas on one machine cannot share a metrics port.
    return {"CUTOUT_WEB__METRICS_PORT": "none", **variables}


def http_options(settings: Settings) -> HTTPOptions:
    """Return the address of Ray's proxies, and their timeout for a response of the service."""
    return HTTPOptions(
        host=str(settings.web.host),
        port=settings.web.port,
        request_timeout_s=settings.limits.deadline_s + settings.limits.upload_timeout_s + TIMEOUT_MARGIN_S,
    )


def main() -> None:
    """Serve on a local cluster until SIGTERM or Ctrl-C."""
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
