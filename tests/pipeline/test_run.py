import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import Header
from app.options import CutoutOptions, MaskOptions
from app.pipeline import run
from app.pipeline.encode import encode_result
from app.pipeline.local import LocalPipeline, open_local_pipeline
from app.pipeline.run import UNLIMITED_PIXELS
from app.pipeline.values import Rendered, Result, request_for
from app.settings import read_settings
from app.telemetry import StepTimes
from tests.networks import redness_model
from tests.pictures import flat, jpeg, photo

SIZE = (1600, 2000)
PLACES = 3  # with one worker of each kind and no batches
REQUESTS = 3 + UNLIMITED_PIXELS // (SIZE[0] * SIZE[1])


class DecodedPictures:
    """Decodes, and counts how many of the pictures are in memory."""

    def __init__(self) -> None:
        self.count = self.peak = 0
        self.pixels: list[weakref.ref[np.ndarray]] = []
        self._lock = threading.Lock()

    def decode(self, upload: bytes, header: Header) -> Picture:
        """Decode an upload."""
        picture = decode(upload, header)
        with self._lock:
            self.count += 1
            self.peak = max(self.peak, self.count)
            self.pixels.append(weakref.ref(picture.rgb))
        weakref.finalize(picture.rgb, self._forget)
        return picture

    def _forget(self) -> None:
        with self._lock:
            self.count -= 1


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPipeline]:
    redness_model(tmp_path)
    settings = read_settings(models_dir=tmp_path, engine={"workers": 1}, precision="float32")
    with open_local_pipeline(settings) as opened:
        yield opened


def test_large_pictures_wait_as_files_until_the_others_are_finished(local: LocalPipeline) -> None:
    decoded = DecodedPictures()
    local.pipeline._decoder = decoded.decode
    upload = jpeg(flat(*SIZE, (200, 40, 30)))

    async def all_at_once() -> list[tuple[Result, StepTimes]]:
        request = request_for(upload, CutoutOptions(matting="none"))
        return await asyncio.gather(*(local.run(request, timeout_s=600) for _ in range(REQUESTS)))

    gc.collect()
    gc.disable()
    try:
        ran = asyncio.run(all_at_once())
    finally:
        gc.enable()

    at_most = UNLIMITED_PIXELS // (SIZE[0] * SIZE[1])
    assert PLACES < at_most < REQUESTS == len(ran)
    assert decoded.peak <= at_most
    assert 0 == decoded.count
    assert all(list(steps.seconds)[-1] == "encode" for _, steps in ran)
    assert any(list(steps.seconds)[1] == "batch" for _, steps in ran)


@pytest.mark.parametrize("options", [CutoutOptions(), MaskOptions()])
def test_the_picture_is_freed_before_its_result_is_encoded(
    local: LocalPipeline, monkeypatch: pytest.MonkeyPatch, options: CutoutOptions | MaskOptions
) -> None:
    decoded, alive = DecodedPictures(), []

    def observed(rendered: Rendered, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Result:
        alive.append(decoded.pixels[0]() is not None)
        return encode_result(rendered, options, steps)

    local.pipeline._decoder = decoded.decode
    monkeypatch.setattr(run, "encode_result", observed)
    gc.disable()
    try:
        asyncio.run(local.run(request_for(jpeg(photo(300, 400)), options), timeout_s=600))
    finally:
        gc.enable()

    assert [False] == alive
