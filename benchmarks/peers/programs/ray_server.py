"""Ray Serve: a deployment that decodes and encodes, and one with the network under ``@serve.batch``.

python ray_server.py WEIGHTS PORT
"""

import asyncio
import signal
import sys
import threading

import numpy as np
import ray
from fastapi import FastAPI, File, Response, UploadFile
from ray import serve
from u2net import network_input, open_session, read_picture, render, run

app = FastAPI()


@serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Network:
    """The network; Ray puts waiting calls into one batch."""

    def __init__(self, weights: str) -> None:
        self.session = open_session(weights)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.01)
    async def __call__(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return await asyncio.to_thread(run, self.session, inputs)


@serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
@serve.ingress(app)
class Cutout:
    """The part with HTTP: decoding and encoding."""

    def __init__(self, network: serve.handle.DeploymentHandle) -> None:
        self.network = network

    @app.get("/health")
    def health(self) -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/{operation}")
    async def remove(self, operation: str, file: UploadFile = File()) -> Response:  # noqa: B008 - FastAPI's form
        upload = await file.read()
        picture = await asyncio.to_thread(read_picture, upload)
        saliency = await self.network.remote(await asyncio.to_thread(network_input, picture))
        png = await asyncio.to_thread(render, picture, saliency, operation)
        return Response(png, media_type="image/png")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Cutout.bind(Network.bind(sys.argv[1])))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    serve.shutdown()
    ray.shutdown()
