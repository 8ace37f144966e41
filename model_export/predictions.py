"""Predictions: runs the service's own pipeline on pictures, and returns its masks or alpha mattes.

This is the only module of the export that runs the service. So the evaluation judges the results that clients
get: decoded, resized, inferred, matted and encoded by the same code and with the same settings.
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

from app.engine.capacity.admission import Admission
from app.engine.clock import SystemClock
from app.engine.models.manifest import Manifest
from app.main import budget_of, open_pipeline
from app.options import CutoutOptions, MaskOptions
from app.pipeline.render import Result
from app.pipeline.run import Job, Pipeline
from app.settings import read_settings
from app.telemetry import StepTimes, Telemetry

PATIENCE_S = 3600.0  # no client waits for the result


@dataclass(frozen=True, slots=True)
class Judged:
    """A result: a mask, or a cutout's alpha, (H, W) uint8, and whether it contains no subject."""

    grey: NDArray[np.uint8]
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Predictor:
    """An open service without HTTP."""

    manifest: Manifest
    provider: str
    _pipeline: Pipeline
    _admission: Admission
    _runner: asyncio.Runner

    def predict(self, upload: bytes, options: MaskOptions | CutoutOptions) -> Judged:
        """Run the pipeline on one upload.

        Raises:
            CutoutError: The service refuses it, or fails.
        """
        result = self._runner.run(self._run(upload, options))
        with Image.open(io.BytesIO(result.encoded)) as stored:
            channels = np.atleast_3d(np.asarray(stored))
        return Judged(channels[:, :, -1], result.info.verdict.is_empty)

    async def _run(self, upload: bytes, options: MaskOptions | CutoutOptions) -> Result:
        clock = SystemClock()
        with self._admission.enter() as permit:
            job = Job(permit, StepTimes(clock), clock.now_s() + PATIENCE_S)
            if isinstance(options, MaskOptions):
                return await self._pipeline.mask(upload, options, job)
            return await self._pipeline.cutout(upload, options, job)


@contextmanager
def open_predictor(model: str, models_dir: Path) -> Iterator[Predictor]:
    """Open the service with one model, as the settings in the environment say.

    Raises:
        ModelUnavailable: The model is missing, or is not the one its manifest names.
    """
    settings = read_settings(models=(model,), models_dir=models_dir)
    pipeline = open_pipeline(settings, Telemetry())
    try:
        with asyncio.Runner() as runner:
            ((manifest, provider),) = pipeline.models.manifests()
            yield Predictor(manifest, provider, pipeline, Admission(budget_of(settings)), runner)
    finally:
        pipeline.close()
