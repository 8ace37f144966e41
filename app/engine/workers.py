"""Workers: a bounded pool of threads for decoding, matting and encoding.

Pillow, OpenCV, NumPy and isal release the interpreter lock in their heavy calls, so threads of
one process use every core without copying pictures between processes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


class Workers:
    """Runs plain functions beside the event loop."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cutout-worker")

    async def run(self, function: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call ``function`` on a worker thread and return what it returns or raise what it raises.

        A call that has begun is waited for even when the caller is cancelled: its arrays live until
        it ends, and the budgets must not be given back before.
        """
        future = self._pool.submit(function, *args, **kwargs)
        ending = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(ending)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait((ending,))
            raise

    def stop(self) -> None:
        """Finish what runs and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
