"""Inference: runs a network for one request, in batches with other requests."""

from functools import partial

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.batcher import Batcher
from app.engine.batching.planning import Ticket
from app.engine.models.registry import ModelRegistry, Session
from app.engine.threads.trampoline import ThreadAwaitable, run_on_threads
from app.errors import InvalidOption, Overloaded
from app.pipeline.admit import PictureAdmission
from app.pipeline.context import RequestContext
from app.pipeline.footprint import Footprint

TENSOR_BYTES = 16
"""Bytes per pixel of a raw tensor: the pixel, its map, and the copies while the maps are stacked."""


async def infer(
    batcher: Batcher, session: Session, network_input: NetworkInput, context: RequestContext
) -> SaliencyMap:
    """Run a loaded network on one picture, and return its raw map."""
    context.steps.current = "batch"
    ticket = batcher.submit(
        session.manifest.name,
        network_input,
        deadline_s=context.deadline_s,
        is_background=context.is_background,
    )
    inferred = await ThreadAwaitable(ticket.future, partial(batcher.abandon, ticket), can_be_left=True)
    context.steps.add("batch", inferred.waited_s)
    context.steps.add("infer", inferred.ran_s)
    return inferred.saliency


class TensorInference:
    """Runs a network on raw tensors, for the Open Inference Protocol.

    N pictures are charged like N requests, and alternate with the pictures of other requests.
    """

    def __init__(self, models: ModelRegistry, batcher: Batcher, admission: PictureAdmission) -> None:
        self._models = models
        self._batcher = batcher
        self._admission = admission

    async def run(self, pictures: NetworkInput, context: RequestContext) -> SaliencyMap:
        """Run ``context.model`` on uint8 (N, S, S, 3), and return its raw saliency, float32 (N, S, S).

        Raises:
            CutoutError: A step fails; ``InvalidOption`` if S is not the network's input size.
        """
        assert context.model is not None  # noqa: S101 - chosen by the endpoint's path
        count, height, width = pictures.shape[:3]
        pixels = count * height * width
        await self._admission.load(context.model, context)
        with context.steps.step("admit"):
            self._check_shape(context.model, pictures)
            self._check_long_run(context.model, count, context)
            if context.quota is not None:
                context.quota.spend_rest_of(count)  # the first was charged when the request arrived
            self._admission.hold(Footprint(pixels, TENSOR_BYTES * pixels), context)
        work = self._infer_all(context.model, pictures, context)
        return await run_on_threads(work, on_end=context.permit.keep())

    def _check_shape(self, model: str, pictures: NetworkInput) -> None:
        """Refuse tensors that do not have the network's input size."""
        with self._models.lease(model) as session:
            if session is None:
                raise Overloaded("models in memory")
            side = session.manifest.input_size_px
        if pictures.shape[1:3] != (side, side):
            raise InvalidOption("shape", f"[N, {side}, {side}, 3]")

    def _check_long_run(self, model: str, count: int, context: RequestContext) -> None:
        """Refuse N pictures that cannot all run in time, if other long requests take every other turn."""
        runs = count + self._admission.wait_estimator.turns_of_others(count)
        self._admission.check_time(context.deadline_s, model=model, runs=runs)

    async def _infer_all(self, model: str, pictures: NetworkInput, context: RequestContext) -> SaliencyMap:
        """Run pictures a few at a time, so that other requests get turns in between."""
        estimator = self._admission.wait_estimator
        with self._models.lease(model) as session, estimator.long_run(len(pictures)) as long_run:
            if session is None:
                raise Overloaded("models in memory")
            maps: list[SaliencyMap] = []
            for first in range(0, len(pictures), self._batcher.max_batch):
                group = pictures[first : first + self._batcher.max_batch]
                maps += await self._infer_group(model, group, context)
                long_run.left -= len(group)
        return np.stack(maps)

    async def _infer_group(
        self, model: str, pictures: NetworkInput, context: RequestContext
    ) -> list[SaliencyMap]:
        context.steps.current = "batch"
        tickets: list[Ticket] = []
        maps: list[SaliencyMap] = []
        with self._admission.wait_estimator.counting(model, len(pictures)):
            try:
                tickets.extend(
                    self._batcher.submit(model, picture, deadline_s=context.deadline_s)
                    for picture in pictures
                )
                for ticket in tickets:
                    give_up = partial(self._batcher.abandon, ticket)
                    inferred = await ThreadAwaitable(ticket.future, give_up, can_be_left=True)
                    maps.append(inferred.saliency)
                context.steps.add("batch", inferred.waited_s)  # of the last ticket, which waited longest
                context.steps.add("infer", inferred.ran_s)
            finally:
                for ticket in tickets[len(maps) :]:
                    self._batcher.abandon(ticket)
        return maps
