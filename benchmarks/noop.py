"""No-op: the service with a network that does nothing, for measuring what everything else costs.

    python -m benchmarks.noop [--bare] [--core 0] [--run-ms 2]

Serves like ``cutout serve`` with the same routes, admission, worker threads and batcher; only the
backend of the batcher is ``tests.fakes.SimulatedBackend``, whose runs take ``--run-ms``, by default no time.
Prints the two lines that ``benchmarks.server.Server`` looks for. ``benchmarks.engine`` starts it.

With ``--bare`` a FastAPI application of one route reads the body and returns as many bytes: the lower bound
for any FastAPI service on the same machine. ``--core`` is the one core to run on.
"""

import argparse
import gc
import os
import socket
import sys
import time

import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import start_http_server

from app.cli.listening import listen
from app.cli.worker import SWITCH_INTERVAL_S
from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import BatchLimits
from app.engine.clock import SystemClock
from app.engine.threads.priority import favour_latency
from app.logs import configure_logs
from app.main import create_app
from app.settings import read_settings
from app.web.service import Service
from tests.fakes import SimulatedBackend


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="Serve with a network that does nothing.")
    parser.add_argument("--bare", action="store_true", help="serve one route that does nothing instead")
    parser.add_argument("--core", type=int, help="the one core to run on")
    parser.add_argument("--run-ms", type=float, default=0.0, help="the time of a run of the network")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    settings = read_settings()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    favour_latency()
    if asked.bare:
        serve_bare(listen("127.0.0.1", settings.web.port))
        return
    configure_logs(settings.log_format)
    listener = listen("127.0.0.1", settings.web.port)  # as the command opens it
    metrics, _ = start_http_server(0, addr="127.0.0.1")

    def take_out_the_network(service: Service) -> None:
        pipeline = service.pipeline
        if pipeline is None:
            raise SystemExit(f"The model cannot be loaded: {service.failure}")
        limits = BatchLimits(32, 0.0, settings.limits.in_flight_requests)
        pipeline._batcher.stop()  # noqa: SLF001 - the pipeline has no other way to exchange it
        network = SimulatedBackend(alpha_s=asked.run_ms / 1e3, spend=time.sleep)
        batcher = Batcher(network, limits, SystemClock(), service.telemetry.runs)
        for part in (pipeline, pipeline.admission, pipeline.tensors):
            part._batcher = batcher  # noqa: SLF001
        batcher.start()
        gc.collect()
        gc.freeze()  # as the worker does
        print(f"Cutout listens on  http://127.0.0.1:{listener.getsockname()[1]}")
        print(f"Metrics  http://127.0.0.1:{metrics.server_port}/metrics", flush=True)

    app = create_app(settings, on_settled=take_out_the_network)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def serve_bare(listener: socket.socket) -> None:
    """Serve one route that does nothing."""
    app = FastAPI()

    @app.post("/v1/mask")
    async def response(request: Request) -> Response:
        await request.body()
        return Response(bytes(300), media_type="image/png")

    metrics, _ = start_http_server(0, addr="127.0.0.1")
    print(f"Cutout listens on  http://127.0.0.1:{listener.getsockname()[1]}")
    print(f"Metrics  http://127.0.0.1:{metrics.server_port}/metrics", flush=True)
    config = uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
