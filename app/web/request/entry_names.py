"""Entry names: checks the names of uploaded files, which come from untrusted archives and forms.

Names are never used as paths on this machine. They are checked because a client may unpack the results: a
result keeps the folder of its picture, and must not leave the folder into which the client unpacks it.
"""

import re
import unicodedata
from pathlib import PurePosixPath

from app.errors import EntryRefused

MAX_NAME_CHARACTERS = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_CLUTTER_FOLDER = "__MACOSX"
_CLUTTER_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_UNSAFE_IN_REPORT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def check_name(name: str) -> None:
    """Refuse a name that is no plain relative path.

    Raises:
        EntryRefused: The name is empty, too long, absolute, or has ``..``, a backslash, a control character
            or a drive.
    """
    parts = name.split("/")
    if not name or not parts[-1]:
        raise EntryRefused("The file has no name.")
    if len(name) > MAX_NAME_CHARACTERS:
        raise EntryRefused(f"The name of the file is longer than {MAX_NAME_CHARACTERS} characters.")
    if _CONTROL.search(name) or "\\" in name or "�" in name:
        raise EntryRefused("The name of the file has a backslash, a control character or no valid encoding.")
    if name.startswith("/") or _DRIVE.match(name) or any(part in ("", ".", "..") for part in parts):
        raise EntryRefused("The name of the file is no plain relative path: it is absolute or has '..'.")


def is_clutter(name: str) -> bool:
    """Return whether a name is that of a folder, or of a file that an operating system adds to archives."""
    parts = name.split("/")
    if name.endswith("/") or _CLUTTER_FOLDER in parts[:-1]:
        return True
    return parts[-1] in _CLUTTER_FILES or parts[-1].startswith("._")


def reported_name(name: str) -> str:
    """Return a name for the report: without control characters, and shortened."""
    return _UNSAFE_IN_REPORT.sub("�", name)[:MAX_NAME_CHARACTERS]


class ResultNames:
    """Makes the name of each result: that of its picture with ``-cutout`` or ``-mask``, unique in a batch.

    Names that differ in case or in the composition of their accents only are one file on many machines.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def add(self, name: str, *, suffix: str, extension: str) -> str:
        """Return the name of a result, and reserve it.

        Args:
            name: The checked name of the picture.
            suffix: What the result is: ``cutout`` or ``mask``.
            extension: The extension of its file format, without the dot.
        """
        path = PurePosixPath(name)
        stem = path.stem[: MAX_NAME_CHARACTERS - 40]
        number, chosen = 1, f"{stem}-{suffix}.{extension}"
        while _file_of(str(path.with_name(chosen))) in self._taken:
            number += 1
            chosen = f"{stem}-{suffix}-{number}.{extension}"
        result = str(path.with_name(chosen))
        self._taken.add(_file_of(result))
        return result


def _file_of(name: str) -> str:
    """Return what is the same for all names of one file, where case and composition do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
