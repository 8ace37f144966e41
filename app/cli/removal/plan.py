"""Plan: the pictures of a run become items, and those whose results exist are set apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.cli.removal.destination import Destination, naming_for, target_for
from app.cli.removal.failures import describe
from app.cli.removal.sources import STDIN, real_path
from app.cli.removal.targets import SUFFIXES, NamesCollide, check_inputs, plan_items
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
            items = plan_items(sources, naming, identity=real_path)
            self._check_kept_names(sources)
            return items
        target = target_for(self.destination.file, self.format, has_mask=self.has_mask)
        items = [Item(source, target) for source in sources]
        check_inputs(items, [source.path for source in sources], real_path)
        return items

    def _check_kept_names(self, sources: Sequence[Source]) -> None:
        """Check that results with the names of their pictures go to other folders.

        Raises:
            NamesCollide: The next run would take them for pictures.
        """
        output = self.destination.folder
        if not self.keeps_names or output is None:
            return
        for source in sources:
            if real_path(source.path.parent) == real_path(output / source.folder):
                raise NamesCollide(
                    f"--keep-names needs another folder than that of {source.path}: the next run could not "
                    "tell results from pictures"
                )

    def set_apart(self, items: Sequence[Item]) -> tuple[list[Item], list[Outcome]]:
        """Return the items to process, and the outcomes of the others.

        Those have their results already, or cannot be read: a misspelt name is reported at once, before a
        model is loaded for it.
        """
        pending: list[Item] = []
        known: list[Outcome] = []
        for item in items:
            path = item.source.path
            try:
                if self.is_done(item):
                    known.append(skipped_outcome(item))
                    continue
                if path != STDIN:
                    path.stat()
            except OSError as error:
                known.append(Outcome(path, "failed", problem=describe(error, path)))
            else:
                pending.append(item)
        return pending, known

    def is_done(self, item: Item) -> bool:
        """Return whether the results of a item exist, and are not replaced."""
        if self.replaces or self.destination.is_stdout:
            return False
        mask = item.target.mask
        return any(path.is_file() for path in item.target.candidates) and (mask is None or mask.exists())


def skipped_outcome(item: Item) -> Outcome:
    """Return the outcome of a picture whose result exists."""
    return Outcome(
        item.source.path, "skipped", tuple(path for path in item.target.candidates if path.exists())
    )
