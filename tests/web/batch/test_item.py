"""A picture of a batch is admitted like a request, but waits while there is no room."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.capacity.quota import Quota, Rates
from app.errors import CorruptPicture, InvalidOption
from app.main import create_app
from app.options import CutoutOptions
from app.pipeline.build import open_pipeline
from app.pipeline.context import RequestContext
from app.pipeline.values import ImageRequest, request_for
from app.telemetry import StepTimes
from app.web.batch.item import ItemWork, failed
from app.web.drain import Drain
from app.web.service import Service
from tests.pictures import jpeg, photo
from tests.web.conftest import settings_with


@pytest.fixture(scope="module")
def service(models_dir: Path) -> Iterator[Service]:
    app = create_app(settings_with(models_dir))
    made: Service = app.state.service
    made.pipeline = open_pipeline(made.settings, made.telemetry)
    yield made
    made.pipeline.close()


def context_in(service: Service) -> RequestContext:
    return RequestContext(StepTimes(service.clock), service.clock.now_s(), request_id="batch-1")


def request() -> ImageRequest:
    return request_for(jpeg(photo(60, 80)), CutoutOptions())


def counted(service: Service, outcome: str) -> float:
    name = "cutout_batch_request_pictures_total"
    samples = [s for f in service.telemetry.registry.collect() for s in f.samples]
    return sum(s.value for s in samples if s.name == name and s.labels["outcome"] == outcome)


def test_a_picture_becomes_a_result_whose_memory_is_held_until_it_is_released(service: Service) -> None:
    before = counted(service, "ok")
    item = asyncio.run(ItemWork(service, context_in(service), 60).process("a.jpg", request))

    assert item.result is not None
    assert (item.name, item.status, item.is_mask, item.problem) == ("a.jpg", 200, False, None)
    assert {"decode", "infer", "matte", "encode"} <= item.steps_s.keys()
    assert service.admission.memory_bytes == item.size_bytes
    item.release()
    assert service.admission.memory_bytes == 0
    assert service.admission.requests == 0
    assert counted(service, "ok") == before + 1


def test_an_error_becomes_the_problem_of_the_picture(service: Service) -> None:
    def refuse() -> ImageRequest:
        raise InvalidOption("crop", "true, false")

    item = asyncio.run(ItemWork(service, context_in(service), 60).process("a.jpg", refuse))

    assert item.problem is not None
    assert (item.status, item.problem["type"]) == (422, "/problems/invalid-option")
    assert item.problem["instance"] == "urn:request:batch-1"


def test_a_bug_becomes_an_internal_error_of_the_picture_alone(service: Service) -> None:
    def break_down() -> ImageRequest:
        raise LookupError("secret")

    item = asyncio.run(ItemWork(service, context_in(service), 60).process("a.jpg", break_down))

    assert item.problem is not None
    assert item.status == 500
    assert "secret" not in str(item.problem)


def test_a_picture_waits_while_the_server_is_full(service: Service) -> None:
    async def run() -> int:
        permits = [service.admission.enter() for _ in range(service.admission.budget.requests)]
        working = asyncio.create_task(ItemWork(service, context_in(service), 60).process("a", request))
        await asyncio.sleep(0.1)
        assert not working.done()
        for permit in permits:
            permit.release()
        item = await working
        item.release()
        return item.status

    assert asyncio.run(run()) == 200


def test_it_fails_when_there_is_no_room_before_its_deadline(service: Service) -> None:
    async def run() -> int:
        permits = [service.admission.enter() for _ in range(service.admission.budget.requests)]
        item = await ItemWork(service, context_in(service), 0.5).process("a", request)
        for permit in permits:
            permit.release()
        return item.status

    assert asyncio.run(run()) == 503


def test_each_picture_after_the_first_is_charged_as_a_request(service: Service) -> None:
    async def run() -> list[int]:
        context = context_in(service)
        context.quota = Quota(Rates(requests=2), service.clock)
        context.quota.spend_request()  # the batch itself
        work = ItemWork(service, context, 0.5)
        items = [await work.process(name, request) for name in "abc"]
        for item in items:
            item.release()
        return [item.status for item in items]

    assert asyncio.run(run()) == [200, 200, 429]


def test_a_batch_that_waits_for_its_quota_does_not_keep_others_from_working(service: Service) -> None:
    async def run() -> tuple[list[int], bool]:
        poor = context_in(service)
        poor.quota = Quota(Rates(requests=60), service.clock)
        for _ in range(60):
            poor.quota.spend_request()
        waiting_work, work = ItemWork(service, poor, 60), ItemWork(service, context_in(service), 60)
        first = await waiting_work.process("a", request)  # charged with the batch
        names = [str(number) for number in range(service.batch_concurrency())]
        waiting = [asyncio.create_task(waiting_work.process(name, request)) for name in names]
        await asyncio.sleep(0.1)
        other = await work.process("b", request)
        was_waiting = not any(task.done() for task in waiting)
        items = [first, other, await waiting[0]]
        for task in waiting:
            task.cancel()
        for item in items:
            item.release()
        return [item.status for item in items], was_waiting

    assert asyncio.run(run()) == ([200, 200, 200], True)


def test_a_picture_that_waits_for_its_quota_does_not_hold_up_a_server_that_is_stopping(
    service: Service,
) -> None:
    drain = Drain(service.clock, delay_s=0, timeout_s=60)

    async def run() -> list[int]:
        context = context_in(service)
        context.quota = Quota(Rates(requests=1), service.clock)
        context.quota.spend_request()
        work = ItemWork(replace(service, drain=drain), context, 600)
        first = await work.process("a", request)  # charged with the batch
        waiting = asyncio.create_task(work.process("b", request))
        await asyncio.sleep(0.1)
        drain.begin()
        async with asyncio.timeout(10):
            second = await waiting
        first.release()
        return [first.status, second.status]

    assert asyncio.run(run()) == [200, 429]


def test_a_refused_file_has_a_printable_name(service: Service) -> None:
    item = failed("a\nb", CorruptPicture("It is empty."), context_in(service))

    assert (item.name, item.status) == ("a�b", 422)
