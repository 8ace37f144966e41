"""Sources: arguments of the command line become the pictures to read.

Rule 1: a file that the command line names is taken, whatever its name is.
Rule 2: in folders and globs, files are pictures by their suffix; hidden files and pipes are ignored.
Rule 3: results of an earlier run are ignored: ``*-cutout.*`` in folders and globs, and every file named like
a result of another picture of this run.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from app.cli.removal.values import Source, UsageProblem

STDIN = Path("-")
CUTOUT_TAIL, MASK_TAIL = "-cutout", "-mask"
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif", ".bmp", ".heic", ".heif")
)


class NothingFound(UsageProblem):
    """An argument matches no file."""


@dataclass(frozen=True, slots=True)
class Found:
    """The pictures to read, and the number of results of an earlier run among the files."""

    sources: tuple[Source, ...]
    ignored: int


def find_sources(arguments: Iterable[str], *, recursive: bool, output: Path | None) -> Found:
    """Return the pictures that files, folders and globs name, each once.

    Args:
        arguments: Files, folders, globs, or ``-``.
        recursive: Whether to search the folders' sub-folders.
        output: The absolute path of the folder of the results, which is searched only if it is an argument.

    Raises:
        NothingFound: A glob matches no file.
        UsageProblem: An argument is empty.
    """
    by_path: dict[Path, Source] = {}
    for argument in arguments:
        for source in _sources_of(argument, recursive, output):
            by_path.setdefault(_identity(source.path), source)
    sources = by_path.values()
    names = {source.path.parent: set[str]() for source in sources}
    for source in sources:
        names[source.path.parent] |= {source.path.stem, source.path.name}
    taken = tuple(source for source in sources if not _is_result(source, names[source.path.parent]))
    return Found(taken, len(sources) - len(taken))


def _sources_of(argument: str, recursive: bool, output: Path | None) -> Iterator[Source]:  # noqa: FBT001
    if not argument:  # Path("") would be the working directory
        raise UsageProblem("the name of a picture is empty")
    path = Path(argument)
    if argument == str(STDIN):
        yield Source(STDIN, is_named=True)
    elif path.is_dir():
        yield from _in_folder(path, recursive, output)
    elif glob.has_magic(argument) and not path.exists():
        yield from _matching(argument, recursive, output)
    else:
        yield Source(path, is_named=True)


def _in_folder(folder: Path, recursive: bool, output: Path | None) -> Iterator[Source]:  # noqa: FBT001
    """Yield the pictures of a folder, in the order of their names; links to folders are not followed."""

    def fail(error: OSError) -> None:
        is_gone = isinstance(error, FileNotFoundError) and Path(error.filename) != folder
        if not is_gone:  # a sub-folder may be moved away during the search
            raise error

    for current, subfolders, names in os.walk(folder, onerror=fail):
        here = Path(current)
        subfolders[:] = sorted(
            name for name in subfolders if recursive and not _is_hidden(name) and not _is(here / name, output)
        )
        for name in sorted(names):
            if is_picture_name(name) and not _is_special(here / name):
                yield Source(here / name, PurePath(os.path.relpath(here, folder)))


def _matching(pattern: str, recursive: bool, output: Path | None) -> Iterator[Source]:  # noqa: FBT001
    """Yield the pictures that a glob matches; its folders are searched only with ``recursive``."""
    matches = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    if not matches:
        raise NothingFound(f"{pattern}: no file has such a name")
    root = _fixed_part(pattern)
    if output is not None and output in (real_path(root), *real_path(root).parents):
        output = None
    for path in matches:
        folder = PurePath(os.path.relpath(path.parent, root))
        if path.is_dir():
            inner = _in_folder(path, recursive, output) if recursive and not _is(path, output) else ()
            yield from (Source(each.path, folder / path.name / each.folder) for each in inner)
        elif is_picture_name(path.name) and not _is_special(path) and output not in real_path(path).parents:
            yield Source(path, folder)


def _fixed_part(pattern: str) -> Path:
    """Return the folder in front of the first part with a wildcard."""
    parts = PurePath(pattern).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def real_path(path: Path) -> Path:
    """Return the absolute path without links; unlike ``Path.resolve``, also for links that form a loop."""
    return Path(os.path.realpath(path))


def is_picture_name(name: str) -> bool:
    """Return whether a file name is that of a picture: not hidden, with the suffix of an accepted format."""
    return not _is_hidden(name) and PurePath(name).suffix.lower() in PICTURE_SUFFIXES


def _is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device: reading one may never end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # why it cannot be read is reported with the picture
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_result(source: Source, names: set[str]) -> bool:
    """Return whether a file is a result; ``names`` are names and stems of the pictures in its folder."""
    stem = source.path.stem
    if not source.is_named and stem.endswith(CUTOUT_TAIL):
        return True
    return any(stem.endswith(tail) and stem.removesuffix(tail) in names for tail in (CUTOUT_TAIL, MASK_TAIL))


def _is(path: Path, output: Path | None) -> bool:
    return output is not None and real_path(path) == output


def _identity(path: Path) -> Path:
    return path if path == STDIN else real_path(path)
