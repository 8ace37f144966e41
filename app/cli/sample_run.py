"""Sample run: processes a picture made for it, and times the steps; a part of ``cutout doctor``."""

import asyncio
import statistics
import time
from dataclasses import dataclass

import numpy as np

from app.arrays import Rgb
from app.imaging.formats.encode import encode
from app.options import CutoutOptions
from app.pipeline.local import LocalPipeline
from app.pipeline.values import request_for

HEIGHT_PX, WIDTH_PX = 2000, 3000
ROUNDS = 3
TIMEOUT_S = 600.0
MAX_TOGETHER_S = 10.0
"""Time for the pictures in flight at a time, if they were processed one by one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The times of a sample run.

    Attributes:
        megapixels: The size of the picture.
        steps_ms: The median duration of each step for one picture at a time, in milliseconds.
        alone_s: The median time of one picture at a time, in seconds.
        together_per_s: The pictures per second with several in flight.
        in_flight: How many those are.
    """

    megapixels: float
    steps_ms: dict[str, float]
    alone_s: float
    together_per_s: float
    in_flight: int


def run_sample(local: LocalPipeline) -> Sample:
    """Process a picture alone and with others, and return the times.

    Raises:
        CutoutError: A step fails.
    """
    return asyncio.run(_run(local))


async def _run(local: LocalPipeline) -> Sample:
    upload = encode(sample_picture(HEIGHT_PX, WIDTH_PX), format="jpeg", quality=90)
    request = request_for(upload, CutoutOptions())
    await local.run_when_admitted(request, timeout_s=TIMEOUT_S)  # the first run also allocates
    alone_s: list[float] = []
    steps: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        started_s = time.monotonic()
        _, times = await local.run_when_admitted(request, timeout_s=TIMEOUT_S)
        alone_s.append(time.monotonic() - started_s)
        steps.append(times.seconds)
    in_flight = max(2, min(local.in_flight, round(MAX_TOGETHER_S / statistics.median(alone_s))))
    started_s = time.monotonic()
    together = [local.run_when_admitted(request, timeout_s=TIMEOUT_S) for _ in range(in_flight)]
    await asyncio.gather(*together)
    took_s = time.monotonic() - started_s
    steps_ms = {name: round(1e3 * statistics.median(each[name] for each in steps), 1) for name in steps[0]}
    return Sample(
        HEIGHT_PX * WIDTH_PX / 1e6,
        steps_ms,
        round(statistics.median(alone_s), 3),
        round(in_flight / took_s, 2),
        in_flight,
    )


def sample_picture(height: int, width: int) -> Rgb:
    """Return a picture with a textured subject, a soft edge and a noisy background.

    Args:
        height: In pixels.
        width: In pixels.
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    subject = np.stack([200 - 40 * y, 90 + 30 * x + 18 * np.sin(60 * x), np.full_like(x, 40)], axis=2)
    background = np.stack([60 + 90 * x, 110 + 70 * y, 160 - 60 * x * y], axis=2)
    alpha = np.clip((0.3 - np.hypot(y - 0.5, (x - 0.5) * width / height)) / 0.03 + 0.5, 0, 1)[:, :, None]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, 1)).astype(np.float32)
    mixed = alpha * subject + (1 - alpha) * background + noise
    pixels: Rgb = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return pixels
