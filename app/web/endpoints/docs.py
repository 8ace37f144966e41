"""Docs: serves a page to read and try the OpenAPI document, with all of its files.

All links are relative, so that the page works under any path of a proxy.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response

from app.web.endpoints import table

router = APIRouter()
ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Cutout</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
<div id="contract"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#contract",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
"""
# Swagger UI sets styles on elements; its scripts are files from this server.
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
}


@table.DOCS.on(router, include_in_schema=False)
async def page() -> Response:
    """Return the page."""
    return HTMLResponse(_HTML, headers=_POLICY)


@table.DOCS_START.on(router, include_in_schema=False)
async def start() -> Response:
    """Return the script that starts the page; an inline script would need an exception in the policy."""
    return Response(_START, media_type="text/javascript")


@table.DOCS_ASSET.on(router, include_in_schema=False)
async def asset(name: str) -> Response:
    """Return a file of the page.

    Raises:
        HTTPException: The file does not exist.
    """
    if name not in ASSETS:
        raise HTTPException(404)
    path = Path(str(files("fastapi_offline"))) / "static" / name
    return FileResponse(path, media_type=ASSETS[name], headers={"Cache-Control": "max-age=3600"})
