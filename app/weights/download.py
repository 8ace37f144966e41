"""Download: downloads a URL to a file, and resumes where an earlier attempt stopped.

Used by the command line only; a server process downloads nothing this way.
"""

from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

# A connection succeeds quickly or not at all; a transfer may be slow.
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416


class SourceFailed(Exception):
    """A source did not provide the file. A partial download is kept, and resumed the next time."""


def download(url: str, part: Path, *, limit_bytes: int, show_progress: bool = True) -> None:
    """Download the rest of the file at ``url`` and append it to ``part``.

    Requests the missing range only. If the server ignores ranges, the download starts again; if a connection
    breaks after some progress, it is resumed at once.

    Args:
        url: An http or https URL; redirects are followed.
        part: The file to append to. It need not exist.
        limit_bytes: The maximum size of the file; a larger download is stopped.
        show_progress: Show a progress bar on stderr.

    Raises:
        SourceFailed: The server cannot be reached, refuses, disconnects or sends too much.
        OSError: ``part`` cannot be written.
    """
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client, _progress(show_progress) as progress:
        while True:
            size_before = _size_bytes(part)
            try:
                _resume(client, url, part, limit_bytes=limit_bytes, progress=progress)
                return
            except httpx.TransportError as error:
                size = _size_bytes(part)
                if size <= size_before:
                    kept = f"; {size} bytes are kept and will be continued" if size else ""
                    raise SourceFailed(f"{type(error).__name__}: {error}{kept}") from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise SourceFailed(f"{type(error).__name__}: {error}") from error


def _resume(client: httpx.Client, url: str, part: Path, *, limit_bytes: int, progress: Progress) -> None:
    size = _size_bytes(part)
    headers = {"Accept-Encoding": "identity"}  # a range of the compressed file is not a range of the file
    if size:
        headers["Range"] = f"bytes={size}-"
    with client.stream("GET", url, headers=headers) as response:
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == RANGE_NOT_SATISFIABLE and content_range == f"bytes */{size}":
            return  # the part is already complete
        is_rest = response.status_code == PARTIAL_CONTENT and content_range.startswith(f"bytes {size}-")
        if response.status_code == httpx.codes.OK or is_rest:
            _write(response, part, is_rest=is_rest, limit_bytes=limit_bytes, progress=progress)
            return
    if not size or response.status_code not in (PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE):
        raise SourceFailed(f"the server responded with {response.status_code} {response.reason_phrase}")
    part.unlink()  # the part is of another file than the server's
    _resume(client, url, part, limit_bytes=limit_bytes, progress=progress)


def _write(
    response: httpx.Response, part: Path, *, is_rest: bool, limit_bytes: int, progress: Progress
) -> None:
    size = _size_bytes(part) if is_rest else 0
    content_length = response.headers.get("Content-Length", "")
    total = size + int(content_length) if content_length.isdecimal() else None
    task = progress.add_task(part.name.removesuffix(".part"), total=total, completed=size)
    with part.open("ab" if is_rest else "wb") as file:
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > limit_bytes:
                raise SourceFailed(f"the server sends more than the {limit_bytes} bytes expected at most")
            file.write(chunk)
            progress.update(task, completed=size)
    progress.remove_task(task)


def _progress(show_progress: bool) -> Progress:  # noqa: FBT001 -- private, and the only argument
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        disable=not show_progress,
        transient=True,
    )


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
