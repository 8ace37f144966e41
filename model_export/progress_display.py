"""Progress display: a bar on a terminal, and a line every half minute elsewhere, as in a log file."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 30.0
T = TypeVar("T")


def with_progress(
    console: Console,
    items: Iterable[T],
    *,
    total: int,
    title: str,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[T]:
    """Yield the items, and show how many are done.

    Args:
        console: If it is no terminal, a line is printed after every half minute.
        items: What to count.
        total: How many there are.
        title: What they are.
        clock: Returns seconds.
    """
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            yield from bar.track(items, total=total, description=title)
        return
    began_s = printed_s = clock()
    for done, item in enumerate(items):
        now_s = clock()
        if done and now_s - printed_s >= LINE_EVERY_S:
            left_s = (now_s - began_s) / done * (total - done)
            console.print(f"{title}: {done} of {total}, about {left_s / 60:.1f} minutes left")
            printed_s = now_s
        yield item
