"""Destination: decides from ``-o`` and the arguments where results go and in which format. Pure."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.removal.sources import CUTOUT_TAIL, MASK_TAIL, STDIN
from app.cli.removal.targets import SUFFIXES, Naming
from app.cli.removal.values import Source, Target, UsageProblem
from app.spelling import format_of

FORMAT_BY_SUFFIX: Mapping[str, str] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".avif": "avif",
    ".zip": "zip",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go: into ``folder``, to ``file``, to the standard output, or next to their pictures."""

    folder: Path | None = None
    file: Path | None = None
    is_stdout: bool = False


def destination_of(
    output: str | None, arguments: Sequence[str], *, is_one_file: bool, is_folder: Callable[[Path], bool]
) -> Destination:
    """Return where the results of some arguments go.

    Args:
        output: The value of ``-o``.
        arguments: The files, folders and globs to read.
        is_one_file: Whether they are a single file, or ``-``.
        is_folder: Whether a path is an existing folder.

    Raises:
        UsageProblem: Several results would go to one file, or the format of a file is unknown.
    """
    if str(STDIN) in arguments and len(arguments) > 1:
        raise UsageProblem("- is the standard input, and must be the only picture")
    if output is None:
        return Destination(is_stdout=arguments[0] == str(STDIN))
    if output == str(STDIN):
        if not is_one_file:
            raise UsageProblem("the standard output holds one result: name one picture, or a folder with -o")
        return Destination(is_stdout=True)
    path = Path(output)
    if is_folder(path) or output.endswith((os.sep, "/")):
        return Destination(folder=path)
    is_file_name = path.suffix.lower() in FORMAT_BY_SUFFIX
    if not is_one_file:
        if is_file_name:
            raise UsageProblem(f"{output}: several pictures need a folder, and this is the name of a file")
        return Destination(folder=path)
    if not path.suffix:
        return Destination(folder=path)
    if not is_file_name:
        raise UsageProblem(f"{output}: the suffix must be one of {', '.join(FORMAT_BY_SUFFIX)}")
    return Destination(file=path)


def format_for(destination: Destination, chosen: str | None) -> str:
    """Return the format of the results: the chosen one, that of the file's suffix, or PNG.

    Raises:
        UsageProblem: The suffix and the chosen format differ.
    """
    wanted = None if chosen is None else format_of(chosen)
    if destination.file is None:
        return wanted or "png"
    by_suffix = FORMAT_BY_SUFFIX[destination.file.suffix.lower()]
    if wanted not in (None, by_suffix):
        raise UsageProblem(f"{destination.file}: the suffix does not match --format {chosen}")
    return by_suffix


def naming_for(
    destination: Destination, chosen_format: str, *, only_mask: bool, keeps_names: bool, has_mask: bool
) -> Naming:
    """Return how results in a folder, or next to their pictures, are named.

    Raises:
        UsageProblem: The names of the pictures would be kept in their own folders.
    """
    if keeps_names and destination.folder is None:
        raise UsageProblem("--keep-names needs a folder: -o FOLDER")
    tail = MASK_TAIL if only_mask else CUTOUT_TAIL
    # An unknown format is refused by the API's parser, with a better message.
    return Naming(tail, SUFFIXES.get(chosen_format, {}), destination.folder, keeps_names, has_mask)


def target_for(file: Path, chosen_format: str, *, has_mask: bool) -> Target:
    """Return the target of a single result with the name ``file``."""
    mask = file.with_name(f"{file.stem}{MASK_TAIL}.png") if has_mask else None
    return Target(file.with_suffix(""), dict.fromkeys(SUFFIXES[chosen_format], file.suffix), mask)


def is_one_file(arguments: Sequence[str], sources: Sequence[Source]) -> bool:
    """Return whether the arguments are a single file that the command line names."""
    return len(arguments) == 1 and len(sources) == 1 and sources[0].is_named
