"""Execution: processes items with a display, and stops on Ctrl-C."""

import asyncio
import os
import signal
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from app.cli.removal.progress import Display, shown
from app.cli.removal.runner import Rules, Run
from app.cli.removal.values import Item, Outcome, Processor, RunEnded

STOPPING = "stopping: the pictures in progress are finished first; Ctrl-C again drops them"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"


@dataclass(slots=True)
class Ended:
    """How a run ended: its outcomes, the signals that stopped it, and the error if it ended itself."""

    outcomes: list[Outcome] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    ended_by: RunEnded | None = None

    def add_pending(self, items: Iterable[Item]) -> None:
        """Add an outcome for each item that was not started."""
        known = {outcome.source for outcome in self.outcomes}
        self.outcomes += [
            Outcome(item.source.path, "pending") for item in items if item.source.path not in known
        ]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Collects outcomes, and passes pictures that were processed to the display."""

    display: Display
    outcomes: list[Outcome]

    def started(self, item: Item) -> None:
        """Pass the start of a picture on."""
        self.display.started(item)

    def ended(self, outcome: Outcome) -> None:
        """Keep an outcome, and pass it on."""
        self.outcomes.append(outcome)
        if outcome.status in ("written", "failed"):
            self.display.ended(outcome)


def execute(
    processor: Processor,
    rules: Rules,
    items_for: Callable[[Run], AsyncIterable[Item]],
    console: Console,
    *,
    total: int | None,
    is_quiet: bool,
) -> Ended:
    """Process the items until there are no more, or a signal arrives.

    Args:
        processor: Removes the backgrounds.
        rules: How files are treated.
        items_for: Returns the items of a run.
        console: Standard error.
        total: The number of items; None if it is not known.
        is_quiet: Whether to show failures only.
    """
    ended = Ended()
    with shown(console, total, is_quiet=is_quiet) as display:
        run = Run(processor, rules, Recorder(display, ended.outcomes))
        asyncio.run(_process(run, items_for(run), ended.signals, console))
    ended.ended_by = run.ended_by
    return ended


async def _process(run: Run, items: AsyncIterable[Item], signals: list[int], console: Console) -> None:
    with _stopping(run, signals, console):
        await run.process(items)


@contextmanager
def _stopping(run: Run, arrived: list[int], console: Console) -> Iterator[None]:
    """Stop the run on the first SIGINT or SIGTERM, and exit on the second; add the signals to ``arrived``."""
    loop = asyncio.get_running_loop()

    def announce() -> None:
        run.stop()
        console.print(STOPPING, highlight=False, soft_wrap=True)

    def on_signal(number: int, _: object) -> None:
        arrived.append(number)
        if len(arrived) > 1:
            if console.is_terminal:
                os.write(2, SHOW_CURSOR)  # the bar hides it
            os._exit(128 + number)
        # The handler may interrupt any line of Python, even in the middle of a print.
        loop.call_soon_threadsafe(announce)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
