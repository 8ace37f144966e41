"""Plan: the pictures of a run become items, and those whose results exist are set apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.removal.destination import Destination, naming_for, target_for
from app.cli.removal.failures import describe
from app.cli.removal.sources import STDIN
from app.cli.removal.targets import SUFFIXES, check_inputs, plan_items
from app.cli.removal.values import Item, Outcome, Source, Target


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the results of pictures.

    Attributes:
        destination: Where results go.
        format: Their format.
        only_mask: Whether they are masks.
        keeps_names: Whether they are named like their pictures.
        has_mask: Whether the mask is written next to the cutout.
        replaces: Whether existing results are replaced.
    """

    destination: Destination
    format: str
    only_mask: bool
    keeps_names: bool
    has_mask: bool
    replaces: bool

    def items_for(self, sources: Sequence[Source]) -> list[Item]:
        """Return a item for each picture.

        Raises:
            NamesCollide: Two results would have one name, or a result the name of a picture.
            UsageProblem: The names of pictures would be kept in their own folders.
        """
        naming = naming_for(
            self.destination,
            self.format,
            only_mask=self.only_mask,
            keeps_names=self.keeps_names,
            has_mask=self.has_mask,
        )
        if self.destination.is_stdout:
            return [Item(source, Target(STDIN, SUFFIXES[self.format])) for source in sources]
        if self.destination.file is None:
            return plan_items(sources, naming, identity=Path.resolve)
        target = target_for(self.destination.file, self.format, has_mask=self.has_mask)
        items = [Item(source, target) for source in sources]
        check_inputs(items, [source.path for source in sources], Path.resolve)
        return items

    def set_apart(self, items: Sequence[Item]) -> tuple[list[Item], list[Outcome]]:
        """Return the items to process, and the outcomes of the others.

        Those have their results already, or cannot be read: a misspelt name is reported at once, before a
        model is loaded for it.
        """
        pending: list[Item] = []
        known: list[Outcome] = []
        for item in items:
            path = item.source.path
            if self.is_done(item):
                known.append(skipped_outcome(item))
            elif (error := _why_unreadable(path)) is not None:
                known.append(Outcome(path, "failed", problem=describe(error, path)))
            else:
                pending.append(item)
        return pending, known

    def is_done(self, item: Item) -> bool:
        """Return whether the results of a item exist, and are not replaced."""
        if self.replaces or self.destination.is_stdout:
            return False
        mask = item.target.mask
        return any(path.exists() for path in item.target.candidates) and (mask is None or mask.exists())


def skipped_outcome(item: Item) -> Outcome:
    """Return the outcome of a picture whose result exists."""
    return Outcome(
        item.source.path, "skipped", tuple(path for path in item.target.candidates if path.exists())
    )


def _why_unreadable(path: Path) -> OSError | None:
    if path == STDIN:
        return None
    try:
        path.stat()
    except OSError as error:
        return error
    return None
