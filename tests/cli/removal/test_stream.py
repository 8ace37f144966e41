import asyncio
from collections.abc import Sequence
from pathlib import Path

from app.cli.removal.destination import Destination
from app.cli.removal.plan import Planner
from app.cli.removal.runner import Rules, Run
from app.cli.removal.stream import watched_items
from app.cli.removal.values import Item, Outcome, Processed, Source
from app.cli.removal.watch import stamps_of

PLANNER = Planner(Destination(), "png", only_mask=False, keeps_names=False, has_mask=False, replaces=False)


class Nothing:
    """Processes no picture, and follows no run."""

    in_flight = 1

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def process(self, upload: bytes) -> Processed:
        raise AssertionError

    def started(self, item: Item) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


def test_a_watched_folder_that_cannot_be_read_any_more_ends_the_run_with_a_sentence() -> None:
    def find() -> Sequence[Source]:
        raise PermissionError(13, "Permission denied", "inbox")

    nothing = Nothing()
    rules = Rules(replaces=False, inputs=(), max_upload_bytes=1, read_stdin=lambda _: b"")
    run = Run(nothing, rules, nothing)
    asyncio.run(run.process(watched_items(run, find, PLANNER, set())))

    assert "inbox: permission denied" == str(run.ended_by)


def test_a_link_that_leads_nowhere_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")

    assert {} == stamps_of([Source(tmp_path / "loop.jpg")])
