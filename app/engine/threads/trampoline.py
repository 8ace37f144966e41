"""Relay: the steps of a picture hand on to each other, thread to thread, without the event loop in between.

A thread that waits has to be woken, which on a virtual machine whose cores idle takes most of a
millisecond. If the event loop awaited every step itself, it would be woken after each of them only to wake
the next thread. So a journey is written as a coroutine that awaits *legs* and is driven by whoever ended
the last one; the event loop hears of its end alone.

Rule 1: a coroutine driven here awaits legs and nothing else; asyncio's own awaitables need its loop.
Rule 2: between two legs it runs on the thread that ended the first, so it does next to nothing there.
Rule 3: when nobody waits for the journey any more, ``CancelledError`` is raised at the leg it is in: at once
if that can be left behind, else when it ends, since a call that has begun holds arrays until then. The caller
does not wait for that; whatever the arrays are counted against is given back by ``on_end``.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from app.errors import DeadlineExceeded, Overloaded, RequestRejected, Settled

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class ThreadAwaitable(Generic[T]):
    """A part of the way that somebody else goes.

    Attributes:
        future: Ends with what the leg brings.
        give_up: Tells whoever goes it that nobody waits any more; may end the future.
        can_be_left: It need not be waited for once given up.
    """

    future: "Future[T]"
    give_up: Callable[[], object]
    can_be_left: bool = False

    def __await__(self) -> Generator["ThreadAwaitable[Any]", Any, T]:
        """Wait for the end of the leg."""
        result: T = yield self
        return result


Journey = Coroutine[ThreadAwaitable[Any], Any, T]


class _Relay(Generic[T]):
    """Drives one journey from leg to leg; ``future`` ends with what it returns or raises."""

    def __init__(self, journey: Journey[T]) -> None:
        self.future: Future[T] = Future()
        self._journey = journey
        self._lock = threading.Lock()
        self._leg: ThreadAwaitable[Any] | None = None
        self._number = 0
        self._is_given_up = False

    def go_on(self, step: Callable[[], ThreadAwaitable[Any]]) -> None:
        """Run the coroutine up to its next leg; only whoever took ``_leg`` away may call this."""
        try:
            leg = step()
        except StopIteration as end:
            self.future.set_result(end.value)
        except asyncio.CancelledError:
            self.future.cancel()
        except (RequestRejected, Settled, DeadlineExceeded, Overloaded) as error:
            # No bug: nobody asks where it was raised, and asyncio would keep the frames, with the upload in
            # them, until the garbage collector came by.
            self.future.set_exception(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - whoever awaits the journey has it
            self.future.set_exception(error)
        else:
            with self._lock:
                self._leg, is_given_up = leg, self._is_given_up
                self._number += 1
                number = self._number
            # By number: a future keeps its callbacks, and one that knew the leg would keep itself alive, and
            # the picture it holds, until the garbage collector came by.
            leg.future.add_done_callback(partial(self._on_end, number))
            if is_given_up:
                self._leave(leg, number)

    def give_up(self) -> None:
        """Say that nobody waits any more."""
        with self._lock:
            self._is_given_up, leg, number = True, self._leg, self._number
        if leg is not None:
            self._leave(leg, number)

    def _leave(self, leg: ThreadAwaitable[Any], number: int) -> None:
        leg.give_up()
        if leg.can_be_left and self._take(number):
            self.go_on(partial(self._journey.throw, asyncio.CancelledError()))

    def _on_end(self, number: int, ended: "Future[Any]") -> None:
        if not self._take(number):
            return
        if self._is_given_up or ended.cancelled():
            self.go_on(partial(self._journey.throw, asyncio.CancelledError()))
        elif (error := ended.exception()) is not None:
            self.go_on(partial(self._journey.throw, error))
        else:
            self.go_on(partial(self._journey.send, ended.result()))

    def _take(self, number: int) -> bool:
        """End the wait for the leg of that number, and tell whether it was still waited for."""
        with self._lock:
            if self._leg is None or self._number != number:
                return False
            self._leg = None
            return True


async def run_on_threads(journey: Journey[T], *, on_end: Callable[[], object] = lambda: None) -> T:
    """Run a journey and return what it returns or raise what it raises.

    When the caller is cancelled, the journey is given up and the caller leaves at once, even though a call
    that has begun goes on to its end.

    Args:
        journey: What to run.
        on_end: Called on the event loop when the journey has really ended, with or without its caller, and
            before a caller that still waits goes on. It may be called more than once.
    """
    relay = _Relay(journey)
    relay.go_on(partial(journey.send, None))
    ending = asyncio.wrap_future(relay.future)
    ending.add_done_callback(lambda _: on_end())
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        relay.give_up()
        if relay.future.done():
            on_end()
        raise
