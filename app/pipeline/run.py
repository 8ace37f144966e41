"""Pipeline: the journey of a picture, in the order it happens.

    bytes → receive → admit → decode → prepare → batch → infer → matte → compose → encode → bytes
            (web)     ─────────────────────────── here ──────────────────────────────────

``Pipeline.mask`` and ``Pipeline.cutout`` are the whole service in a dozen lines each. What a step
does stands in the module of its name; which thread it runs on stands here. Admission runs on the
event loop, the network on the executor thread of its device, everything else on a worker thread. From
decoding on, each thread hands on to the next (``engine/threads/trampoline.py``).

Longer than other modules, because the order of the journey is to be read in one place.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import ParamSpec, TypeVar

import cv2
import numpy as np

from app.arrays import Grey, NetworkInput, SaliencyMap
from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import Inferred, Ticket
from app.engine.capacity.admission import Permit
from app.engine.capacity.cache import Cache
from app.engine.capacity.quota import Quota
from app.engine.capacity.wait_estimator import WaitEstimator, retry_after_s
from app.engine.clock import Clock
from app.engine.deadline import Deadline, Patience
from app.engine.models.registry import ModelRegistry
from app.engine.threads.trampoline import Journey, ThreadAwaitable, run_on_threads
from app.engine.threads.workers import Pools, Workers
from app.errors import InvalidOption, NoForeground, Overloaded
from app.imaging.formats.encode import check_side
from app.imaging.formats.sniff import Header, check_size, sniff
from app.imaging.layout.placement import shrunk_size
from app.imaging.matting.refine import choose_crop
from app.imaging.matting.saliency import is_empty, stretch, weigh
from app.options import CutoutOptions, MaskOptions
from app.pipeline.footprint import Footprint, PictureLimits, check_memory, footprint
from app.pipeline.prepare import AdmittedUpload, Read, Remembered, blend, cache_key, read_crop, read_picture
from app.pipeline.render import HQ_CUT_SHORT, Result, Segmentation, compose_cutout, finish, finish_mask
from app.telemetry import StepTimes

P = ParamSpec("P")
T = TypeVar("T")

SNIFFED_AT_ONCE_BYTES = 4096
OWN_MASK = "none"
"""The provider of an answer that the network had no part in."""
TENSOR_BYTES = 16
"""Of each pixel of a raw tensor: the pixel itself, its map, and what they are stacked and copied through."""
MAX_TRIED_RUNS = 2
"""Of the network, that an idle server tries whatever it expects of them: those of one picture."""
WORKER_STEPS = ("decode", "prepare", "refine", "matte", "compose", "encode")


@dataclass(frozen=True, slots=True)
class Job:
    """What one admitted request carries through the journey; you cannot decode without it."""

    permit: Permit
    steps: StepTimes
    deadline_s: float
    quota: Quota | None = None
    known: frozenset[str] = frozenset()
    """Entity tags of answers that the caller has already."""
    owner: str = ""
    """Whose request it is: remembered answers are given to those alone who asked for them."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Pictures that come with an upload: what is to be behind its subject, and a mask of the caller's own."""

    backdrop: bytes | None = None
    mask: bytes | None = None


class Pipeline:
    """Carries pictures from bytes to bytes."""

    def __init__(
        self,
        models: ModelRegistry,
        batcher: Batcher,
        pools: Pools,
        *,
        limits: PictureLimits,
        clock: Clock,
        hq_budget_s: float,
        read: Read,
        cache: Cache[Result],
        why_not_cuda: str | None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = models
        self.why_not_cuda = why_not_cuda
        self.wait_estimator = WaitEstimator(pools.decode.threads)
        self._batcher = batcher
        self._pools = pools
        self._aside = Workers(2, clock, name="aside")
        self._loading = Workers(1, clock, name="load")  # one at a time, and never in a picture's way
        self._hq_budget_s = hq_budget_s
        self._read = read
        self._on_close = on_close
        self._cache = cache
        self._limits = limits
        self._clock = clock

    async def mask(self, upload: bytes, options: MaskOptions, job: Job) -> Result:
        """Turn a picture into its saliency mask.

        Raises:
            CutoutError: Any leaf that the steps name.
        """
        async with self._in_time(job):
            way_in = await self._admit(upload, Beside(), options, job)
            return await self._relayed(self._carry_mask(way_in, options, job), way_in, job)

    async def cutout(
        self, upload: bytes, options: CutoutOptions, job: Job, *, beside: Beside | None = None
    ) -> Result:
        """Turn a picture into its cutout; with a mask of the caller's own, without the network.

        Raises:
            CutoutError: Any leaf that the steps name.
            NotModified: The caller has this answer already.
        """
        async with self._in_time(job):
            way_in = await self._admit(upload, beside or Beside(), options, job)
            return await self._relayed(self._carry_cutout(way_in, options, job), way_in, job)

    async def infer(self, model: str, pictures: NetworkInput, job: Job) -> SaliencyMap:
        """Run the network on (N, S, S, 3) uint8 as it is; the raw saliency is (N, S, S) float32.

        N pictures cost what N requests do, and take turns with those of others.

        Raises:
            CutoutError: Any leaf that the steps name; InvalidOption where S is not the network's.
        """
        async with self._in_time(job):
            count, height, width = pictures.shape[:3]
            pixels = count * height * width
            await self._load(model, job)
            with job.steps.step("admit"):
                self._check_shape(model, pictures)
                self._check_long_run(model, count, job)
                if job.quota is not None:
                    job.quota.spend_rest_of(count)  # the first was paid for at the door
                self._take(Footprint(pixels, TENSOR_BYTES * pixels), job)
            journey = self._infer_each(model, pictures, job)
            return await run_on_threads(journey, on_end=job.permit.keep())

    def _check_shape(self, model: str, pictures: NetworkInput) -> None:
        """Refuse tensors of another size than the network's."""
        with self.models.lease(model) as session:
            if session is None:
                raise Overloaded("models in memory")
            side = session.manifest.input_size_px
        if pictures.shape[1:3] != (side, side):
            raise InvalidOption("shape", f"[N, {side}, {side}, 3]")

    def _check_long_run(self, model: str, count: int, job: Job) -> None:
        """Refuse N pictures that cannot all be run in time, other such requests taking every other turn."""
        runs = count + self.wait_estimator.turns_of_others(count)
        self.check_time(job.deadline_s, per_picture_s=self._batcher.per_picture_s(model), runs=runs)

    async def _infer_each(self, model: str, pictures: NetworkInput, job: Job) -> SaliencyMap:
        """Run pictures a few at a time, so that others get their turns in between."""
        with self.models.lease(model) as session, self.wait_estimator.long_run(len(pictures)) as long_run:
            if session is None:
                raise Overloaded("models in memory")
            maps: list[SaliencyMap] = []
            for first in range(0, len(pictures), self._batcher.max_batch):
                group = pictures[first : first + self._batcher.max_batch]
                maps += await self._infer_group(model, group, job)
                long_run.left -= len(group)
        return np.stack(maps)

    async def _infer_group(self, model: str, pictures: NetworkInput, job: Job) -> list[SaliencyMap]:
        job.steps.current = "batch"
        tickets: list[Ticket] = []
        maps: list[SaliencyMap] = []
        with self.wait_estimator.counting(len(pictures)):
            try:
                tickets.extend(
                    self._batcher.submit(model, picture, deadline_s=job.deadline_s) for picture in pictures
                )
                for ticket in tickets:
                    give_up = partial(self._batcher.abandon, ticket)
                    inferred = await ThreadAwaitable(ticket.future, give_up, can_be_left=True)
                    maps.append(inferred.saliency)
                job.steps.add("batch", inferred.waited_s)  # of the last, which waited longest
                job.steps.add("infer", inferred.ran_s)
            finally:
                for ticket in tickets[len(maps) :]:
                    self._batcher.abandon(ticket)
        return maps

    async def aside(self, job: Job, function: Callable[P, T], /, *args: P.args, **kw: P.kwargs) -> T:
        """Call a function that may take milliseconds on a thread; the permit stays until it ends."""

        async def journey() -> T:
            return await self._aside.call(function, *args, **kw)

        return await run_on_threads(journey(), on_end=job.permit.keep())

    def recall(self, etag: str, owner: str) -> Result | None:
        """Return the answer of this entity tag that was given to ``owner``, if it is remembered."""
        result = self._cache.get(cache_key(owner, etag))
        return None if result is None else replace(result, is_remembered=True)

    async def _carry_mask(self, way_in: "AdmittedUpload", options: MaskOptions, job: Job) -> Result:
        segmentation = await self._see(way_in, options, job)
        workers = self._pools.finish if options.matting == "none" else self._pools.matte
        return await workers.call(
            finish_mask, segmentation, options, job.steps, hq_budget_s=self._hq_budget_s
        )

    async def _carry_cutout(self, way_in: "AdmittedUpload", options: CutoutOptions, job: Job) -> Result:
        segmentation = await self._see(way_in, options, job)
        rendered = await self._pools.matte.call(
            compose_cutout,
            segmentation,
            options,
            job.steps,
            hq_budget_s=self._hq_budget_s,
            limits=self._limits,
        )
        del segmentation  # a picture's colours are a quarter of what encoding would hold
        return await self._pools.finish.call(finish, rendered, options, job.steps)

    async def _admit(
        self, upload: bytes, beside: Beside, options: MaskOptions | CutoutOptions, job: Job
    ) -> "AdmittedUpload":
        """Take what a request may come to hold, or refuse it; nothing is decoded yet."""
        name = self.models.choose(options.model)
        with job.steps.step("admit"):
            header = await self._sniffed(upload, job)
            backdrop = None if beside.backdrop is None else await self._sniffed(beside.backdrop, job)
            mask = None if beside.mask is None else await self._sniffed(beside.mask, job)
            check_format(header, options)
            taken = footprint(
                header,
                options,
                backdrop=backdrop,
                mask=mask,
                limit_px=self._limits.pixels,
                upload_bytes=max(map(len, (upload, beside.backdrop or b"", beside.mask or b""))),
            )
            self.check_time(
                job.deadline_s,
                pixels=taken.pixels,
                pixels_in_flight=job.permit.pixels_in_flight,
                per_picture_s=self._batcher.per_picture_s(name),
                runs=_runs(options, has_mask=mask is not None),
            )
            self._take(taken, job)
        await self._load(name, job)
        way_in = AdmittedUpload(upload, header, name, taken)
        if backdrop is not None and beside.backdrop is not None:
            way_in = replace(way_in, backdrop=(beside.backdrop, backdrop))
        if mask is not None and beside.mask is not None:
            way_in = replace(way_in, mask=(beside.mask, mask))
        return way_in

    def _take(self, taken: Footprint, job: Job) -> None:
        """Hold what a request may come to hold, and let its key pay for it."""
        check_memory(taken.memory_bytes, self._limits.memory_bytes)
        job.permit.hold_pictures(pixels=taken.pixels, memory_bytes=taken.memory_bytes)
        if job.quota is not None:
            job.quota.spend_pixels(taken.pixels)

    async def _load(self, name: str, job: Job) -> None:
        if name not in self.models.sessions:
            with job.steps.step("load"):
                await self._loading.run(self.models.load, name)

    async def _relayed(self, journey: Journey[Result], way_in: "AdmittedUpload", job: Job) -> Result:
        """Let a journey's steps hand on to each other, and learn what they cost."""
        result: Result | None = None
        try:
            result = await run_on_threads(journey, on_end=job.permit.keep())
        except Remembered as found:
            result = replace(found.result, is_remembered=True)
            return result
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            raise
        finally:
            _settle(way_in, result, job)
        seconds = sum(job.steps.seconds.get(name, 0.0) for name in WORKER_STEPS)
        if HQ_CUT_SHORT not in result.info.warnings:  # what time cut short may come out better next time
            key = cache_key(job.owner, result.info.etag)
            self._cache.put(key, result, size_bytes=result.size_bytes)
        self.wait_estimator.learn(pixels=way_in.taken.pixels, seconds=seconds)
        return result

    async def _see(
        self, way_in: "AdmittedUpload", options: MaskOptions | CutoutOptions, job: Job
    ) -> Segmentation:
        runs = _runs(options, has_mask=way_in.mask is not None)
        with self.models.lease(way_in.model) as session, self.wait_estimator.counting(runs):
            if session is None:
                raise Overloaded("models in memory")
            read = await self._pools.decode.call(
                read_picture,
                way_in,
                session.manifest,
                options,
                job.steps,
                known=job.known,
                owner=job.owner,
                read=self._read,
                cache=self._cache,
            )
            if read.network_input is None:
                raw, provider = read.mask, OWN_MASK
            else:
                inferred = await self._infer(way_in.model, read.network_input, job)
                raw, provider = inferred.saliency, session.provider
            assert raw is not None  # noqa: S101 - there is the one or the other
            scene_is_empty = read.is_mask_empty if read.mask is not None else is_empty(raw, read.visible)
            if scene_is_empty and options.require_foreground:
                raise NoForeground
            if read.mask is None:
                raw = np.zeros_like(raw) if scene_is_empty else stretch(raw)
            segmentation = Segmentation(
                read.picture,
                raw,
                scene_is_empty,
                session.manifest,
                provider,
                read.etag,
                frame=read.frame,
                backdrop=read.backdrop,
            )
            if read.mask is not None:
                return segmentation
            if options.refine == "crop":
                return await self._look_closer(segmentation, read.visible, job)
        return segmentation

    async def _look_closer(self, segmentation: Segmentation, visible: Grey | None, job: Job) -> Segmentation:
        """Let the network look again at the subject alone; where that is no use, nothing changes."""
        height, width = segmentation.picture.rgb.shape[:2]
        box = choose_crop(weigh(segmentation.saliency, visible), height, width)
        if segmentation.is_empty or box is None:
            return segmentation
        network_input = await self._pools.decode.call(read_crop, segmentation, box, job.steps)
        inferred = await self._infer(segmentation.manifest.name, network_input, job)
        if is_empty(inferred.saliency):
            return segmentation
        return await self._pools.matte.call(blend, segmentation, inferred.saliency, box, job.steps)

    async def _sniffed(self, upload: bytes, job: Job) -> Header:
        """Sniff an upload; a large one on a thread, since the event loop has no milliseconds to spare."""
        if len(upload) <= SNIFFED_AT_ONCE_BYTES:
            header = sniff(upload)
        else:
            header = await self.aside(job, sniff, upload)
        check_size(header, limit_px=self._limits.pixels, limit_side_px=self._limits.side_px)
        return header

    def check_time(
        self,
        deadline_s: float,
        *,
        pixels: int = 0,
        pixels_in_flight: int = 0,
        per_picture_s: float | None = None,
        runs: int = 1,
    ) -> None:
        """Refuse at once what cannot be finished in time; an idle server tries one picture, and so learns.

        Without its pixels and its model, a request is taken for the smallest picture to the fastest model:
        what is refused even so need not be read.

        Raises:
            Overloaded: There is more to do before the deadline than time for it.
        """
        if self.wait_estimator.queued_runs == 0 and runs <= MAX_TRIED_RUNS:
            return
        if per_picture_s is None:
            per_picture_s = min(self._batcher.per_picture_s(name) for name in self.models.names)
        total_s = self.wait_estimator.total_s(
            per_picture_s=per_picture_s,
            pixels=pixels,
            pixels_in_flight=pixels_in_flight,
            runs=runs,
        )
        allowed_s = deadline_s - self._clock.now_s()
        if total_s > allowed_s:
            raise Overloaded("time", retry_after_s=retry_after_s(total_s, allowed_s))

    async def _infer(self, model: str, network_input: NetworkInput, job: Job) -> Inferred:
        job.steps.current = "batch"
        ticket = self._batcher.submit(model, network_input, deadline_s=job.deadline_s)
        inferred = await ThreadAwaitable(
            ticket.future, partial(self._batcher.abandon, ticket), can_be_left=True
        )
        job.steps.add("batch", inferred.waited_s)
        job.steps.add("infer", inferred.ran_s)
        return inferred

    def device_wait_s(self, model: str) -> float:
        """Return the device time ahead of a picture for ``model`` that arrives now."""
        return self.wait_estimator.queued_runs * self._batcher.per_picture_s(model)

    def is_overdue(self) -> bool:
        """Tell whether the executor may hang."""
        return self._batcher.is_overdue()

    def is_stuck(self) -> bool:
        """Tell whether the executor hangs, so that the process had better be replaced."""
        return self._batcher.is_stuck()

    @asynccontextmanager
    async def _in_time(self, job: Job) -> AsyncIterator[None]:
        """End the block at the request's deadline, and tell its steps when nobody waits for them."""
        allowed_s = job.deadline_s - self._clock.now_s()
        patience = Patience(self._clock, job.deadline_s, allowed_s)
        job.steps.check = patience.check
        try:
            async with Deadline(allowed_s):
                yield
        finally:
            patience.is_over = True

    def close(self) -> None:
        """Finish what was accepted and end the threads."""
        self._batcher.stop()
        self._pools.stop()
        self._loading.stop()
        self._aside.stop()
        self._on_close()


def _settle(way_in: AdmittedUpload, result: Result | None, job: Job) -> None:
    """Give back what a key paid for a canvas that came out smaller, or not at all."""
    if job.quota is None:
        return
    source_px = way_in.header.width_px * way_in.header.height_px
    canvas_px = 0 if result is None else max(0, result.width_px * result.height_px - source_px)
    without_canvas_px = way_in.taken.pixels - way_in.taken.canvas_px
    job.quota.settle_pixels(way_in.taken.pixels, without_canvas_px + canvas_px)


def _runs(options: MaskOptions | CutoutOptions, *, has_mask: bool) -> int:
    """Return how often the network may have to look at a picture."""
    if has_mask:
        return 0
    return 2 if options.refine == "crop" else 1


def check_format(header: Header, options: MaskOptions | CutoutOptions) -> None:
    """Refuse a result whose size is known already and that its format cannot hold.

    Raises:
        FormatExceeded: One of its sides is too long.
    """
    height, width = header.height_px, header.width_px
    if isinstance(options, CutoutOptions):
        if options.crop:
            return  # the subject has yet to be found
        if options.max_pixels is not None:
            height, width = shrunk_size(height, width, options.max_pixels)
    elif options.size == "network":
        return
    check_side(height, width, format=options.format)
