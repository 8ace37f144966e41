"""BentoML: a service with an adaptive batch, called by a service that decodes and encodes.

bentoml serve bentoml_service:Cutout; WEIGHTS is in the environment variable U2NET_WEIGHTS.
"""

import os
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from u2net import network_input, open_session, read_picture, render, run


@bentoml.service(traffic={"timeout": 300}, workers=1)
class Network:
    """The network; BentoML puts waiting calls into one batch."""

    def __init__(self) -> None:
        self.session = open_session(os.environ["U2NET_WEIGHTS"])

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.stack(run(self.session, [each[None] for each in inputs]))


@bentoml.service(traffic={"timeout": 300}, workers=1)
class Cutout:
    """The part with HTTP: decoding and encoding."""

    network = bentoml.depends(Network)

    @bentoml.api
    def mask(self, file: Path) -> Annotated[Path, ContentType("image/png")]:
        return self._remove(file, "mask")

    @bentoml.api
    def cutout(self, file: Path) -> Annotated[Path, ContentType("image/png")]:
        return self._remove(file, "cutout")

    def _remove(self, file: Path, operation: str) -> Path:
        picture = read_picture(file.read_bytes())
        saliency = self.network.predict(network_input(picture))[0]
        result = file.with_name(f"{file.stem}-result.png")
        result.write_bytes(render(picture, saliency, operation))
        return result
