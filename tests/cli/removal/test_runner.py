"""The runner with a simulated processor, on real files."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.removal.runner import Rules, Run
from app.cli.removal.stream import planned_items
from app.cli.removal.targets import SUFFIXES, Naming, plan_items
from app.cli.removal.values import Item, Outcome, Source
from tests.fakes import SimulatedProcessor


@dataclass
class Events:
    """Remembers what a run reports."""

    running: set[Path] = field(default_factory=set)
    most: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    def started(self, item: Item) -> None:
        self.running.add(item.source.path)
        self.most = max(self.most, len(self.running))

    def ended(self, outcome: Outcome) -> None:
        self.running.discard(outcome.source)
        self.outcomes.append(outcome)


def run_over(
    folder: Path, contents: list[bytes], processor: SimulatedProcessor, *, max_bytes: int = 2**20
) -> tuple[Events, Run]:
    paths = [folder / f"{number}.jpg" for number in range(len(contents))]
    for path, each in zip(paths, contents, strict=True):
        path.write_bytes(each)
    items = plan_items([Source(path) for path in paths], Naming("-cutout", SUFFIXES["png"]))
    events = Events()
    rules = Rules(replaces=False, inputs=(), max_upload_bytes=max_bytes, read_stdin=lambda _: b"")
    run = Run(processor, rules, events)
    processor.on_start = lambda upload: run.stop() if upload == b"stop" else None
    asyncio.run(run.process(planned_items(items)))
    return events, run


def test_as_many_pictures_are_in_flight_as_the_processor_wants(tmp_path: Path) -> None:
    events, _ = run_over(tmp_path, [b"x"] * 12, SimulatedProcessor(in_flight=3))

    assert 3 == events.most
    assert {"written"} == {outcome.status for outcome in events.outcomes}
    assert b"result of x" == (tmp_path / "11-cutout.png").read_bytes()


def test_the_bytes_in_flight_are_bounded(tmp_path: Path) -> None:
    processor = SimulatedProcessor(in_flight=8)
    events, _ = run_over(tmp_path, [b"x" * 400] * 9 + [b"y" * 1001], processor, max_bytes=1000)

    assert 800 == processor.peak_bytes
    assert [("failed", "rejected")] == [
        (outcome.status, outcome.problem.type) for outcome in events.outcomes if outcome.problem is not None
    ]


def test_a_failure_and_a_bug_end_nothing(tmp_path: Path) -> None:
    contents = [b"a", b"reject", b"b", b"crash", b"c"]
    events, run = run_over(tmp_path, contents, SimulatedProcessor(in_flight=2))
    by_name = {outcome.source.name: outcome for outcome in events.outcomes}
    problems = [by_name[name].problem for name in ("1.jpg", "3.jpg")]

    assert 3 == sum(outcome.status == "written" for outcome in events.outcomes)
    assert ["simulated", "internal-error"] == [each.type for each in problems if each is not None]
    assert "This is a bug: RuntimeError: simulated" == problems[1].detail if problems[1] else False
    assert run.ended_by is None


def test_a_reason_that_concerns_all_pictures_ends_the_run(tmp_path: Path) -> None:
    contents = [b"a", b"end", *[b"b"] * 9]
    events, run = run_over(tmp_path, contents, SimulatedProcessor(in_flight=1))

    assert "simulated end" == str(run.ended_by)
    assert ["written", "pending"] == [outcome.status for outcome in events.outcomes]


def test_after_a_stop_the_pictures_in_flight_end_and_no_other_starts(tmp_path: Path) -> None:
    processor = SimulatedProcessor(in_flight=2)
    events, _ = run_over(tmp_path, [b"a", b"stop", *[b"b"] * 9], processor)

    assert 2 <= len(events.outcomes) <= 3
    assert {"written"} == {outcome.status for outcome in events.outcomes}
    assert not events.running
