"""Run: runs the steps of a request in their order.

    receive → admit → decode → prepare → batch → infer → matte → compose → encode → write
    (web)     ────────────────────── app/pipeline ──────────────────────────────   (web)

``Pipeline.run`` has the order, and the thread that each step runs on. The modules of this package have the
steps. The pipeline depends on neither HTTP nor a framework: ``build.py`` makes one from settings, and
``local.py`` runs one without a server.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from app.engine.batching.batcher import Batcher
from app.engine.capacity.admission import Budget
from app.engine.clock import Clock
from app.engine.models.manifest import sha256_of
from app.engine.models.registry import ModelRegistry, Session
from app.engine.threads.places import Places
from app.engine.threads.trampoline import run_on_threads
from app.engine.threads.workers import Pools
from app.errors import Overloaded
from app.options import CutoutOptions, MaskOptions
from app.pipeline.admit import PictureAdmission
from app.pipeline.context import RequestContext, time_limit
from app.pipeline.encode import encode_result
from app.pipeline.footprint import PictureLimits
from app.pipeline.inference import TensorInference, infer
from app.pipeline.prepare import Decoder, prepare_refinement, prepare_request
from app.pipeline.render import RenderLimits, is_quick, render
from app.pipeline.result_cache import ResultCache, etag_of
from app.pipeline.scene import blend, planned_runs, refinement_box, segmentation_of
from app.pipeline.values import ImageRequest, NotModified, PreparedPicture, Result, Segmentation
from app.telemetry import StepTimes

UNLIMITED_PIXELS = 24_000_000
"""Pictures with fewer pixels together are decoded without waiting for a place."""


class Pipeline:
    """Turns requests into results.

    Attributes:
        models: The registry of networks.
        pools: The thread pools.
        results: The results of recent requests.
        budget: The limits on requests in flight, which depend on the memory that the models left.
        admission: Enforces the limits on pixels, memory and time.
        tensors: Runs a network on raw tensors.
        why_not_cuda: The reason why CUDA is not used, if it is not.
    """

    def __init__(
        self,
        models: ModelRegistry,
        batcher: Batcher,
        pools: Pools,
        *,
        clock: Clock,
        budget: Budget,
        limits: PictureLimits,
        render_limits: RenderLimits,
        decoder: Decoder,
        results: ResultCache,
        why_not_cuda: str | None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.models = models
        self.pools = pools
        self.results = results
        self.budget = budget
        self.admission = PictureAdmission(models, batcher, pools, limits, clock)
        self.tensors = TensorInference(models, batcher, self.admission)
        self.why_not_cuda = why_not_cuda
        self._batcher = batcher
        self._places: dict[str, Places] = {}
        self._limits = render_limits
        self._decoder = decoder
        self._on_close = on_close
        self._clock = clock

    async def run(self, request: ImageRequest, context: RequestContext) -> Result | NotModified:
        """Turn a request into its result.

        receive → admit → decode → prepare → batch → infer → matte → compose → encode → write

        Raises:
            CutoutError: A step fails.
        """
        async with time_limit(context, self._clock):
            request, needed = await self.admission.admit(request, context)  # admit
            result: Result | NotModified | None = None
            try:
                work = self._work(request, needed.pixels, context)
                result = await run_on_threads(work, on_end=context.permit.keep())
            finally:
                self.admission.settle(request, needed, result, context)
            return result

    async def _work(
        self, request: ImageRequest, pixels: int, context: RequestContext
    ) -> Result | NotModified:
        options, steps = request.options, context.steps
        runs = planned_runs(request)
        model = context.model or self.models.default
        async with AsyncExitStack() as place:
            with self._lease(model) as session, self.admission.wait_estimator.counting(model, runs):
                etag = etag_of(request, sha256_of(session.manifest, session.choice.precision))
                if (found := self.results.find(etag, context)) is not None:
                    return found
                await place.enter_async_context(self._place(model, pixels, context))
                prepared = await self.pools.decode.call(  # decode, prepare
                    prepare_request, request, etag, session.manifest, steps, self._decoder
                )
                segmentations = [await self._segment(prepared, options, session, context)]
            del prepared  # what is no longer needed, since each step may hold as much again
            pool = self.pools.encode if is_quick(segmentations[0], options) else self.pools.matte
            result = await pool.call(  # matte, compose, encode: changing the thread takes longer
                _finish, segmentations, options, steps, self._limits
            )
        self.results.keep(result, context)
        return result

    async def _segment(
        self,
        prepared: PreparedPicture,
        options: MaskOptions | CutoutOptions,
        session: Session,
        context: RequestContext,
    ) -> Segmentation:
        raw = None
        if prepared.network_input is not None:
            raw = await infer(self._batcher, session, prepared.network_input, context)  # batch, infer
        segmentation = segmentation_of(prepared, raw, options, session)
        box = refinement_box(segmentation, options)
        if box is None:
            return segmentation
        crop = await self.pools.decode.call(prepare_refinement, segmentation, box, context.steps)
        raw = await infer(self._batcher, session, crop, context)
        return await self.pools.matte.call(blend, segmentation, raw, crop, box, context.steps)

    @asynccontextmanager
    async def _place(self, model: str, pixels: int, context: RequestContext) -> AsyncIterator[None]:
        """Have one of the places of a model's pictures for the block, which a large picture waits for."""
        places = self._places.get(model)
        if places is None:
            places = Places(self.pools.decode.threads + 2 * self.max_batch - 1, UNLIMITED_PIXELS)
            places = self._places.setdefault(model, places)
        context.steps.current, since_s = "batch", self._clock.now_s()
        async with places.place(pixels) as was_waited_for:
            if was_waited_for:
                context.steps.add("batch", self._clock.now_s() - since_s)
            yield

    @contextmanager
    def _lease(self, model: str) -> Iterator[Session]:
        """Keep a model in memory during the block."""
        with self.models.lease(model) as session:
            if session is None:
                raise Overloaded("models in memory")
            yield session

    def device_wait_s(self, model: str) -> float:
        """Return the device time of the runs queued before a picture for ``model`` that arrives now."""
        return self.admission.queued_s(model)[0]

    def run_s(self, model: str) -> Mapping[int, float]:
        """Return the seconds of one run of a model here, by batch size; empty if it was never loaded."""
        return self._batcher.costs.seconds.get(model, {})

    @property
    def max_batch(self) -> int:
        """The maximum number of pictures in one run of a network."""
        return self._batcher.max_batch

    def is_overdue(self) -> bool:
        """Return whether the executor may hang."""
        return self._batcher.is_overdue()

    def is_stuck(self) -> bool:
        """Return whether the executor hangs, so that the process must be replaced."""
        return self._batcher.is_stuck()

    def close(self) -> None:
        """Finish the accepted work and stop the threads."""
        self._batcher.stop()
        self.pools.stop()
        self._on_close()


def _finish(
    segmentations: list[Segmentation],
    options: MaskOptions | CutoutOptions,
    steps: StepTimes,
    limits: RenderLimits,
) -> Result:
    """Render and encode the one segmentation in a list, out of which it is taken: nothing else keeps it.

    While the result is encoded, the picture's memory is free again.
    """
    return encode_result(render(segmentations.pop(), options, steps, limits), options, steps)
