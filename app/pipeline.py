"""Pipeline: the journey of a picture, in the order it happens.

    bytes → receive → admit → decode → prepare → batch → infer → matte → compose → encode → bytes
            (web)     ─────────────────────────── here ──────────────────────────────────

``Pipeline.mask`` and ``Pipeline.cutout`` are the whole service in a dozen lines each. What a step
does stands in the module of its name; which thread it runs on stands here. Admission runs on the
event loop, the network on the executor thread of its device, everything else on a worker thread. From
decoding on, each thread hands on to the next (``engine/relay.py``) and the event loop hears of the end.

Longer than other modules, because the order of the journey is to be read in one place.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from app.answer import HQ_CUT_SHORT, Answer, Seen, compose_cutout, finish, finish_mask
from app.arrays import NetworkInput, SaliencyMap
from app.engine.admission import Permit
from app.engine.batching import Batcher
from app.engine.cache import Cache
from app.engine.clock import Clock
from app.engine.deadline import Deadline
from app.engine.forecast import Forecast, retry_after_s
from app.engine.memory import solved_pixels
from app.engine.models import Models
from app.engine.planning import Inferred, Ticket
from app.engine.quota import Allowance
from app.engine.relay import Journey, Leg, relayed
from app.engine.workers import Pools, Workers
from app.errors import InvalidOption, NoForeground, Overloaded
from app.imaging.closed_form import MOST_PX
from app.imaging.refine import choose_crop
from app.imaging.saliency import is_empty, stretch
from app.imaging.sniff import Header, check_size, sniff
from app.options import CutoutOptions, MaskOptions
from app.reading import Read, Remembered, WayIn, blend, read_crop, read_picture
from app.telemetry import StepTimes

SNIFFED_AT_ONCE_BYTES = 128 * 1024
OWN_MASK = "none"
"""The provider of an answer that the network had no part in."""
WORKER_STEPS = ("decode", "prepare", "refine", "matte", "compose", "encode")


@dataclass(frozen=True, slots=True)
class Job:
    """What one admitted request carries through the journey; you cannot decode without it."""

    permit: Permit
    steps: StepTimes
    deadline_s: float
    allowance: Allowance | None = None
    known: frozenset[str] = frozenset()
    """Entity tags of answers that the caller has already."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Pictures that come with an upload: what is to be behind its subject, and a mask of the caller's own."""

    backdrop: bytes | None = None
    mask: bytes | None = None


class Pipeline:
    """Carries pictures from bytes to bytes."""

    def __init__(
        self,
        models: Models,
        batcher: Batcher,
        pools: Pools,
        *,
        limit_px: int,
        limit_side_px: int,
        clock: Clock,
        hq_budget_s: float,
        read: Read,
        cache: Cache[Answer],
        why_not_cuda: str | None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = models
        self.why_not_cuda = why_not_cuda
        self.forecast = Forecast(pools.decode.threads)
        self._batcher = batcher
        self._pools = pools
        self._sniffing = Workers(1, clock, name="sniff")
        self._loading = Workers(1, clock, name="load")  # one at a time, and never in a picture's way
        self._hq_budget_s = hq_budget_s
        self._read = read
        self._on_close = on_close
        self._cache = cache
        self._limit_px = limit_px
        self._limit_side_px = limit_side_px
        self._clock = clock

    async def mask(self, upload: bytes, options: MaskOptions, job: Job) -> Answer:
        """Turn a picture into its saliency mask.

        Raises:
            CutoutError: Any leaf that the steps name.
        """
        async with self._deadline(job):
            way_in = await self._admit(upload, options, job)
            return await self._relayed(self._carry_mask(way_in, options, job), way_in, job)

    async def cutout(
        self, upload: bytes, options: CutoutOptions, job: Job, *, beside: Beside | None = None
    ) -> Answer:
        """Turn a picture into its cutout; with a mask of the caller's own, without the network.

        Raises:
            CutoutError: Any leaf that the steps name.
            NotModified: The caller has this answer already.
        """
        async with self._deadline(job):
            way_in = await self._admit(upload, options, job)
            if beside is not None:
                backdrop = await self._admit_beside(beside.backdrop, job)
                way_in = replace(way_in, backdrop=backdrop, mask=await self._admit_beside(beside.mask, job))
            return await self._relayed(self._carry_cutout(way_in, options, job), way_in, job)

    async def infer(self, model: str, pictures: NetworkInput, job: Job) -> SaliencyMap:
        """Run the network on (N, S, S, 3) uint8 as it is; the raw saliency is (N, S, S) float32.

        Raises:
            CutoutError: Any leaf that the steps name; InvalidOption where S is not the network's.
        """
        async with self._deadline(job):
            pixels = pictures.shape[0] * pictures.shape[1] * pictures.shape[2]
            with job.steps.step("admit"):
                job.permit.hold_pixels(pixels)
                if job.allowance is not None:
                    job.allowance.spend_pixels(pixels)
            await self._load(model, job)
            try:
                return await relayed(self._infer_each(model, pictures, job))
            except asyncio.CancelledError:
                job.permit.release()
                raise

    async def _infer_each(self, model: str, pictures: NetworkInput, job: Job) -> SaliencyMap:
        with self.models.lease(model) as session, self.forecast.on_its_way(len(pictures)):
            if session is None:
                raise Overloaded("models in memory")
            side = session.manifest.input_size_px
            if pictures.shape[1:3] != (side, side):
                raise InvalidOption("shape", f"[N, {side}, {side}, 3]")
            job.steps.current = "batch"
            tickets: list[Ticket] = []
            maps: list[SaliencyMap] = []
            try:
                tickets.extend(
                    self._batcher.submit(model, picture, deadline_s=job.deadline_s) for picture in pictures
                )
                for ticket in tickets:
                    give_up = partial(self._batcher.abandon, ticket)
                    inferred = await Leg(ticket.future, give_up, can_be_left=True)
                    maps.append(inferred.saliency)
                job.steps.add("batch", inferred.waited_s)  # of the last, which waited longest
                job.steps.add("infer", inferred.ran_s)
            finally:
                for ticket in tickets[len(maps) :]:
                    self._batcher.abandon(ticket)
        return np.stack(maps)

    def recall(self, etag: str) -> Answer | None:
        """Return the answer of this entity tag, if it is remembered."""
        answer = self._cache.get(etag)
        return None if answer is None else replace(answer, is_remembered=True)

    async def _carry_mask(self, way_in: "WayIn", options: MaskOptions, job: Job) -> Answer:
        seen = await self._see(way_in, options, job)
        workers = self._pools.finish if options.matting == "none" else self._pools.matte
        return await workers.call(finish_mask, seen, options, job.steps, hq_budget_s=self._hq_budget_s)

    async def _carry_cutout(self, way_in: "WayIn", options: CutoutOptions, job: Job) -> Answer:
        seen = await self._see(way_in, options, job)
        drawn = await self._pools.matte.call(
            compose_cutout, seen, options, job.steps, hq_budget_s=self._hq_budget_s
        )
        del seen  # a picture's colours are a quarter of what encoding would hold
        return await self._pools.finish.call(finish, drawn, options, job.steps)

    async def _admit(self, upload: bytes, options: MaskOptions | CutoutOptions, job: Job) -> "WayIn":
        name = self.models.choose(options.model)
        with job.steps.step("admit"):
            header = await self._sniffed(upload)
            check_size(header, limit_px=self._limit_px, limit_side_px=self._limit_side_px)
            pixels = header.width_px * header.height_px
            per_picture_s = self._batcher.per_picture_s(name)
            self.check_time(
                job.deadline_s,
                pixels=pixels,
                pixels_in_flight=job.permit.pixels_in_flight,
                per_picture_s=per_picture_s,
                runs=_runs(options),
            )
            job.permit.hold_pixels(min(pixels + _pixels_beside(pixels, options), self._limit_px))
            if job.allowance is not None:
                job.allowance.spend_pixels(pixels)
        await self._load(name, job)
        return WayIn(upload, header, name)

    async def _load(self, name: str, job: Job) -> None:
        if name not in self.models.sessions:
            with job.steps.step("load"):
                await self._loading.run(self.models.load, name)

    async def _admit_beside(self, upload: bytes | None, job: Job) -> tuple[bytes, Header] | None:
        if upload is None:
            return None
        with job.steps.step("admit"):
            header = await self._sniffed(upload)
            check_size(header, limit_px=self._limit_px, limit_side_px=self._limit_side_px)
            job.permit.hold_pixels(header.width_px * header.height_px)
        return upload, header

    async def _relayed(self, journey: Journey[Answer], way_in: "WayIn", job: Job) -> Answer:
        """Let a journey's steps hand on to each other, and learn what they cost."""
        try:
            answer = await relayed(journey)
        except Remembered as found:
            return replace(found.answer, is_remembered=True)
        except asyncio.CancelledError:
            job.permit.release()  # before anybody writes a log line about it
            raise
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            raise
        seconds = sum(job.steps.seconds.get(name, 0.0) for name in WORKER_STEPS)
        if HQ_CUT_SHORT not in answer.facts.warnings:  # what time cut short may come out better next time
            self._cache.put(answer.facts.etag, answer, size_bytes=answer.size_bytes)
        self.forecast.learn(pixels=way_in.header.width_px * way_in.header.height_px, seconds=seconds)
        return answer

    async def _see(self, way_in: "WayIn", options: MaskOptions | CutoutOptions, job: Job) -> Seen:
        with self.models.lease(way_in.model) as session, self.forecast.on_its_way(_runs(options)):
            if session is None:
                raise Overloaded("models in memory")
            read = await self._pools.decode.call(
                read_picture,
                way_in,
                session.manifest,
                options,
                job.steps,
                known=job.known,
                read=self._read,
                cache=self._cache,
            )
            if read.network_input is None:
                raw, provider = read.mask, OWN_MASK
            else:
                inferred = await self._infer(way_in.model, read.network_input, job)
                raw, provider = inferred.saliency, session.provider
            assert raw is not None  # noqa: S101 - there is the one or the other
            scene_is_empty = is_empty(raw) if read.mask is None else not raw.any()
            if scene_is_empty and options.require_foreground:
                raise NoForeground
            if read.mask is None:
                raw = np.zeros_like(raw) if scene_is_empty else stretch(raw)
            seen = Seen(
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
                return seen
            if options.refine == "crop":
                return await self._look_closer(seen, job)
        return seen

    async def _look_closer(self, seen: Seen, job: Job) -> Seen:
        """Let the network look again at the subject alone; where that is no use, nothing changes."""
        height, width = seen.picture.rgb.shape[:2]
        box = choose_crop(seen.saliency, height, width)
        if seen.is_empty or box is None:
            return seen
        network_input = await self._pools.decode.call(read_crop, seen, box, job.steps)
        inferred = await self._infer(seen.manifest.name, network_input, job)
        if is_empty(inferred.saliency):
            return seen
        return await self._pools.matte.call(blend, seen, inferred.saliency, box, job.steps)

    async def _sniffed(self, upload: bytes) -> Header:
        """Sniff an upload; a large one on a thread, since the event loop has no milliseconds to spare."""
        if len(upload) <= SNIFFED_AT_ONCE_BYTES:
            return sniff(upload)
        return await self._sniffing.run(sniff, upload)

    def check_time(
        self,
        deadline_s: float,
        *,
        pixels: int = 0,
        pixels_in_flight: int = 0,
        per_picture_s: float | None = None,
        runs: int = 1,
    ) -> None:
        """Refuse at once what cannot be finished in time; an idle server tries, and so learns better.

        Without its pixels and its model, a request is taken for the smallest picture to the fastest model:
        what is refused even so need not be read.

        Raises:
            Overloaded: There is more to do before the deadline than time for it.
        """
        if self.forecast.ahead == 0:
            return
        if per_picture_s is None:
            per_picture_s = min(self._batcher.per_picture_s(name) for name in self.models.names)
        total_s = self.forecast.total_s(
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
        inferred = await Leg(ticket.future, partial(self._batcher.abandon, ticket), can_be_left=True)
        job.steps.add("batch", inferred.waited_s)
        job.steps.add("infer", inferred.ran_s)
        return inferred

    def device_wait_s(self, model: str) -> float:
        """Return the device time ahead of a picture for ``model`` that arrives now."""
        return self.forecast.ahead * self._batcher.per_picture_s(model)

    def is_overdue(self) -> bool:
        """Tell whether the executor may hang."""
        return self._batcher.is_overdue()

    def is_stuck(self) -> bool:
        """Tell whether the executor hangs, so that the process had better be replaced."""
        return self._batcher.is_stuck()

    def _deadline(self, job: Job) -> Deadline:
        return Deadline(job.deadline_s - self._clock.now_s())

    def close(self) -> None:
        """Finish what was accepted and end the threads."""
        self._batcher.stop()
        self._pools.stop()
        self._loading.stop()
        self._sniffing.stop()
        self._on_close()


def _runs(options: MaskOptions | CutoutOptions) -> int:
    """Return how often the network may have to look at a picture."""
    return 2 if options.refine == "crop" else 1


def _pixels_beside(pixels: int, options: MaskOptions | CutoutOptions) -> int:
    """Return how many more pixels are to be held for what the matting takes beside the picture."""
    return solved_pixels(min(pixels, MOST_PX)) if options.matting == "hq" else 0
