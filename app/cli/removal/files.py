"""Files: writes results so that a file has its whole content or does not exist.

Rule 1: a result is written to a temporary file in the same folder, which then gets the result's name.
Rule 2: an existing file is replaced only on request, and an input never.
Rule 3: temporary files of killed runs are removed by the next run that writes to the folder.
"""

import errno
import itertools
import os
import platform
import re
import time
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path

HOST = f"{zlib.crc32(platform.node().encode()):08x}"
"""Distinguishes machines that write to the same folder over the network."""
MAX_AGE_S = 24 * 3600.0
"""Age after which a temporary file of another machine counts as left behind."""
_TEMPORARY = re.compile(r"\.cutout-([0-9a-f]{8})-(\d+)-\d+\.part")
_numbers = itertools.count()

Identity = tuple[int, int]
"""The device and the number of a file."""


def identities_of(paths: Iterable[Path]) -> frozenset[Identity]:
    """Return the identities of existing files."""
    return frozenset(found for path in paths if (found := _identity_of(path)) is not None)


def write_result(path: Path, contents: bytes, *, replaces: bool, inputs: Collection[Identity]) -> None:
    """Write a file atomically, and create its folder if necessary.

    Args:
        path: The file.
        contents: Its contents.
        replaces: Whether an existing file is replaced.
        inputs: Files that are never replaced, by whatever path they are reached.

    Raises:
        FileExistsError: The file exists and is not replaced.
        OSError: It cannot be written.
    """
    if (found := _identity_of(path)) is not None and (not replaces or found in inputs):
        reason = "is one of the pictures to read" if found in inputs else "file exists"
        raise FileExistsError(errno.EEXIST, reason, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".cutout-{HOST}-{os.getpid()}-{next(_numbers)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(contents)
        _rename(temporary, path, replaces)
    except OSError as error:
        # The name of the temporary file means nothing to the user.
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path, replaces: bool) -> None:  # noqa: FBT001
    if replaces:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)  # unlike a rename, it never replaces a file
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, "file exists", str(path)) from None
        temporary.rename(path)


def remove_stale(folder: Path) -> int:
    """Remove temporary files that killed runs left in a folder; return their number."""
    removed = 0
    try:
        entries = [entry for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return 0
    for entry in entries:
        if _is_stale(entry):
            Path(entry.path).unlink(missing_ok=True)
            removed += 1
    return removed


def _is_stale(entry: "os.DirEntry[str]") -> bool:
    match = _TEMPORARY.fullmatch(entry.name)
    assert match is not None  # noqa: S101 - the caller checks it
    try:
        is_old = time.time() - entry.stat().st_mtime > MAX_AGE_S
    except FileNotFoundError:
        return False
    return is_old or (match[1] == HOST and not _is_running(int(match[2])))


def _is_running(process_id: int) -> bool:
    if os.name == "nt":  # there, signal 0 ends the process
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _identity_of(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
