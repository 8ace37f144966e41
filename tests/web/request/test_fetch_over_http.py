"""Pictures by URL over HTTP, on a running service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.clock import SystemClock
from app.settings import Settings
from app.web.request.fetch import PictureFetcher, Rules
from tests.web.conftest import Live, serving
from tests.web.hosts import Host, hosting, reply_of
from tests.web.request.fetching import (
    CONNECT_S,
    INTERNAL,
    PHOTO,
    PUBLIC,
    TableResolver,
    is_public_or_stand_in,
)


@pytest.fixture(scope="module")
def fetching(models_dir: Path) -> Iterator[tuple[Live, Host]]:
    """The service with fetching enabled, and a host whose address counts as public."""
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        remote={"enabled": True, "connect_timeout_s": CONNECT_S},
        limits={"upload_bytes": 1_000_000},
    )
    host = Host(PUBLIC, replies={"/a.jpg": reply_of(PHOTO)})
    with hosting(host), serving(settings) as live:
        rules = Rules(CONNECT_S, is_allowed=is_public_or_stand_in, ports=(("http", host.port),))
        live.service.fetcher = PictureFetcher(
            SystemClock(), rules=rules, resolve=TableResolver(shop=[[PUBLIC]])
        )
        yield live, host


@pytest.mark.parametrize(
    "request_of",
    [
        lambda url: {"json": {"image_url": url}},
        lambda url: {"files": {"image_url": (None, url)}},
        lambda url: {"params": {"image_url": url}},
    ],
    ids=["json", "multipart", "query"],
)
def test_a_fetched_picture_gives_the_same_response_as_an_uploaded_one(
    fetching: tuple[Live, Host], request_of: Callable[[str], dict[str, Any]]
) -> None:
    live, _ = fetching
    sent = live.client.post("/v1/mask", content=PHOTO)

    named = live.client.post("/v1/mask", **request_of("http://shop/a.jpg"))
    assert (200, sent.content, sent.headers["etag"]) == (
        named.status_code,
        named.content,
        named.headers["etag"],
    )
    assert "fetch;dur=" in named.headers["server-timing"]


@pytest.mark.parametrize(
    ("url", "status", "slug"),
    [
        ("http://127.0.0.3/a.jpg", 422, "url-not-allowed"),
        ("file:///etc/passwd", 422, "url-not-allowed"),
        ("http://shop/nothing", 422, "picture-not-fetched"),
        (["http:"], 400, "malformed-request"),
    ],
)
def test_a_failed_fetch_is_a_problem(
    fetching: tuple[Live, Host], url: object, status: int, slug: str
) -> None:
    response = fetching[0].client.post("/v1/cutout", json={"image_url": url})

    assert (status, f"/problems/{slug}") == (response.status_code, response.json()["type"])
    assert str(url) not in response.text


def test_a_request_has_an_upload_or_a_url_and_not_both(fetching: tuple[Live, Host]) -> None:
    client = fetching[0].client
    responses = (
        client.post("/v1/mask", content=PHOTO, params={"image_url": "http://shop/a.jpg"}),
        client.post("/v1/mask", files={"image": PHOTO, "image_url": (None, "http://shop/a.jpg")}),
        client.post("/v1/mask", json={"image": "AAAA", "image_url": "http://shop/a.jpg"}),
        client.post("/v1/mask", json={}),
    )
    assert [400] * 4 == [response.status_code for response in responses]


def test_the_contract_has_image_url_only_if_fetching_is_enabled(
    fetching: tuple[Live, Host], live: Live
) -> None:
    with_url, without = (one.client.get("/openapi.json").text for one in (fetching[0], live))

    assert ("image_url" in with_url, "image_url" in without) == (True, False)


def test_nothing_is_fetched_while_fetching_is_disabled(live: Live, internal: Host) -> None:
    with hosting(internal):
        response = live.client.post("/v1/mask", json={"image_url": f"http://{INTERNAL}:{internal.port}/"})

    assert (422, "/problems/fetching-disabled", 0) == (
        response.status_code,
        response.json()["type"],
        internal.connections,
    )
