"""Targets: plans the files to write. Pure; nothing here looks at the disk.

Rule 1: the result of ``photo.jpg`` is ``photo-cutout.png``, next to it or in the folder of the results; with
``keeps_names`` it is ``photo.png`` there.
Rule 2: if two results would get the same name, each gets the whole name of its picture:
``photo.jpg-cutout.png`` and ``photo.png-cutout.png``. Names that differ only in case or in Unicode's
composition count as the same, because some file systems treat them so.
Rule 3: no result replaces a picture of the run.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.removal.sources import MASK_TAIL, STDIN
from app.cli.removal.values import Item, Source, Target, UsageProblem

SUFFIXES: Mapping[str, Mapping[str, str]] = {
    "png": {"image/png": ".png"},
    "webp": {"image/webp": ".webp"},
    "jpeg": {"image/jpeg": ".jpg"},
    "avif": {"image/avif": ".avif"},
    "zip": {"application/zip": ".zip"},
    "auto": {"image/png": ".png", "image/jpeg": ".jpg"},
}
"""The suffix of each media type that a format may result in."""


class NamesCollide(UsageProblem):
    """Two results would get the same name, or a result the name of a picture."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How results are named.

    Attributes:
        tail: What follows the name of the picture, such as ``-cutout``.
        suffixes: The suffix of the result, by media type.
        output: The folder of the results; None is the folder of each picture.
        keeps_names: Whether results in that folder have no tail.
        has_mask: Whether a mask is written too.
    """

    tail: str
    suffixes: Mapping[str, str]
    output: Path | None = None
    keeps_names: bool = False
    has_mask: bool = False

    def target_of(self, source: Source, stem: str) -> Target:
        """Return the target of a picture, for the name or the stem of its file."""
        folder = source.path.parent if self.output is None else self.output / source.folder
        tail = "" if self.keeps_names else self.tail
        mask = folder / f"{stem}{MASK_TAIL}.png" if self.has_mask else None
        return Target(folder / f"{stem}{tail}", self.suffixes, mask)


def plan_items(
    sources: Sequence[Source], naming: Naming, *, identity: Callable[[Path], Path] = lambda path: path
) -> list[Item]:
    """Return a item for each picture, in the same order.

    Args:
        sources: Pictures, each once.
        naming: How results are named.
        identity: Maps the paths of one file, such as a relative one and an absolute one, to the same path.

    Raises:
        NamesCollide: Two results have the same name even with the whole names of their pictures, or a result
            has the name of a picture.
    """
    stems = [_stem_of(source) for source in sources]
    while True:
        targets = [naming.target_of(*each) for each in zip(sources, stems, strict=True)]
        counts = Counter(key for target in targets for key in _keys(target))
        shared = [max(counts[key] for key in _keys(target)) > 1 for target in targets]
        longer = [
            source.path.name if is_shared else stem
            for source, stem, is_shared in zip(sources, stems, shared, strict=True)
        ]
        if longer == stems:
            break
        stems = longer
    items = [Item(*each) for each in zip(sources, targets, strict=True)]
    _check_unique(items)
    check_inputs(items, [source.path for source in sources], identity)
    return items


def _stem_of(source: Source) -> str:
    return "stdin" if source.path == STDIN else source.path.stem


def _paths(target: Target) -> tuple[Path, ...]:
    return (*target.candidates, *(() if target.mask is None else (target.mask,)))


def _keys(target: Target) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", str(path)).casefold() for path in _paths(target))


def _check_unique(items: Sequence[Item]) -> None:
    by_path: dict[Path, Item] = {}
    for item in items:
        for path in _paths(item.target):
            other = by_path.setdefault(path, item)
            if other is not item:
                raise NamesCollide(
                    f"{other.source.path} and {item.source.path} would both become {path}. Process them into "
                    "different folders"
                )


def check_inputs(
    items: Sequence[Item], inputs: Collection[Path], identity: Callable[[Path], Path] = lambda path: path
) -> None:
    """Check that no item writes to the path of an input.

    Raises:
        NamesCollide: A item does.
    """
    protected = {identity(path): path for path in inputs}
    for item in items:
        for path in _paths(item.target):
            if (taken := protected.get(identity(path))) is not None:
                raise NamesCollide(
                    f"the result of {item.source.path} would replace the input {taken}. Choose another "
                    "folder with -o"
                )
