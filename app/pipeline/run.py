"""Run: runs the steps of a request in their order.

    receive → admit → decode → prepare → batch → infer → matte → compose → encode → write
    (web)     ────────────────────── app/pipeline ──────────────────────────────   (web)

``Pipeline.run`` has the order, and the thread that each step runs on. The modules of this package have the
steps. The pipeline depends on neither HTTP nor a framework: ``build.py`` makes one from settings, and
``local.py`` runs one without a server.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from app.engine.batching.batcher import Batcher
from app.engine.capacity.admission import Budget
from app.engine.clock import Clock
from app.engine.models.manifest import sha256_of
from app.engine.models.registry import ModelRegistry, Session
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
                result = await run_on_threads(self._work(request, context), on_end=context.permit.keep())
            finally:
                self.admission.settle(request, needed, result, context)
            return result

    async def _work(self, request: ImageRequest, context: RequestContext) -> Result | NotModified:
        options, steps = request.options, context.steps
        runs = planned_runs(request)
        model = context.model or self.models.default
        with self._lease(model) as session, self.admission.wait_estimator.counting(model, runs):
            etag = etag_of(request, sha256_of(session.manifest, session.choice.precision))
            if (found := self.results.find(etag, context)) is not None:
                return found
            prepared = await self.pools.decode.call(  # decode, prepare
                prepare_request, request, etag, session.manifest, steps, self._decoder
            )
            segmentation = await self._segment(prepared, options, session, context)
        del prepared  # what is no longer needed, since each step may hold as much again
        if is_quick(segmentation, options):  # matte, encode: changing the thread takes longer
            result = await self.pools.encode.call(_finish, segmentation, options, steps, self._limits)
        else:
            rendered = await self.pools.matte.call(  # matte, compose
                render, segmentation, options, steps, self._limits
            )
            del segmentation
            result = await self.pools.encode.call(encode_result, rendered, options, steps)  # encode
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
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, steps: StepTimes, limits: RenderLimits
) -> Result:
    return encode_result(render(segmentation, options, steps, limits), options, steps)
