"""Download: a URL becomes a file, continued where an earlier attempt stopped.

Used by the command line alone; a serving process fetches nothing this way.
"""

from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

# Connecting is either quick or hopeless; a slow transfer is neither.
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416


class SourceFailed(Exception):
    """A source did not give the file. What arrived of it is kept, and continued the next time."""


def download(url: str, part: Path, *, limit_bytes: int, show_progress: bool = True) -> None:
    """Append to ``part`` whatever of the file at ``url`` it does not hold yet.

    Asks for the missing range only. A server that ignores ranges makes it start again, and a
    connection that breaks after some progress is taken up again at once.

    Args:
        url: An http or https URL; redirects are followed.
        part: Where the bytes go. It need not exist.
        limit_bytes: Stop when the file turns out to be larger than this.
        show_progress: Draw a bar on stderr.

    Raises:
        SourceFailed: The server cannot be reached, refuses, breaks off or sends too much.
        OSError: ``part`` cannot be written.
    """
    with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client, _progress(show_progress) as progress:
        while True:
            held_before = _size_bytes(part)
            try:
                _continue(client, url, part, limit_bytes=limit_bytes, progress=progress)
                return
            except httpx.TransportError as error:
                held = _size_bytes(part)
                if held <= held_before:
                    kept = f"; {held} bytes are kept and will be continued" if held else ""
                    raise SourceFailed(f"{type(error).__name__}: {error}{kept}") from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise SourceFailed(f"{type(error).__name__}: {error}") from error


def _continue(client: httpx.Client, url: str, part: Path, *, limit_bytes: int, progress: Progress) -> None:
    held = _size_bytes(part)
    headers = {"Accept-Encoding": "identity"}  # a range of a compressed file is no range of the file
    if held:
        headers["Range"] = f"bytes={held}-"
    with client.stream("GET", url, headers=headers) as response:
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == RANGE_NOT_SATISFIABLE and content_range == f"bytes */{held}":
            return  # the part is whole already
        continues = response.status_code == PARTIAL_CONTENT and content_range.startswith(f"bytes {held}-")
        if response.status_code == httpx.codes.OK or continues:
            _write(response, part, continues=continues, limit_bytes=limit_bytes, progress=progress)
            return
    if not held or response.status_code not in (PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE):
        raise SourceFailed(f"the server answered {response.status_code} {response.reason_phrase}")
    part.unlink()  # the part belongs to another file than the server's
    _continue(client, url, part, limit_bytes=limit_bytes, progress=progress)


def _write(
    response: httpx.Response, part: Path, *, continues: bool, limit_bytes: int, progress: Progress
) -> None:
    held = _size_bytes(part) if continues else 0
    announced = response.headers.get("Content-Length", "")
    total = held + int(announced) if announced.isdecimal() else None
    task = progress.add_task(part.name.removesuffix(".part"), total=total, completed=held)
    with part.open("ab" if continues else "wb") as file:
        for chunk in response.iter_raw():
            held += len(chunk)
            if held > limit_bytes:
                raise SourceFailed(f"the server sends more than the {limit_bytes} bytes expected at most")
            file.write(chunk)
            progress.update(task, completed=held)
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
