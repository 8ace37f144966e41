"""Admit: decides from headers alone whether a request may be decoded, and holds the memory it may need.

Nothing is decoded here. Large files are inspected on a thread, so that they do not block the event loop for
milliseconds.
"""

import hashlib
from dataclasses import replace

from app.engine.batching.batcher import Batcher
from app.engine.batching.device_time import OVERTAKING_SHARE
from app.engine.capacity.wait_estimator import WaitEstimator, retry_after_s
from app.engine.clock import Clock
from app.engine.models.registry import ModelRegistry
from app.engine.threads.workers import Pools
from app.errors import Overloaded
from app.imaging.formats.encode import check_side
from app.imaging.formats.sniff import Header, check_size, sniff
from app.imaging.layout.placement import shrunk_size
from app.options import CutoutOptions, MaskOptions
from app.pipeline.context import RequestContext
from app.pipeline.footprint import Footprint, PictureLimits, check_memory, footprint
from app.pipeline.scene import planned_runs
from app.pipeline.values import ImageRequest, NotModified, PictureSource, Result, extra_pictures, with_picture

INSPECTED_INLINE_BYTES = 4096
MAX_TRIED_RUNS = 2
"""An idle server admits this many runs, those of one picture, regardless of its estimate."""
COUNTED_MAP_SIDE_PX, MAP_BYTES = 320, 24
"""Bytes per pixel of a network's input, its maps, and their copies while they are resized."""
STEPS_ELSEWHERE = frozenset({"receive", "fetch", "admit", "load", "batch", "infer"})
"""The steps that are not run by the workers."""


class PictureAdmission:
    """Admits requests within the limits on pixels, memory and time."""

    def __init__(
        self, models: ModelRegistry, batcher: Batcher, pools: Pools, limits: PictureLimits, clock: Clock
    ) -> None:
        self.wait_estimator = WaitEstimator(pools.decode.threads)
        self._models = models
        self._batcher = batcher
        self._pools = pools
        self._limits = limits
        self._clock = clock

    async def admit(self, request: ImageRequest, context: RequestContext) -> tuple[ImageRequest, Footprint]:
        """Return the request with the headers of its pictures, and its footprint.

        Raises:
            CutoutError: A header or an option is invalid, a limit is exceeded, or the server is overloaded.
        """
        name = context.model = self._models.choose(request.options.model)
        with context.steps.step("admit"):
            request = await self._inspect_all(request, context)
            needed = self._needed(request)
            runs = planned_runs(request)
            self.wait_estimator.learn_size(needed.pixels, upload_bytes=context.upload_bytes)
            self.check_time(
                context.deadline_s,
                pixels=needed.pixels,
                pixels_in_flight=context.permit.pixels_in_flight,
                model=name,
                runs=runs,
            )
            self.hold(needed, context)
        await self.load(name, context)
        self._hold_map(name, needed, context)
        return request, needed

    def _hold_map(self, name: str, needed: Footprint, context: RequestContext) -> None:
        """Hold the memory of a large network's input and maps; ``footprint`` counts those of a small one."""
        with self._models.lease(name) as session:
            if session is not None:
                side_px = session.manifest.input_size_px
                map_bytes = MAP_BYTES * max(0, side_px**2 - COUNTED_MAP_SIDE_PX**2)
                check_memory(needed.memory_bytes + map_bytes, self._limits.memory_bytes)
                context.permit.hold_pictures(pixels=0, memory_bytes=map_bytes)

    def hold(self, needed: Footprint, context: RequestContext) -> None:
        """Hold the memory that a request may need, and charge its pixels to its key."""
        check_memory(needed.memory_bytes, self._limits.memory_bytes)
        context.permit.hold_pictures(pixels=needed.pixels, memory_bytes=needed.memory_bytes)
        if context.quota is not None:
            context.quota.spend_pixels(needed.pixels)

    async def load(self, name: str, context: RequestContext) -> None:
        """Load a model that is not in memory."""
        if name not in self._models.sessions:
            with context.steps.step("load"):
                await self._pools.load.run(self._models.load, name)

    def settle(
        self,
        request: ImageRequest,
        needed: Footprint,
        result: Result | NotModified | None,
        context: RequestContext,
    ) -> None:
        """Refund the pixels of a canvas smaller than estimated, and learn from the request's duration."""
        result = result if isinstance(result, Result) else None
        if result is not None and not result.is_cached:
            steps = context.steps.seconds.items()
            seconds = sum(duration_s for name, duration_s in steps if name not in STEPS_ELSEWHERE)
            self.wait_estimator.learn(pixels=needed.pixels, seconds=seconds)
        if context.quota is None:
            return
        header = _header(request.picture)
        source_px = header.width_px * header.height_px
        canvas_px = 0 if result is None else max(0, result.width_px * result.height_px - source_px)
        context.quota.settle_pixels(needed.pixels, needed.pixels - needed.canvas_px + canvas_px)

    def check_time(
        self,
        deadline_s: float,
        *,
        pixels: float = 0,
        pixels_in_flight: int = 0,
        model: str | None = None,
        runs: int = 1,
    ) -> None:
        """Refuse a request at once if it cannot be finished before its deadline.

        While its model is unknown, a request counts for the model that would be done first. A picture that
        waits for no other is admitted in any case, and so its model's duration is learnt.

        Raises:
            Overloaded: The queued work takes longer than the time left.
        """
        candidates = self._models.names if model is None else (model,)
        if runs <= MAX_TRIED_RUNS and any(self.queued_s(name)[0] == 0 for name in candidates):
            return
        total_s = self.wait_estimator.total_s(
            device_s=min(self.device_s(name, runs) for name in candidates),
            pixels=pixels,
            pixels_in_flight=pixels_in_flight,
        )
        allowed_s = deadline_s - self._clock.now_s()
        if total_s > allowed_s:
            raise Overloaded("time", retry_after_s=retry_after_s(total_s, allowed_s))

    def queued_s(self, model: str) -> tuple[float, float]:
        """Return the device time of queued runs that a model's pictures wait for, and of the others.

        Long and short runs share the device, and the others wait for the end of each other.
        """
        is_long, cost_s = self._batcher.is_long, self._batcher.per_picture_s
        of_kind_s = self.wait_estimator.queued_s(
            lambda name: cost_s(name) if is_long(name) is is_long(model) else 0.0
        )
        return of_kind_s, self.wait_estimator.queued_s(cost_s) - of_kind_s

    def device_s(self, model: str, runs: int) -> float:
        """Return the time until ``runs`` more runs of a model end, at most, and those queued before them."""
        if runs == 0:
            return 0.0
        ahead_s, others_s = self.queued_s(model)
        own_s = ahead_s + runs * self._batcher.per_picture_s(model)
        load_s = 0.0 if model in self._models.sessions else self._models.load_s.get(model, 0.0)
        share = OVERTAKING_SHARE if self._batcher.is_long(model) else 1 / OVERTAKING_SHARE
        return own_s + min(share * own_s, others_s) + load_s

    def _needed(self, request: ImageRequest) -> Footprint:
        check_format(_header(request.picture), request.options)
        extra = extra_pictures(request)
        headers = {role: _header(source) for role, source in extra.items()}
        return footprint(
            _header(request.picture),
            request.options,
            **headers,
            limit_px=self._limits.pixels,
            upload_bytes=max(len(source.upload or b"") for source in (request.picture, *extra.values())),
        )

    async def _inspect_all(self, request: ImageRequest, context: RequestContext) -> ImageRequest:
        """Inspect the picture first, then the others."""
        request = replace(request, picture=await self._inspect(request.picture, context))
        for role, source in extra_pictures(request).items():
            request = with_picture(request, role, await self._inspect(source, context))
        return request

    async def _inspect(self, source: PictureSource, context: RequestContext) -> PictureSource:
        if len(source.upload or b"") <= INSPECTED_INLINE_BYTES:
            return inspect(source, self._limits)
        return await self._pools.inspect.run_holding(context.permit, inspect, source, self._limits)


def inspect(source: PictureSource, limits: PictureLimits) -> PictureSource:
    """Read the header of a file, check its size and hash it.

    Raises:
        UnsupportedFormat, CorruptPicture, PictureTooComplex: The file cannot be decoded.
        PictureTooLarge: The picture has too many pixels, or a side that is too long.
    """
    upload = source.upload or b""
    header = sniff(upload)
    check_size(header, limit_px=limits.pixels, limit_side_px=limits.side_px)
    return replace(source, header=header, digest=hashlib.sha256(upload))


def _header(source: PictureSource) -> Header:
    assert source.header is not None  # noqa: S101 - inspected
    return source.header


def check_format(header: Header, options: MaskOptions | CutoutOptions) -> None:
    """Refuse a request if its result is known to exceed the size limit of its format.

    Raises:
        FormatExceeded: A side of the result is too long.
    """
    height, width = header.height_px, header.width_px
    if isinstance(options, CutoutOptions):
        if options.crop:
            return  # the size of the result depends on the subject
        if options.max_pixels is not None:
            height, width = shrunk_size(height, width, options.max_pixels)
    elif options.size == "network":
        return
    check_side(height, width, format=options.format)
