"""Response: processes a batch while its body arrives, and sends each result as soon as it is ready.

    body ─▶ intake ─▶ pictures at work ─▶ outbox ─▶ renderer ─▶ client
              └ waits while all slots are taken, or the client does not read

An error before the first outcome becomes the response, as for other requests. After that, the response goes
on to its end: outcomes of the pictures so far, and in the report why the batch ended early. If the client
disconnects, all tasks end.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import CutoutError
from app.pipeline.context import RequestContext
from app.web.batch.form import BatchForm
from app.web.batch.intake import Intake
from app.web.batch.outbox import Outbox
from app.web.batch.reading import BodyReader
from app.web.batch.renderers import Renderer, renderer_for
from app.web.batch.report import Report
from app.web.batch.upload import BatchUpload
from app.web.context import context_of
from app.web.disconnect import wait_for_disconnect, wait_for_loss
from app.web.load_shedding import allowed_seconds
from app.web.problems import problem_body, response_slug
from app.web.request.forms import read_query
from app.web.request.receive import check_declared
from app.web.service import service_of

PATIENCE_S = 10.0
"""The time for a client to read results, before the rest of its batch is refused."""


class BatchResponse(Response):
    """The response to one batch; sending it reads and processes the batch.

    Args:
        request: The request.

    Raises:
        CutoutError: The batch is refused before its body is read.
    """

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request
        self._service = service = service_of(request)
        limits = service.settings.limits
        service.ready_pipeline()
        check_declared(request, limit_bytes=limits.batch_bytes)
        self._form = BatchForm(read_query(request.scope["query_string"]))
        self._context = context_of(request.scope)
        self._context.item_s = allowed_seconds(request.headers, limits.deadline_s)
        self._context.deadline_s = self._context.started_s + limits.batch_deadline_s
        self._context.idempotency_key = request.headers.get("idempotency-key")
        self._report = Report()
        self._renderer = renderer_for(request.headers.get("accept", ""), self._report)
        patience_s = min(PATIENCE_S, limits.write_timeout_s / 2)
        self._outbox = Outbox(service.clock, limit_bytes=limits.batch_unread_bytes, patience_s=patience_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Process the batch, and send the response."""
        writer = _Writer(send, self._context, self._renderer, self._outbox)
        with ExitStack() as held:
            held.enter_context(self._service.batches.enter())
            try:
                async with asyncio.TaskGroup() as group:
                    watching = [group.create_task(wait_for_loss(self._request))]
                    writing = group.create_task(writer.write_all())
                    await self._process(
                        held, lambda: watching.append(group.create_task(wait_for_disconnect(self._request)))
                    )
                    await writing
                    held.close()  # all work is done
                    for task in watching:
                        task.cancel()
                    await writer.end()
            except BaseExceptionGroup as errors:
                raise _first_of(errors) from None
            finally:
                self._outbox.drop()
                self._log()

    async def _process(self, held: ExitStack, on_body_end: Callable[[], None]) -> None:
        """Read the body, and wait for its pictures."""
        limits = self._service.settings.limits
        permit = held.enter_context(self._service.admission.enter())
        body = BodyReader(
            self._request,
            self._service.clock,
            limit_bytes=limits.batch_bytes,
            timeout_s=limits.upload_timeout_s,
        )
        async with asyncio.TaskGroup() as pictures:
            intake = Intake(
                self._service,
                self._context,
                permit,
                form=self._form,
                outbox=self._outbox,
                held=held,
                start=pictures.create_task,
            )
            upload = BatchUpload(self._request.headers.get("content-type", ""), limits.upload_bytes)
            try:
                await intake.read_all(body, upload)
                on_body_end()
            except CutoutError as error:
                if intake.count == 0:
                    raise
                self._context.outcome = response_slug(error)
                self._report.problem = problem_body(error, self._context.request_id)
            finally:
                self._context.upload_bytes = body.received_bytes
                self._context.steps.add("receive", body.waited_s)
                self._report.ignored = intake.ignored
        self._report.unused_names = self._form.unused_names()
        self._outbox.close()

    def _log(self) -> None:
        report = self._report
        self._context.log_fields = {
            "succeeded": report.succeeded,
            "failed": report.failed,
            "skipped": report.skipped,
            "ignored": report.ignored,
            "result_bytes": report.result_bytes,
        }


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


class _Writer:
    """Sends the response of one batch; it begins with the first outcome."""

    def __init__(self, send: Send, context: RequestContext, renderer: Renderer, outbox: Outbox) -> None:
        self._send = send
        self._context = context
        self._renderer = renderer
        self._outbox = outbox

    async def write_all(self) -> None:
        """Send outcomes until the outbox is closed."""
        while (item := await self._outbox.take()) is not None:
            try:
                await self._begin()
                async for piece in self._renderer.item(item):
                    await self._send_piece(piece)
            finally:
                self._outbox.finish(item)

    async def end(self) -> None:
        """Send the end of the response."""
        await self._begin()
        async for piece in self._renderer.end():
            await self._send_piece(piece)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self) -> None:
        if self._context.has_begun:
            return
        self._context.is_duplex = True
        headers = {"content-type": self._renderer.media_type, "vary": "Accept"}
        if self._renderer.file_name:
            headers["content-disposition"] = f'attachment; filename="{self._renderer.file_name}"'
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def _send_piece(self, piece: bytes | memoryview) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._outbox.note_progress()
        await asyncio.sleep(0)  # with a fast reader, ``send`` alone would never yield to other tasks
