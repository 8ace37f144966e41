"""Trampoline: runs a coroutine whose steps run on threads, without the event loop between the steps.

Waking a waiting thread takes most of a millisecond on a virtual machine whose cores idle. If the event loop
awaited every step, it would be woken after each step only to wake the next thread. So the thread that ends a
step also resumes the coroutine, which submits the next step; the event loop is woken once, at the end
(docs/adr/0011 has the measurements).

Rule 1: such a coroutine awaits ``ThreadAwaitable`` only; asyncio's own awaitables need its loop.
Rule 2: between two steps it runs on the thread that ended the first, so it must do very little there.
Rule 3: when the caller is cancelled, ``CancelledError`` is raised at the current step: at once if the step
can be left, else when it ends, because a call that has begun uses arrays until then. The caller does not wait
for that; ``on_end`` releases what the arrays are counted against.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from app.engine.deadline import Abandoned
from app.errors import DeadlineExceeded, Overloaded, RequestRejected

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class ThreadAwaitable(Generic[T]):
    """A step that another thread runs.

    Attributes:
        future: Ends with the result of the step.
        give_up: Called when the result is no longer needed; may cancel the future.
        can_be_left: Whether a cancelled coroutine may go on before the step has ended.
    """

    future: "Future[T]"
    give_up: Callable[[], object]
    can_be_left: bool = False

    def __await__(self) -> Generator["ThreadAwaitable[Any]", Any, T]:
        """Wait for the end of the step."""
        result: T = yield self
        return result


Work = Coroutine[ThreadAwaitable[Any], Any, T]


class _Trampoline(Generic[T]):
    """Drives one coroutine from step to step; ``future`` ends with what it returns or raises."""

    def __init__(self, work: Work[T]) -> None:
        self.future: Future[T] = Future()
        self._work = work
        self._lock = threading.Lock()
        self._step: ThreadAwaitable[Any] | None = None
        self._number = 0
        self._is_given_up = False

    def go_on(self, resume: Callable[[], ThreadAwaitable[Any]]) -> None:
        """Run the coroutine up to its next step; only the thread that took ``_step`` may call this."""
        try:
            step = resume()
        except StopIteration as end:
            self.future.set_result(end.value)
        except asyncio.CancelledError:
            self.future.cancel()
        except (RequestRejected, Abandoned, DeadlineExceeded, Overloaded) as error:
            # Not a bug, so its traceback is not needed; asyncio would keep the frames, with the upload in
            # them, until the next garbage collection.
            self.future.set_exception(error.with_traceback(None))
        except BaseException as error:  # noqa: BLE001 - passed to the caller
            self.future.set_exception(error)
        else:
            with self._lock:
                self._step, is_given_up = step, self._is_given_up
                self._number += 1
                number = self._number
            # By number: a future keeps its callbacks, and a callback with the step would keep the future and
            # the picture in it alive until the next garbage collection.
            step.future.add_done_callback(partial(self._on_end, number))
            if is_given_up:
                self._leave(step, number)

    def give_up(self) -> None:
        """Cancel the coroutine; its result is no longer needed."""
        with self._lock:
            self._is_given_up, step, number = True, self._step, self._number
        if step is not None:
            self._leave(step, number)

    def _leave(self, step: ThreadAwaitable[Any], number: int) -> None:
        step.give_up()
        if step.can_be_left and self._take(number):
            self.go_on(partial(self._work.throw, asyncio.CancelledError()))

    def _on_end(self, number: int, ended: "Future[Any]") -> None:
        if not self._take(number):
            return
        if self._is_given_up or ended.cancelled():
            self.go_on(partial(self._work.throw, asyncio.CancelledError()))
        elif (error := ended.exception()) is not None:
            self.go_on(partial(self._work.throw, error))
        else:
            self.go_on(partial(self._work.send, ended.result()))

    def _take(self, number: int) -> bool:
        """End the wait for the step of that number, and return whether it was still waited for."""
        with self._lock:
            if self._step is None or self._number != number:
                return False
            self._step = None
            return True


async def run_on_threads(work: Work[T], *, on_end: Callable[[], object] = lambda: None) -> T:
    """Run a coroutine of steps on threads, and return its result.

    If the caller is cancelled, the coroutine is cancelled and the caller returns at once, even if a call that
    has begun continues to its end.

    Args:
        work: The coroutine.
        on_end: Called on the event loop when the coroutine has ended, before a waiting caller resumes. It may
            be called more than once.
    """
    trampoline = _Trampoline(work)
    trampoline.go_on(partial(work.send, None))
    ending = asyncio.wrap_future(trampoline.future)
    ending.add_done_callback(lambda _: on_end())
    try:
        return await asyncio.shield(ending)
    except asyncio.CancelledError:
        trampoline.give_up()
        if trampoline.future.done():
            on_end()
        raise
