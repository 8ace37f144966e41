"""Order: carries out an order of the command line.

Everything that can be wrong with the arguments is found before the first picture is read.
"""

import os
import sys
import time
from collections.abc import AsyncIterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from app.cli.options import settings_for
from app.cli.removal.conclusion import Reporting, conclude
from app.cli.removal.destination import destination_of, format_for, is_one_file
from app.cli.removal.execution import Ended, execute
from app.cli.removal.files import identities_of, remove_stale
from app.cli.removal.flags import Choices
from app.cli.removal.local import open_local
from app.cli.removal.plan import Planner
from app.cli.removal.progress import Lines
from app.cli.removal.remote import IN_FLIGHT, RemoteProcessor, server_address
from app.cli.removal.requests import RequestTemplate, template_for
from app.cli.removal.runner import Rules, Run
from app.cli.removal.sources import Found, find_sources, is_picture_name, real_path
from app.cli.removal.stream import planned_items, watched_items
from app.cli.removal.values import Item, Processor, UsageProblem
from app.cli.stopping import ends_at_once
from app.engine.capacity.memory import MAX_UPLOAD_BYTES
from app.logs import configure_logs
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The arguments and flags of ``cutout remove``; its help explains them."""

    pictures: tuple[str, ...]
    output: str | None = None
    recursive: bool = False
    keeps_names: bool = False
    replaces: bool = False
    watches: bool = False
    only_mask: bool = False
    report: Path | None = None
    is_quiet: bool = False
    in_flight: int | None = None
    server: str | None = None
    key: str | None = None
    choices: Choices

    def find(self) -> Found:
        """Return the pictures that the arguments name now.

        Raises:
            UsageProblem: A name is empty, or a glob matches no file.
        """
        if self.output == "":  # Path("") would be the working directory
            raise UsageProblem("-o needs the name of a file or a folder, and it is empty")
        output = None if self.output is None else real_path(Path(self.output))
        return find_sources(self.pictures, recursive=self.recursive, output=output)


def run_order(order: Order) -> int:
    """Remove the backgrounds, report, and return the exit code.

    Raises:
        UsageProblem: The arguments make no sense together.
        CutoutError: The model cannot be used.
        OSError: An argument cannot be read.
    """
    started_s = time.monotonic()
    found = order.find()
    planner = _planner_for(order, found)
    template = template_for(order.choices, result_format=planner.format, only_mask=order.only_mask)
    model = order.choices.options.get("model")
    settings = settings_for([model] if model else None)
    configure_logs(settings.log_format)
    items = planner.items_for(found.sources)
    _check_report(order, items)
    pending, known = ([], []) if order.watches else planner.set_apart(items)
    console = Console(stderr=True)
    lines = Lines(console, is_quiet=order.is_quiet)
    for outcome in known:
        lines.ended(outcome)
    ended = Ended()
    if pending or order.watches:
        for folder in {item.target.stem.parent for item in items}:
            remove_stale(folder)
        with _processor(order, template, settings) as processor:
            ended = _process(order, planner, settings, processor, pending, console)
    ended.outcomes[:0] = known
    ended.add_pending(pending)
    is_single = not order.watches and [outcome.status for outcome in ended.outcomes] in (
        ["written"],
        ["failed"],
    )
    reporting = Reporting(console, is_quiet=order.is_quiet, is_single=is_single, report=order.report)
    return conclude(ended, reporting, took_s=time.monotonic() - started_s, ignored=found.ignored)


def _process(
    order: Order,
    planner: Planner,
    settings: Settings,
    processor: Processor,
    pending: Sequence[Item],
    console: Console,
) -> Ended:
    inputs = set(identities_of([*(item.source.path for item in pending), *order.choices.parts.values()]))
    rules = Rules(
        replaces=order.replaces,
        inputs=inputs,
        max_upload_bytes=settings.limits.in_flight_bytes or MAX_UPLOAD_BYTES,
        read_stdin=sys.stdin.buffer.read,
        write_stdout=_write_stdout if planner.destination.is_stdout else None,
    )

    def items_for(run: Run) -> AsyncIterable[Item]:
        if order.watches:
            return watched_items(run, lambda: order.find().sources, planner, inputs)
        return planned_items(pending)

    total = None if order.watches else len(pending)
    return execute(processor, rules, items_for, console, total=total, is_quiet=order.is_quiet)


def _planner_for(order: Order, found: Found) -> Planner:
    """Return the planner for the pictures found.

    Raises:
        UsageProblem: The output does not fit the pictures, or watching does not.
    """
    if order.watches and not all(Path(each).is_dir() for each in order.pictures):
        raise UsageProblem("--watch watches folders: name existing ones only")
    destination = destination_of(
        order.output,
        order.pictures,
        is_one_file=is_one_file(order.pictures, found.sources),
        is_folder=Path.is_dir,
    )
    options = order.choices.options
    has_mask = "," in options.get("results", "") and not order.only_mask
    if destination.is_stdout and has_mask:
        raise UsageProblem("--results mask,cutout writes two files: name a file or a folder with -o")
    if destination.is_stdout and sys.stdout.isatty():
        raise UsageProblem("the result would be written to the terminal: name a file with -o, or use a pipe")
    return Planner(
        destination,
        format_for(destination, options.get("format")),
        only_mask=order.only_mask,
        keeps_names=order.keeps_names,
        has_mask=has_mask,
        replaces=order.replaces,
    )


def _check_report(order: Order, items: Sequence[Item]) -> None:
    """Check that the report replaces no picture and no result.

    Raises:
        UsageProblem: It would, or it is a folder.
    """
    report = order.report
    if report is None:
        return
    if report.is_dir():
        raise UsageProblem(f"--report {report}: this is a folder; name a file")
    taken = [real_path(item.source.path) for item in items]
    taken += [real_path(path) for item in items for path in item.target.candidates]
    taken += [real_path(path) for path in order.choices.parts.values()]
    if is_picture_name(report.name) or real_path(report) in taken:
        raise UsageProblem(f"--report {report}: this is the name of a picture; name a file like report.json")


def _write_stdout(encoded: bytes) -> None:
    try:
        sys.stdout.buffer.write(encoded)
        sys.stdout.buffer.flush()
    except OSError:
        # The interpreter would flush the rest at its end, and report the same error in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@contextmanager
def _processor(order: Order, template: RequestTemplate, settings: Settings) -> Iterator[Processor]:
    """Yield what processes the pictures: a server if one was named, else this process."""
    if order.server is not None:
        url = server_address(order.server)
        yield RemoteProcessor(url, order.key, template, in_flight=order.in_flight or IN_FLIGHT)
        return
    with ExitStack() as stack:
        with ends_at_once():  # loading cannot be stopped, and nothing is written yet
            processor = stack.enter_context(open_local(settings, template))
        processor.in_flight = order.in_flight or processor.in_flight
        yield processor
