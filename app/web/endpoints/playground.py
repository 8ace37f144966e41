"""Playground: serves the page at ``/`` with its own files, which are in ``app/web/page/``.

The page is plain HTML, CSS and modules of JavaScript, and loads nothing from other hosts. It has no secret,
so it needs no key: it asks for one, and sends it with each request to the API. All links are relative, so
that the page works under any path of a proxy.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.web.endpoints import table
from app.web.service import service_of

router = APIRouter()
INDEX = "index.html"
MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "jpg": "image/jpeg",
    "txt": "text/plain; charset=utf-8",
}
"""The kinds of files that are served, by the ends of their names."""
_HEADERS = {
    # Blobs are the client's own pictures; the page sends no form and runs no inline script or style.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # browsers ask each time, and get 304 until a new version is installed
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: Its bytes.
        media_type: Its media type.
        etag: A strong entity tag of the content.
    """

    content: bytes
    media_type: str
    etag: str


@table.PLAYGROUND.on(router, include_in_schema=False)
async def playground(request: Request) -> Response:
    """Return the page."""
    _check_enabled(request)
    path = request.scope.get("raw_path", b"/").partition(b"?")[0]
    if path and not path.endswith(b"/"):  # a prefix alone: relative links need the slash at its end
        last = path.rpartition(b"/")[2].decode("latin-1")
        return Response(status_code=308, headers={"Location": f"{last}/"})
    return await _respond(request, INDEX)


@table.PLAYGROUND_FILE.on(router, include_in_schema=False)
async def playground_file(request: Request, name: str) -> Response:
    """Return a file of the page.

    Raises:
        HTTPException: The file does not exist.
    """
    _check_enabled(request)
    return await _respond(request, name)


def _check_enabled(request: Request) -> None:
    if not service_of(request).settings.web.playground:
        raise HTTPException(404)


async def _respond(request: Request, name: str) -> Response:
    file = (await run_in_threadpool(read_files)).get(name)
    if file is None:
        raise HTTPException(404)
    headers = {**_HEADERS, "ETag": file.etag}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def read_files() -> Mapping[str, PageFile]:
    """Return all files of the page by their paths in its folder; they are read once."""
    return dict(_walk(files("app.web") / "page", ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found: list[tuple[str, PageFile]] = []
    for each in folder.iterdir():
        ending = each.name.rpartition(".")[2]
        if each.is_dir():
            found += _walk(each, f"{prefix}{each.name}/")
        elif ending in MEDIA_TYPES:
            content = each.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((prefix + each.name, PageFile(content, MEDIA_TYPES[ending], etag)))
    return found
