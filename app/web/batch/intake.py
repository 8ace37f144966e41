"""Intake: takes the pictures of a batch out of its body, one by one, as fast as they can be processed.

One picture is read in advance. While it waits until another one is done, nothing is read, so TCP makes the
client wait: of a body of any size, only this picture and those at work are in memory.
"""

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.engine.capacity.admission import Permit
from app.errors import (
    CutoutError,
    DeadlineExceeded,
    EntryRefused,
    MalformedRequest,
    NotReady,
    Overloaded,
    ResultsUnread,
    TooManyPictures,
)
from app.pipeline.context import RequestContext
from app.web.batch.form import BatchForm
from app.web.batch.item import SKIPPED, ItemResult, ItemWork, failed
from app.web.batch.outbox import Outbox
from app.web.batch.reading import BodyReader
from app.web.batch.upload import BatchUpload, Field, UploadEvent
from app.web.drain import Phase
from app.web.request.entry_names import check_name, is_clutter
from app.web.request.zip_stream import EntryBegun, EntryContent, EntryEnded
from app.web.service import Service

AGAIN_AFTER_S = 0.1
MAX_IGNORED = 10
"""Ignored entries of an archive for each picture that a batch may have."""


@dataclass(slots=True)
class _Picture:
    """The picture that is being read; its bytes are held by the permit of the batch."""

    name: str
    content: io.BytesIO = field(default_factory=io.BytesIO)


class Intake:
    """Reads one batch.

    Args:
        service: The service.
        context: The context of the batch.
        permit: Holds the bytes of the pictures that are in memory.
        form: The options; fields of the body are added to it.
        outbox: Gets what became of each picture.
        held: Gets what is held until the end of the batch.
        start: Starts a task that processes a picture.
    """

    def __init__(
        self,
        service: Service,
        context: RequestContext,
        permit: Permit,
        *,
        form: BatchForm,
        outbox: Outbox,
        held: ExitStack,
        start: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._service = service
        self._limits = service.settings.limits
        self._context = context
        self._permit = permit
        self._form = form
        self._outbox = outbox
        self._held = held
        self._start = start
        self._work = ItemWork(service, context, context.item_s)
        self._names: set[str] = set()
        self._picture: _Picture | None = None
        self._unread: ResultsUnread | None = None
        self._has_begun = False
        self._room = asyncio.Semaphore(service.batch_concurrency())
        self.count = self.ignored = 0

    async def read_all(self, body: BodyReader, upload: BatchUpload) -> None:
        """Read the whole body, and start the work on each picture.

        Raises:
            CutoutError: The batch cannot go on; the pictures at work can.
            ClientDisconnected: The client closed the connection.
        """
        try:
            async for chunk in body.chunks(self._check_time):
                await self._take(upload.feed(chunk), body, upload)
            await self._take(upload.close(), body, upload)
        except CutoutError as error:
            self._fail(error)
            raise
        if self.count == 0:
            raise MalformedRequest("The batch has no picture: send a ZIP of pictures, or files named image.")

    async def _take(self, events: Iterable[UploadEvent], body: BodyReader, upload: BatchUpload) -> None:
        for event in events:
            if isinstance(event, Field):
                self._add_field(event)
            elif isinstance(event, EntryBegun):
                body.begin_picture()
                if not await self._begin(event):
                    upload.skip_entry()
            elif isinstance(event, EntryContent):
                await self._add_content(event.content)
            else:
                await self._end(event)
            await asyncio.sleep(0)  # other requests are served between two slices

    def _add_field(self, event: Field) -> None:
        if self._has_begun:
            raise MalformedRequest("The fields of a batch must precede its pictures.")
        self._form.add(event.name, event.value)

    async def _begin(self, entry: EntryBegun) -> bool:
        """Decide what becomes of the next picture; return whether its content is read."""
        self._begin_batch()
        if is_clutter(entry.name):
            self.ignored += 1
            if self.ignored > MAX_IGNORED * self._limits.batch_items:
                raise TooManyPictures(self._limits.batch_items)
            return False
        self._count()
        error = entry.error or self._refusal(entry.name)
        if error is None and self._form.skips(entry.name):
            self._outbox.put(ItemResult(entry.name, SKIPPED))
            return False
        if error is None:
            error = await self._wait_for_room()
        if error is not None:
            self._outbox.put(failed(entry.name, error, self._context))
            return False
        self._check_time()
        self._picture = _Picture(entry.name)
        return True

    def _begin_batch(self) -> None:
        """Check the options and hold the idempotency key, before the first picture."""
        if not self._has_begun:
            self._has_begun = True
            self._form.check()
            self._held.enter_context(self._service.hold_key(self._context, self._form.digest()))
            self._held.enter_context(self._permit.holding_bytes(self._form.held_bytes))

    def _count(self) -> None:
        self.count += 1
        if self.count > self._limits.batch_items:
            raise TooManyPictures(self._limits.batch_items)

    def _refusal(self, name: str) -> EntryRefused | None:
        try:
            check_name(name)
        except EntryRefused as error:
            return error
        if name in self._names:
            return EntryRefused("The batch has another file of this name.")
        self._names.add(name)
        return None

    async def _wait_for_room(self) -> ResultsUnread | None:
        """Wait until the client has read enough of the results, or return why it is no longer waited for."""
        if self._unread is None:
            try:
                await self._outbox.wait_for_room()
            except ResultsUnread as error:
                self._unread = error
        return self._unread

    def _check_time(self) -> None:
        """End the batch if the server is stopping, or at its deadline."""
        if self._service.drain.phase is Phase.REFUSING:
            raise NotReady("The server is stopping. Send the rest of the batch again, to another one.")
        if self._service.clock.now_s() >= self._context.deadline_s:
            raise DeadlineExceeded(self._context.allowed_s)

    async def _add_content(self, content: bytes) -> None:
        """Add a slice of the current picture; wait while the uploads of all requests exceed their budget."""
        give_up_at_s = self._service.clock.now_s() + self._context.item_s
        while self._picture is not None:
            try:
                self._permit.hold_bytes(len(content))
            except Overloaded as error:
                if self._service.clock.now_s() >= give_up_at_s:
                    self._fail(error)
                await asyncio.sleep(AGAIN_AFTER_S)
            else:
                self._picture.content.write(content)
                return

    def _fail(self, error: CutoutError) -> None:
        """Drop the current picture, if there is one."""
        picture, self._picture = self._picture, None
        if picture is not None:
            self._permit.release_bytes(picture.content.tell())
            self._outbox.put(failed(picture.name, error, self._context))

    async def _end(self, event: EntryEnded) -> None:
        """Start the work on the current picture, when there is room for another one of this batch."""
        if event.error is not None:
            self._fail(event.error)
        if self._picture is None:
            return
        await self._room.acquire()
        picture, self._picture = self._picture, None
        self._start(self._process(picture.name, picture.content.getvalue()))

    async def _process(self, name: str, upload: bytes) -> None:
        try:
            item = await self._work.process(name, partial(self._form.request_for, name, upload))
        finally:
            self._permit.release_bytes(len(upload))
            self._room.release()
        self._outbox.put(item)
