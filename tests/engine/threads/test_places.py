import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.engine.threads.places import Places
from app.engine.threads.trampoline import run_on_threads
from app.engine.threads.workers import Workers
from tests.engine.held import HeldCall
from tests.fakes import ManualClock

LARGE, SMALL = 12_000_000, 1_000


class Pictures:
    """Pictures that have a place while a held call of theirs runs."""

    def __init__(self, places: Places, count: int) -> None:
        self.places = places
        self.calls = [HeldCall() for _ in range(count)]
        self._workers = Workers(count, ManualClock(), name="test")

    def start(self, number: int, *, pixels: int) -> "asyncio.Task[int]":
        """Start the picture of that number."""
        return asyncio.create_task(run_on_threads(self._work(number, pixels)))

    async def _work(self, number: int, pixels: int) -> int:
        async with self.places.place(pixels):
            await self._workers.call(self.calls[number])
        return number

    def begun(self) -> list[int]:
        """Return the numbers of the pictures that have, or have had, a place."""
        return [number for number, call in enumerate(self.calls) if call.begun.is_set()]

    def stop(self) -> None:
        """Let all pictures go on, and end the threads."""
        for call in self.calls:
            call.let_go()
        self._workers.stop()


def run(places: Places, count: int, scene: Callable[[Pictures], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        pictures = Pictures(places, count)
        try:
            await scene(pictures)
        finally:
            pictures.stop()

    asyncio.run(play())


def test_large_pictures_wait_for_a_place_in_order_of_arrival() -> None:
    async def scene(pictures: Pictures) -> None:
        tasks = [pictures.start(number, pixels=LARGE) for number in range(4)]
        await asyncio.to_thread(pictures.calls[1].wait_until_begun)
        assert (2, [0, 1]) == (pictures.places.waiting, pictures.begun())

        pictures.calls[1].let_go()
        await tasks[1]
        await asyncio.to_thread(pictures.calls[2].wait_until_begun)
        assert (1, [0, 1, 2]) == (pictures.places.waiting, pictures.begun())

        pictures.calls[0].let_go()
        pictures.calls[2].let_go()
        pictures.calls[3].let_go()
        assert [0, 1, 2, 3] == await asyncio.gather(*tasks)

    run(Places(2, LARGE), 4, scene)


def test_small_pictures_do_not_wait() -> None:
    async def scene(pictures: Pictures) -> None:
        tasks = [pictures.start(number, pixels=SMALL) for number in range(4)]
        for call in pictures.calls:
            await asyncio.to_thread(call.wait_until_begun)
            call.let_go()
        assert [0, 1, 2, 3] == await asyncio.gather(*tasks)

    run(Places(1, 4 * SMALL), 4, scene)


def test_a_small_picture_does_not_overtake_a_large_one() -> None:
    async def scene(pictures: Pictures) -> None:
        tasks = [pictures.start(number, pixels=pixels) for number, pixels in enumerate((LARGE, LARGE, SMALL))]
        await asyncio.to_thread(pictures.calls[0].wait_until_begun)
        assert 2 == pictures.places.waiting
        for call in pictures.calls:
            call.let_go()
        await asyncio.gather(*tasks)

    run(Places(1, LARGE + SMALL), 3, scene)


def test_a_picture_larger_than_the_limit_gets_a_place_alone() -> None:
    async def scene(pictures: Pictures) -> None:
        task = pictures.start(0, pixels=LARGE)
        pictures.calls[0].let_go()
        assert 0 == await task

    run(Places(1, SMALL), 1, scene)


def test_a_picture_whose_client_has_left_gets_no_place_and_leaves_the_queue() -> None:
    async def scene(pictures: Pictures) -> None:
        first, second, third = (pictures.start(number, pixels=LARGE) for number in range(3))
        await asyncio.to_thread(pictures.calls[0].wait_until_begun)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert 1 == pictures.places.waiting

        pictures.calls[0].let_go()
        pictures.calls[2].let_go()
        assert [0, 2] == await asyncio.gather(first, third)
        assert [0, 2] == pictures.begun()
        assert 0 == pictures.places.waiting

    run(Places(1, SMALL), 3, scene)


def test_a_place_is_given_back_when_the_picture_fails() -> None:
    places = Places(1, SMALL)

    async def fail() -> None:
        async with places.place(LARGE):
            raise LookupError("as raised")

    async def scene(pictures: Pictures) -> None:
        with pytest.raises(LookupError, match="as raised"):
            await run_on_threads(fail())
        pictures.calls[0].let_go()
        assert 0 == await pictures.start(0, pixels=LARGE)

    run(places, 1, scene)
