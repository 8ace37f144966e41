"""The docs page loads only files of this server."""

import re
from urllib.parse import urljoin

import httpx
import pytest
from httpx import ASGITransport
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings
from tests.web.conftest import Live


def test_every_file_of_the_page_comes_from_this_server(live: Live) -> None:
    page = live.client.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert len(links) == 4
    for link in links:
        response = live.client.get(link)
        assert (200, "nosniff") == (response.status_code, response.headers["x-content-type-options"])
        assert len(response.content) > 50
    assert "default-src 'none'; script-src 'self';" in page.headers["content-security-policy"]
    assert "sandbox" in live.client.get("/docs/start.js").headers["content-security-policy"]


def test_no_other_file_is_served(live: Live) -> None:
    for name in (
        "redoc.standalone.js",
        "..%2Fcore.py",
        "../core.py",
        "core.py",
        "%00",
        "swagger-ui.css/",
    ):
        assert live.client.get(f"/docs/{name}").status_code == 404, name


def test_the_page_shows_the_openapi_document_of_this_server(live: Live) -> None:
    assert '"openapi.json"' in live.client.get("/docs/start.js").text


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def under(path: str, *, prefix: str | None = None, root_path: str = "") -> httpx.AsyncClient:
    """A client of an application with a key, which sends its requests to paths under ``path``."""
    settings = Settings(web={"path_prefix": prefix}, access={"key_hashes": "ab" * 32})
    transport = ASGITransport(create_app(settings), root_path=root_path)
    return httpx.AsyncClient(transport=transport, base_url=f"http://here{path}")


@pytest.mark.anyio
@pytest.mark.parametrize("how", [{"prefix": "/a/cutout"}, {"root_path": "/a/cutout"}])
async def test_the_page_works_under_a_path(how: dict[str, str]) -> None:
    async with under("/a/cutout", **how) as client:
        page = await client.get("/docs")
        links = [urljoin(str(page.url), link) for link in re.findall(r'(?:src|href)="([^"]+)"', page.text)]
        start = (await client.get(links[-1])).text
        document_url = urljoin(str(page.url), re.findall(r'url: "([^"]+)"', start)[0])
        document = await client.get(document_url)
        server = urljoin(document_url, document.json()["servers"][0]["url"])
        refused = await client.post(urljoin(server, "v1/cutout"))

        assert [(await client.get(link)).status_code for link in links] == [200] * 4
    assert server == "http://here/a/cutout/"
    assert refused.status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/livez", 200), ("/cutout/livez", 200), ("/cutout/problems/not-found", 200)),
        *(("/cutoutlivez", 401), ("/cutout/cutout/livez", 401), ("/cutout", 308), ("/cutout/", 200)),
    ],
)
async def test_a_path_prefix_is_removed_once(path: str, status: int) -> None:
    async with under("", prefix="/cutout") as client:
        assert (await client.get(path)).status_code == status


@pytest.mark.parametrize("prefix", ["cutout", "/", "/cutout/", "/a//b", "/a b", "/é", "https://here/a"])
def test_an_invalid_path_prefix_stops_the_start(prefix: str) -> None:
    with pytest.raises(ValidationError):
        Settings(web={"path_prefix": prefix})
