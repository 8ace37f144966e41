"""Stream: yields the items of a run, those planned in advance or those of watched folders."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from app.cli.removal.files import Identity, identities_of
from app.cli.removal.plan import Planner
from app.cli.removal.runner import Run
from app.cli.removal.targets import NamesCollide
from app.cli.removal.values import Item, Outcome, Problem, RunEnded, Source
from app.cli.removal.watch import INTERVAL_S, Watcher, stamps_of
from app.system_errors import sentence_of


async def planned_items(items: Sequence[Item]) -> AsyncIterator[Item]:
    """Yield items that are known in advance."""
    for item in items:
        yield item


async def watched_items(
    run: Run, find: Callable[[], Sequence[Source]], planner: Planner, inputs: set[Identity]
) -> AsyncIterator[Item]:
    """Yield a item for each file of watched folders once it has stopped growing, until the run is stopped.

    Args:
        run: The run; pictures whose results exist are reported to its listener.
        find: Returns the pictures that the folders contain now.
        planner: Plans their results.
        inputs: The files that are never replaced; new ones are added.
    """
    watcher = Watcher()
    while not run.is_stopped:
        try:
            sources = await asyncio.to_thread(find)
        except OSError as error:
            run.end(RunEnded(sentence_of(error)))
            return
        stamps = await asyncio.to_thread(stamps_of, sources)
        settled = frozenset(watcher.take_settled(stamps, time.monotonic()))
        inputs |= identities_of(settled)
        for item in _items_for(settled, sources, planner, run):
            yield item
        await run.pause(INTERVAL_S)


def _items_for(
    settled: frozenset[object], sources: Sequence[Source], planner: Planner, run: Run
) -> list[Item]:
    """Return the items for some of the sources; all of them decide how results are named."""
    try:
        items = (
            [item for item in planner.items_for(sources) if item.source.path in settled] if settled else []
        )
    except NamesCollide as error:
        problem = Problem("name-taken", "Two results have one name", str(error))
        for source in sources:
            if source.path in settled:
                run.listener.ended(Outcome(source.path, "failed", problem=problem))
        return []
    pending, known = planner.set_apart(items)
    for outcome in known:
        run.listener.ended(outcome)
    return pending
