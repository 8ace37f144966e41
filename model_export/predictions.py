"""Predictions: runs the service's own pipeline on pictures, and returns the greys that it serves.

This is the only module of the export that runs the service. The evaluation therefore judges what clients get:
decoded, sampled, inferred, matted and encoded by the code and with the settings of the server.
"""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.engine.models.manifest import Manifest
from app.options import CutoutOptions, MaskOptions
from app.pipeline.local import LocalPipeline, open_local_pipeline
from app.pipeline.values import request_for
from app.settings import read_settings

TIMEOUT_S = 3600.0  # no client waits for the result


@dataclass(frozen=True, slots=True)
class Judged:
    """A result of the service: a mask or a cutout's alpha, (H, W) uint8, and whether the scene is empty."""

    grey: NDArray[np.uint8]
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Predictor:
    """An open pipeline with one model."""

    manifest: Manifest
    provider: str
    precision: str
    _local: LocalPipeline
    _runner: asyncio.Runner

    def predict(self, upload: bytes, options: MaskOptions | CutoutOptions) -> Judged:
        """Return the result of one upload.

        Raises:
            CutoutError: The picture or an option is refused, or a step fails.
        """
        request = request_for(upload, options)
        result, _ = self._runner.run(self._local.run(request, timeout_s=TIMEOUT_S))
        with Image.open(io.BytesIO(result.encoded)) as stored:
            channels = np.atleast_3d(np.asarray(stored))
        return Judged(channels[:, :, -1], result.info.verdict.is_empty)


@contextmanager
def open_predictor(model: str, models_dir: Path) -> Iterator[Predictor]:
    """Open the pipeline with one model, and the settings of the environment, where ``auto`` is float32.

    Raises:
        ModelUnavailable: The model is missing, or does not match its manifest.
    """
    settings = read_settings(models=(model,), models_dir=models_dir)
    if settings.precision == "auto":  # figures must not depend on how fast this machine is
        settings = settings.model_copy(update={"precision": "float32"})
    with open_local_pipeline(settings) as local, asyncio.Runner() as runner:
        (session,) = local.pipeline.models.in_memory()
        yield Predictor(session.manifest, session.provider, session.choice.precision, local, runner)
