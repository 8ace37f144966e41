"""Carry: one request from its first byte to its answer, in whatever words it is asked.

A dialect understands (``ParseRequest``) a body and a query as a ``Wanted``; what happens then is the same for
all: the permit, the body within its limits, pictures fetched by their URL, the pipeline, departures.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from app.engine.deadline import Deadline
from app.errors import FetchingDisabled, MalformedRequest
from app.options import CutoutOptions, MaskOptions
from app.pipeline.render import Result
from app.pipeline.run import Beside, Job
from app.web.context import context_of
from app.web.disconnect import cancel_on_disconnect
from app.web.request.forms import FORMS, kind_of, read_query
from app.web.request.receive import read_body
from app.web.service import Service, service_of


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A picture that was sent, or the URL of one."""

    upload: bytes | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for."""

    picture: PictureSource
    options: MaskOptions | CutoutOptions
    backdrop: PictureSource | None = None
    mask: bytes | None = None


UNDERSTOOD_AT_ONCE_BYTES = 4096
NAME_PATTERN = r'^"?[!#-~]{1,255}"?$'
Query = Sequence[tuple[str, str]]
ParseRequest = Callable[[str, bytes, Query], Wanted]


async def carry(
    request: Request,
    parse_request: ParseRequest,
    *,
    known: frozenset[str] = frozenset(),
    name: str | None = None,
) -> Result:
    """Carry a request through the service; the permit ends before the answer is written.

    Args:
        request: The request.
        parse_request: What makes sense of its body and its query.
        known: Entity tags of answers that the caller has.
        name: The caller's own name for the request, its ``Idempotency-Key``.

    Raises:
        CutoutError: Any leaf that the steps name.
        NotModified: The answer is one of those whose entity tags are ``known``.
    """
    service = service_of(request)
    pipeline = service.ready_pipeline()
    context = context_of(request.scope)
    limits = service.settings.limits
    with service.admission.enter() as permit:
        owner = context.key_name or ""
        job = Job(permit, context.steps, context.deadline_s, context.quota, known, owner)
        async with Deadline(context.deadline_s - service.clock.now_s()):
            with context.steps.step("receive"):
                body = await read_body(
                    request, permit, limit_bytes=limits.upload_bytes, timeout_s=limits.upload_timeout_s
                )
                context.upload_bytes = len(body)
                wanted = await _understood(request, body, parse_request, job)
                del body
        context.model = pipeline.models.choose(wanted.options.model)
        if name is None:
            result = await cancel_on_disconnect(request, _carried(service, wanted, job))
        else:
            result = await _carried_once(request, wanted, job, name)
        context.on_written = service.admission.hold_response(result.size_bytes)
    context.note(result)
    return result


async def _carried_once(request: Request, wanted: Wanted, job: Job, name: str) -> Result:
    """Carry a request that has a name, unless its answer is remembered; that costs no megapixels again."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise MalformedRequest("The Idempotency-Key is not one to 255 visible characters.")
    service = service_of(request)
    pipeline = service.ready_pipeline()
    fingerprint = await pipeline.aside(job, _fingerprint, wanted)
    with service.idempotency_keys.claim(job.owner, name.strip('"'), fingerprint) as claim:
        result = None if claim.etag is None else pipeline.recall(claim.etag, job.owner)
        if result is None:
            result = await cancel_on_disconnect(request, _carried(service, wanted, job))
        claim.etag = result.info.etag
    return result


def _fingerprint(wanted: Wanted) -> str:
    """Return what tells a request from another: not its bytes, as a form has another boundary each time."""
    digest = hashlib.sha256(f"{type(wanted.options).__name__}{wanted.options.model_dump_json()}".encode())
    backdrop = wanted.backdrop or PictureSource()
    for part in (wanted.picture.upload, backdrop.upload, wanted.mask):
        digest.update(hashlib.sha256(b"-" if part is None else b"+" + part).digest())
    for url in (wanted.picture.url, backdrop.url):
        digest.update(hashlib.sha256((url or "").encode()).digest())
    return digest.hexdigest()


async def _understood(request: Request, body: bytes, parse_request: ParseRequest, job: Job) -> Wanted:
    """Understand a request, beside the event loop where a body may have to be taken apart.

    Its parts are copies, for which as many bytes are held until the body itself is gone.
    """
    content_type = request.headers.get("content-type", "")
    query = read_query(request.scope["query_string"])
    if len(body) <= UNDERSTOOD_AT_ONCE_BYTES or kind_of(content_type, body)[0] not in FORMS:
        return parse_request(content_type, body, query)
    with job.permit.holding_bytes(len(body)):
        return await service_of(request).ready_pipeline().aside(job, parse_request, content_type, body, query)


async def _carried(service: Service, wanted: Wanted, job: Job) -> Result:
    pipeline = service.ready_pipeline()
    upload = await _bytes_of(service, wanted.picture, job)
    if isinstance(wanted.options, MaskOptions):
        return await pipeline.mask(upload, wanted.options, job)
    backdrop = None if wanted.backdrop is None else await _bytes_of(service, wanted.backdrop, job)
    beside = Beside(backdrop, wanted.mask)
    return await pipeline.cutout(upload, wanted.options, job, beside=beside)


async def _bytes_of(service: Service, source: PictureSource, job: Job) -> bytes:
    """Return the picture that was sent, or fetch the one that was named."""
    if source.url is None:
        return source.upload or b""
    if service.fetcher is None:
        raise FetchingDisabled
    with job.steps.step("fetch"):
        return await service.fetcher.fetch(
            source.url,
            job.permit,
            limit_bytes=service.settings.limits.upload_bytes,
            deadline_s=job.deadline_s,
        )
