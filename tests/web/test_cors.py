"""What a browser asks before, and finds in, an answer to a page from elsewhere."""

import httpx
import pytest
from httpx import ASGITransport
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings

SHOP, STRANGER = "https://shop.example", "https://shop.example.evil.example"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def client() -> httpx.AsyncClient:
    """The application without its models, with keys and one origin."""
    settings = Settings(
        web={"cors_origins": f"https://other.example:8443, {SHOP}"}, access={"key_hashes": "ab" * 32}
    )
    return httpx.AsyncClient(transport=ASGITransport(create_app(settings)), base_url="http://here")


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, content-type",
    }


async def test_a_page_that_the_operator_named_may_ask_without_a_key(client: httpx.AsyncClient) -> None:
    answer = await client.options("/v1/cutout", headers=preflight(SHOP))

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers


async def test_another_page_may_not(client: httpx.AsyncClient) -> None:
    asked = await client.options("/v1/cutout", headers=preflight(STRANGER))
    sent = await client.post("/v1/cutout", headers={"Origin": STRANGER})

    assert asked.status_code == 400
    assert "access-control-allow-origin" not in {*asked.headers, *sent.headers}


async def test_a_page_can_read_what_went_wrong(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/cutout", headers={"Origin": SHOP})

    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


async def test_no_page_may_by_default() -> None:
    transport = ASGITransport(create_app(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        asked = await client.options("/v1/cutout", headers=preflight(SHOP))
        sent = await client.post("/v1/cutout", headers={"Origin": SHOP})

    assert asked.status_code == 405
    assert not [name for name in (*asked.headers, *sent.headers) if name.startswith("access-control")]


@pytest.mark.parametrize("origins", ["*", "shop.example", "https://*", "https://shop.example/", "null", ""])
async def test_what_is_no_origin_stops_the_start(origins: str) -> None:
    with pytest.raises(ValidationError):
        Settings(web={"cors_origins": origins})


@pytest.mark.parametrize("path", ["/livez", "/v1/mask", "/nothing", "/openapi.json"])
async def test_a_browser_may_do_nothing_with_an_answer(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
