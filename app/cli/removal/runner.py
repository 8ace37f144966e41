"""Runner: processes items several at a time; reading, processing and writing overlap.

Rule 1: one picture's failure, even by a bug, ends nothing; ``RunEnded`` ends the run.
Rule 2: the uploads in memory are bounded by their bytes and by the processor's number of pictures in flight.
Rule 3: once ``Run.stop`` is called, no picture is started; those in flight end as usual.
"""

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from app.cli.removal.byte_budget import ByteBudget
from app.cli.removal.failures import describe
from app.cli.removal.files import Identity, write_result
from app.cli.removal.sources import STDIN
from app.cli.removal.values import Item, Outcome, Processed, Processor, RunEnded
from app.errors import UploadTooLarge


class Listener(Protocol):
    """Follows a run; called on the event loop."""

    def started(self, item: Item) -> None:
        """Called before a picture is read."""

    def ended(self, outcome: Outcome) -> None:
        """Called when a picture was written, or has failed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a run treats files.

    Attributes:
        replaces: Whether existing files are replaced.
        inputs: Files that are never replaced.
        max_upload_bytes: The most bytes of a picture, and of all pictures in flight together.
        read_stdin: Returns the standard input, up to a number of bytes.
        write_stdout: Writes a result to the standard output; None writes to files.
    """

    replaces: bool
    inputs: Collection[Identity]
    max_upload_bytes: int
    read_stdin: Callable[[int], bytes]
    write_stdout: Callable[[bytes], object] | None = None


@dataclass(slots=True)
class Run:
    """One run over a number of items; ``ended_by`` is set if it ended itself."""

    processor: Processor
    rules: Rules
    listener: Listener
    ended_by: RunEnded | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _bytes: ByteBudget = field(init=False)

    def __post_init__(self) -> None:
        self._bytes = ByteBudget(self.rules.max_upload_bytes)

    @property
    def is_stopped(self) -> bool:
        """Whether no more pictures are started."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Start no more pictures."""
        self._stopped.set()

    def end(self, error: RunEnded) -> None:
        """Start no more pictures, because of an error; the first one counts."""
        self.ended_by = self.ended_by or error
        self.stop()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the run is stopped."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return

    async def process(self, items: AsyncIterable[Item]) -> None:
        """Process items until there are no more, or the run is stopped."""
        try:
            await self.processor.start()
            slots = asyncio.Semaphore(self.processor.in_flight)
            async with asyncio.TaskGroup() as tasks:
                async for item in items:
                    await slots.acquire()
                    if self.is_stopped:
                        break
                    tasks.create_task(self._process_one(item)).add_done_callback(lambda _: slots.release())
        except RunEnded as error:
            self.ended_by = error
        finally:
            await self.processor.close()

    async def _process_one(self, item: Item) -> None:
        self.listener.started(item)
        started_s = time.monotonic()
        path = item.source.path
        try:
            outcome = await self._outcome_of(item)
        except RunEnded as error:
            self.end(error)
            outcome = Outcome(path, "pending")
        except Exception as error:  # noqa: BLE001 - rule 1; the outcome names a bug
            outcome = Outcome(path, "failed", problem=describe(error, path))
        self.listener.ended(replace(outcome, took_s=round(time.monotonic() - started_s, 3)))

    async def _outcome_of(self, item: Item) -> Outcome:
        path = item.source.path
        size = 0 if path == STDIN else (await asyncio.to_thread(path.stat)).st_size
        async with self._bytes.holding(size):
            processed = await self.processor.process(await asyncio.to_thread(self._read, path))
        outputs = await asyncio.to_thread(self._write, item, processed)
        return Outcome(path, "written", outputs, processed=replace(processed, encoded=b"", mask=None))

    def _read(self, path: Path) -> bytes:
        """Read a picture; pipes and growing files only up to the limit, because their size is not known.

        Raises:
            UploadTooLarge: There are more bytes.
        """
        limit = self.rules.max_upload_bytes
        if path == STDIN:
            contents = self.rules.read_stdin(limit + 1)
        else:
            with path.open("rb") as file:
                contents = file.read(limit + 1)
        if len(contents) > limit:
            raise UploadTooLarge(limit)
        return contents

    def _write(self, item: Item, processed: Processed) -> tuple[Path, ...]:
        """Write a result; return the paths, of which the first is that of the result itself."""
        if self.rules.write_stdout is not None:
            self.rules.write_stdout(processed.encoded)
            return (STDIN,)
        outputs = [(item.target.path_for(processed.media_type), processed.encoded)]
        mask = item.target.mask
        if mask is not None and processed.mask is not None and (self.rules.replaces or not mask.exists()):
            outputs.append((mask, processed.mask))
        # The result comes last: if it exists, the picture is done.
        for path, contents in reversed(outputs):
            write_result(path, contents, replaces=self.rules.replaces, inputs=self.rules.inputs)
        return tuple(path for path, _ in outputs)
