"""Service: the shared parts of a running server, and how it runs one parsed request."""

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from starlette.requests import Request

from app.engine.capacity.admission import Admission
from app.engine.capacity.idempotency import Claim, IdempotencyKeys
from app.engine.clock import Clock
from app.errors import FetchingDisabled, MalformedRequest, NotReady
from app.pipeline.context import RequestContext
from app.pipeline.run import Pipeline
from app.pipeline.values import (
    EXTRA_PICTURES,
    CutoutRequest,
    ImageRequest,
    NotModified,
    PictureSource,
    Result,
)
from app.settings import Settings
from app.telemetry import Telemetry
from app.web.api_keys import ApiKeys
from app.web.batch.limiter import BatchLimiter
from app.web.drain import Drain
from app.web.lingering import DropRate
from app.web.request.fetch import PictureFetcher

IDEMPOTENCY_KEY_PATTERN = r'^"?[!#-~]{1,255}"?$'


@dataclass(slots=True)
class Service:
    """The parts of a running server.

    ``pipeline`` is set when the models are loaded and warm. Without a ``fetcher``, URLs are refused.
    """

    settings: Settings
    telemetry: Telemetry
    admission: Admission
    clock: Clock
    drain: Drain
    keys: ApiKeys
    idempotency_keys: IdempotencyKeys
    drop_rate: DropRate
    batches: BatchLimiter
    fetcher: PictureFetcher | None = None
    pipeline: Pipeline | None = None
    failure: Exception | None = None

    def ready_pipeline(self) -> Pipeline:
        """Return the pipeline.

        Raises:
            NotReady: The models are not loaded yet, or cannot be.
        """
        if self.pipeline is None:
            raise NotReady(
                "The model could not be loaded." if self.failure else "The model is still loading."
            )
        return self.pipeline

    async def run(self, request: ImageRequest, context: RequestContext) -> Result | NotModified:
        """Return the result of a parsed request; with an idempotency key, a repeat is not processed again.

        Raises:
            CutoutError: A step fails.
        """
        pipeline = self.ready_pipeline()
        context.model = pipeline.models.choose(request.options.model)
        async with self._claim(request, context) as claim:
            known = None if claim.etag is None else pipeline.results.recall(claim.etag, context.key_name)
            result = known or await pipeline.run(await self._fetch(request, context), context)
            if isinstance(result, Result):
                claim.etag = result.info.etag
                context.on_written = self.admission.hold_response(result.size_bytes)
                context.log_result(result)
        return result

    @asynccontextmanager
    async def _claim(self, request: ImageRequest, context: RequestContext) -> AsyncIterator[Claim]:
        """Hold the request's idempotency key, if it has one, for the block.

        Raises:
            CutoutError: As ``hold_key``.
        """
        digest = ""
        if context.idempotency_key is not None:
            threads = self.ready_pipeline().pools.inspect
            digest = await threads.run_holding(context.permit, request_digest, request)
        with self.hold_key(context, digest) as claim:
            yield claim

    @contextmanager
    def hold_key(self, context: RequestContext, digest: str) -> Iterator[Claim]:
        """Hold the idempotency key of a request with a digest, if it has one, for the block.

        Raises:
            MalformedRequest: The key is not one to 255 visible characters.
            RequestInProgress: The same request is in progress.
            IdempotencyKeyReused: The key belongs to another request.
        """
        if context.idempotency_key is None:
            yield Claim("")
            return
        if re.fullmatch(IDEMPOTENCY_KEY_PATTERN, context.idempotency_key) is None:
            raise MalformedRequest("The Idempotency-Key is not one to 255 visible characters.")
        key = context.idempotency_key.strip('"')
        with self.idempotency_keys.claim(context.key_name, key, digest) as claim:
            yield claim

    def batch_concurrency(self) -> int:
        """Return how many pictures of batches are at work at a time."""
        pipeline, limits = self.ready_pipeline(), self.settings.limits
        wanted = limits.batch_concurrency or max(pipeline.pools.decode.threads, pipeline.max_batch)
        return max(1, min(wanted, limits.in_flight_requests // 2))

    async def _fetch(self, request: ImageRequest, context: RequestContext) -> ImageRequest:
        """Fetch the pictures that a request names by their URLs."""
        request = replace(request, picture=await self._fetch_one(request.picture, context))
        if isinstance(request, CutoutRequest) and request.backdrop is not None:
            request = replace(request, backdrop=await self._fetch_one(request.backdrop, context))
        return request

    async def _fetch_one(self, source: PictureSource, context: RequestContext) -> PictureSource:
        if source.url is None:
            return source
        if self.fetcher is None:
            raise FetchingDisabled
        with context.steps.step("fetch"):
            upload = await self.fetcher.fetch(
                source.url,
                context.permit,
                limit_bytes=self.settings.limits.upload_bytes,
                deadline_s=context.deadline_s,
            )
        return replace(source, upload=upload)


def request_digest(request: ImageRequest) -> str:
    """Return what identifies a repeated request; not its bytes, since each form has another boundary."""
    options = request.options
    digest = hashlib.sha256(f"{type(options).__name__}{options.model_dump_json()}".encode())
    for source in (request.picture, *(getattr(request, role) for role in EXTRA_PICTURES)):
        upload = None if source is None else source.upload
        digest.update(hashlib.sha256(b"-" if upload is None else b"+" + upload).digest())
        url = None if source is None else source.url
        digest.update(hashlib.sha256((url or "").encode()).digest())
    return digest.hexdigest()


def service_of(request: Request) -> Service:
    """Return the service of a request."""
    service = request.app.state.service
    assert isinstance(service, Service)  # noqa: S101 - create_app puts it there
    return service
