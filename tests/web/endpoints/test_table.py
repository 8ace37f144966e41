"""The table of endpoints agrees with the router, and gives each path its label, dialect and flags."""

import pytest
from fastapi import APIRouter

from app.main import ROUTERS
from app.web.endpoints.dialects import RENDERERS
from app.web.endpoints.table import (
    ENDPOINTS,
    OTHER,
    Dialect,
    Endpoint,
    check_routes,
    dialect_of,
    find,
    is_probe_at,
    label_of,
)

SERVED = [route for router in ROUTERS for route in router.routes]


def test_the_router_and_the_table_have_the_same_endpoints() -> None:
    check_routes(SERVED)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/secret", "/v1/mask"])
def test_a_route_that_is_not_in_the_table_stops_the_start(path: str, method: str) -> None:
    router = APIRouter()

    @router.api_route(path, methods=[method])
    async def route() -> None: ...

    with pytest.raises(LookupError, match=path):
        check_routes([*SERVED, *router.routes])


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_an_endpoint_that_is_not_served_stops_the_start(endpoint: Endpoint) -> None:
    rest = [route for route in SERVED if getattr(route, "path", None) != endpoint.path]

    with pytest.raises(LookupError):
        check_routes(rest)


def test_every_other_dialect_renders_its_errors() -> None:
    assert set(RENDERERS) == set(Dialect) - {Dialect.PROBLEM}


@pytest.mark.parametrize(
    ("path", "label", "dialect", "is_probe", "is_open"),
    [
        ("/v1/mask", "/v1/mask", Dialect.PROBLEM, False, False),
        ("/v1/mask/", OTHER, Dialect.PROBLEM, False, False),
        ("/livez", "/livez", Dialect.PROBLEM, True, True),
        ("/v2/health/ready", "/v2/health/ready", Dialect.OPEN_INFERENCE, True, True),
        ("/v2/models/any-name/infer", "/v2/models/{}/infer", Dialect.OPEN_INFERENCE, False, False),
        ("/v2/models/a/versions/1/infer", "/v2/models/{}/infer", Dialect.OPEN_INFERENCE, False, False),
        ("/v2/models/a/b/infer", OTHER, Dialect.OPEN_INFERENCE, False, False),
        ("/v2/models/u2net", OTHER, Dialect.OPEN_INFERENCE, False, False),
        ("/v1.0/removebg", "/v1.0/removebg", Dialect.REMOVEBG, False, False),
        ("/v1.0/nothing", OTHER, Dialect.REMOVEBG, False, False),
        ("/v1.0/alpha-channel", "/v1.0/alpha-channel", Dialect.WITHOUTBG, False, False),
        ("/api/remove", "/api/remove", Dialect.REMBG, False, False),
        ("/docs/swagger-ui.css", OTHER, Dialect.PROBLEM, False, True),
        ("/problems/overloaded", OTHER, Dialect.PROBLEM, False, True),
        ("/", "/", Dialect.PROBLEM, False, True),
        ("/page/main.js", OTHER, Dialect.PROBLEM, False, True),
        ("", OTHER, Dialect.PROBLEM, False, False),
        ("/metrics", OTHER, Dialect.PROBLEM, False, False),
    ],
)
def test_properties_of_a_path(
    path: str, label: str, dialect: Dialect, *, is_probe: bool, is_open: bool
) -> None:
    found = find(path)

    assert label_of(path) == label
    assert dialect_of(path) is dialect
    assert is_probe_at(path) == is_probe
    assert (found is not None and found.is_open) == is_open


def test_labels_are_few() -> None:
    assert len({label_of(endpoint.path) for endpoint in ENDPOINTS}) <= 24
