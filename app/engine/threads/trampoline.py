"""Trampoline: runs a request's coroutine from thread to thread, without the event loop in between.

Waking an idle thread takes up to most of a millisecond on a virtual machine. If the event loop awaited every
step itself, it would be woken after each step only to wake the next thread. Here the coroutine awaits calls
on threads (``ThreadAwaitable``), and continues on the thread that completed the call; the event loop is woken
only at the end.

Rule 1: such a coroutine awaits only ``ThreadAwaitable``; asyncio's own awaitables need the event loop.
Rule 2: between two calls it runs on the thread of the first one, so it must do next to nothing there.
Rule 3: when the caller is cancelled, ``CancelledError`` is raised in the coroutine at its current call: at
once if the call can be left, else when the call ends, since its arrays live until then. The caller does not
wait for that; ``on_end`` releases the budgets of the arrays.
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
    """A call on another thread, awaited by a coroutine in ``run_on_threads``.

    Attributes:
        future: The result of the call.
        give_up: Called when the result is no longer needed; may cancel the future.
        can_be_left: Whether the coroutine may continue before the call ends, once it is given up.
    """

    future: "Future[T]"
    give_up: Callable[[], object]
    can_be_left: bool = False

    def __await__(self) -> Generator["ThreadAwaitable[Any]", Any, T]:
        """Wait for the end of the call."""
        result: T = yield self
        return result


Journey = Coroutine[ThreadAwaitable[Any], Any, T]


class _Driver(Generic[T]):
    """Runs one coroutine from call to call; ``future`` gets its result or exception."""

    def __init__(self, coroutine: Journey[T]) -> None:
        self.future: Future[T] = Future()
        self._coroutine = coroutine
        self._lock = threading.Lock()
        self._call: ThreadAwaitable[Any] | None = None
        self._number = 0
        self._is_given_up = False

    def go_on(self, step: Callable[[], ThreadAwaitable[Any]]) -> None:
        """Run the coroutine up to its next call; only the thread whose ``_take`` succeeded may call this."""
        try:
            call = step()
        except StopIteration as end:
            self.future.set_result(end.value)
        except asyncio.CancelledError:
            self.future.cancel()
        except (RequestRejected, Settled, DeadlineExceeded, Overloaded) as error:
            # Not a bug, so its traceback is not needed, and asyncio would keep the frames, with the upload in
            # them, until the next garbage collection.
            self.future.set_exception(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            self.future.set_exception(error)
        else:
            with self._lock:
                self._call, is_given_up = call, self._is_given_up
                self._number += 1
                number = self._number
            # By number: a future keeps its callbacks, and a callback that refers to the call would keep the
            # future, and the picture in it, alive until the next garbage collection.
            call.future.add_done_callback(partial(self._on_end, number))
            if is_given_up:
                self._leave(call, number)

    def give_up(self) -> None:
        """Give up the current call and cancel the coroutine."""
        with self._lock:
            self._is_given_up, call, number = True, self._call, self._number
        if call is not None:
            self._leave(call, number)

    def _leave(self, call: ThreadAwaitable[Any], number: int) -> None:
        call.give_up()
        if call.can_be_left and self._take(number):
            self.go_on(partial(self._coroutine.throw, asyncio.CancelledError()))

    def _on_end(self, number: int, ended: "Future[Any]") -> None:
        if not self._take(number):
            return
        if self._is_given_up or ended.cancelled():
            self.go_on(partial(self._coroutine.throw, asyncio.CancelledError()))
        elif (error := ended.exception()) is not None:
            self.go_on(partial(self._coroutine.throw, error))
        else:
            self.go_on(partial(self._coroutine.send, ended.result()))

    def _take(self, number: int) -> bool:
        """End the wait for the call of that number, and return whether the coroutine still waited for it."""
        with self._lock:
            if self._call is None or self._number != number:
                return False
            self._call = None
            return True


async def run_on_threads(coroutine: Journey[T], *, on_end: Callable[[], object] = lambda: None) -> T:
    """Run a coroutine on the threads that it awaits, and return its result.

    If the caller is cancelled, the coroutine is given up and the caller does not wait, even if a call still
    runs.

    Args:
        coroutine: Awaits only ``ThreadAwaitable``.
        on_end: Called on the event loop when the coroutine has really ended, even if its caller was
            cancelled, and before a waiting caller continues. It may be called more than once.
    """
    driver = _Driver(coroutine)
    driver.go_on(partial(coroutine.send, None))
    ending = asyncio.wrap_future(driver.future)
    ending.add_done_callback(lambda _: on_end())
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        driver.give_up()
        if driver.future.done():
            on_end()
        raise
