"""Workers: bounded pools of threads for decoding, matting and encoding.

Pillow, OpenCV, NumPy and isal release the interpreter lock in their heavy calls, so threads of
one process use every core without copying pictures between processes. Decoding and the steps after
the network have separate pools, so that new requests do not delay those that are nearly done.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from app.engine.capacity.admission import Permit
from app.engine.clock import Clock
from app.engine.threads.priority import lower_priority
from app.engine.threads.trampoline import ThreadAwaitable, run_on_threads

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs plain functions on threads."""

    def __init__(self, threads: int, clock: Clock, *, name: str) -> None:
        self.threads = threads
        self._clock = clock
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix=f"cutout-{name}", initializer=lower_priority
        )
        self._lock = threading.Lock()
        self._begun_s: dict[int, float] = {}
        self._busy_s = 0.0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return self._waiting

    def busy_s(self) -> float:
        """Return the busy seconds of the threads so far, including current calls."""
        with self._lock:
            now_s = self._clock.now_s()
            return self._busy_s + sum(now_s - begun_s for begun_s in self._begun_s.values())

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ThreadAwaitable[T]:
        """Call ``function`` on a worker thread; the trampoline awaits what it returns or raises.

        A call that has begun is awaited even if the coroutine is cancelled: its arrays live until it ends, so
        the budgets must not be released earlier.
        """
        with self._lock:
            self._waiting += 1
        future = self._pool.submit(self._timed, function, *args, **kwargs)
        future.add_done_callback(self._uncount_if_dropped)
        return ThreadAwaitable(future, give_up=future.cancel)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the same, awaited in the event loop."""

        async def call() -> T:
            return await self.call(function, *args, **kwargs)

        return await run_on_threads(call())

    async def run_holding(
        self, permit: Permit, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same, and keep a permit until the call ends, even if the caller leaves earlier."""

        async def work() -> T:
            return await self.call(function, *args, **kwargs)

        return await run_on_threads(work(), on_end=permit.keep())

    def _uncount_if_dropped(self, ended: "Future[T]") -> None:
        if ended.cancelled():
            with self._lock:
                self._waiting -= 1

    def _timed(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        thread = threading.get_ident()
        with self._lock:
            self._waiting -= 1
            self._begun_s[thread] = self._clock.now_s()
        try:
            return function(*args, **kwargs)
        finally:
            with self._lock:
                self._busy_s += self._clock.now_s() - self._begun_s.pop(thread)

    def stop(self) -> None:
        """Finish running calls and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Pools:
    """The threads of a service.

    Attributes:
        decode, matte, encode: For the steps of the pipeline, with as many threads as cores each.
        inspect: One thread, for headers and bodies, which take milliseconds; a request waits here for no
            picture. This work holds the interpreter's lock, so a second thread would not speed it up. And
            CPython lets a waiting thread demand the lock only if no other thread has received it meanwhile:
            two that pass it to each other leave no turn to the event loop.
        load: One thread, for loading models.
    """

    decode: Workers
    matte: Workers
    encode: Workers
    inspect: Workers
    load: Workers

    @classmethod
    def of(cls, threads: int, clock: Clock) -> "Pools":
        """Create the pools, with up to ``threads`` threads for each step of the pipeline."""
        sizes = {"decode": threads, "matte": threads, "encode": threads, "inspect": 1, "load": 1}
        return cls(*(Workers(size, clock, name=name) for name, size in sizes.items()))

    def stop(self) -> None:
        """Finish the current calls and end the threads."""
        for workers in (self.decode, self.matte, self.encode, self.load, self.inspect):
            workers.stop()
