"""Endpoints: the one table of what is served, and what each entry means to every layer around the router.

The router serves an entry by ``Endpoint.on``; metrics count requests by its ``label``; load shedding and
deadlines go by ``picture_methods``, drain and the request log by ``is_probe``, authentication by ``is_open``,
and error responses by its ``dialect``. ``create_app`` refuses a route that is not in the table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fastapi import APIRouter
from starlette.routing import BaseRoute, Route, compile_path

OTHER = "other"
INFER_LABEL = "/v2/models/{}/infer"


class Dialect(Enum):
    """The API whose words an endpoint speaks, in its errors as well."""

    PROBLEM = "problem+json"
    REMOVEBG = "remove.bg"
    REMBG = "rembg"
    WITHOUTBG = "withoutbg"
    OPEN_INFERENCE = "open-inference"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the table.

    Attributes:
        path: As the router has it, perhaps with ``{parameters}``.
        methods: Besides HEAD, which is answered wherever GET is.
        picture_methods: Those that bring a picture, and so have a deadline and are refused under load.
        is_probe: Answered in every phase of the drain, without a key; successes are not logged.
        is_open: Answered without a key.
        dialect: How errors are told.
        label: Its name in metrics, where that is not its path.
    """

    path: str
    methods: tuple[str, ...] = ("GET",)
    picture_methods: tuple[str, ...] = ()
    is_probe: bool = False
    is_open: bool = False
    dialect: Dialect = Dialect.PROBLEM
    label: str = ""

    def on(self, router: APIRouter, **described: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return the decorator that serves this endpoint by a function, as ``APIRouter.api_route`` does."""
        return router.api_route(self.path, methods=list(self.methods), **described)


def _brings_picture(path: str, dialect: Dialect, *more_methods: str, label: str = "") -> Endpoint:
    methods = ("POST", *more_methods)
    return Endpoint(path, methods, picture_methods=methods, dialect=dialect, label=label)


MASK = _brings_picture("/v1/mask", Dialect.PROBLEM)
CUTOUT = _brings_picture("/v1/cutout", Dialect.PROBLEM)
MODELS = Endpoint("/v1/models")

REMOVEBG = _brings_picture("/v1.0/removebg", Dialect.REMOVEBG)
REMOVEBG_ACCOUNT = Endpoint("/v1.0/account", dialect=Dialect.REMOVEBG)
REMOVEBG_IMPROVE = _brings_picture("/v1.0/improve", Dialect.REMOVEBG)
WITHOUTBG = _brings_picture("/v1.0/alpha-channel", Dialect.WITHOUTBG)
WITHOUTBG_BASE64 = _brings_picture("/v1.0/alpha-channel-base64", Dialect.WITHOUTBG)
REMBG = _brings_picture("/api/remove", Dialect.REMBG, "GET")

INFERENCE_SERVER = Endpoint("/v2", dialect=Dialect.OPEN_INFERENCE)
INFERENCE_LIVE = Endpoint("/v2/health/live", is_probe=True, is_open=True, dialect=Dialect.OPEN_INFERENCE)
INFERENCE_READY = Endpoint("/v2/health/ready", is_probe=True, is_open=True, dialect=Dialect.OPEN_INFERENCE)
INFERENCE_MODEL, INFERENCE_VERSION, INFERENCE_MODEL_READY, INFERENCE_VERSION_READY = (
    Endpoint(f"/v2/models/{{name}}{rest}", dialect=Dialect.OPEN_INFERENCE, label=OTHER)
    for rest in ("", "/versions/1", "/ready", "/versions/1/ready")
)
INFER = _brings_picture("/v2/models/{name}/infer", Dialect.OPEN_INFERENCE, label=INFER_LABEL)
INFER_VERSION = _brings_picture(
    "/v2/models/{name}/versions/1/infer", Dialect.OPEN_INFERENCE, label=INFER_LABEL
)

LIVE = Endpoint("/livez", is_probe=True, is_open=True)
READY = Endpoint("/readyz", is_probe=True, is_open=True)
STARTED = Endpoint("/startupz", is_probe=True, is_open=True)

CONTRACT = Endpoint("/openapi.json", is_open=True)
DOCS = Endpoint("/docs", is_open=True)
DOCS_START = Endpoint("/docs/start.js", is_open=True, label=OTHER)
DOCS_ASSET = Endpoint("/docs/{name:path}", is_open=True, label=OTHER)
PROBLEM_PAGE = Endpoint("/problems/{slug:path}", is_open=True, label=OTHER)

ENDPOINTS: tuple[Endpoint, ...] = tuple(each for each in globals().values() if isinstance(each, Endpoint))
"""Every endpoint above."""

_BY_PATH = {each.path: each for each in ENDPOINTS if "{" not in each.path}
_BY_PATTERN = tuple((compile_path(each.path)[0], each) for each in ENDPOINTS if "{" in each.path)
_DIALECT_BY_FOLDER = {each.path.split("/")[1]: each.dialect for each in reversed(ENDPOINTS)}


def find(path: str) -> Endpoint | None:
    """Return the endpoint of a path, ``None`` if nothing is served there."""
    found = _BY_PATH.get(path)
    if found is not None:
        return found
    return next((endpoint for pattern, endpoint in _BY_PATTERN if pattern.match(path)), None)


def label_of(path: str) -> str:
    """Return the name under which requests to a path are counted: there are few, whatever is asked for."""
    endpoint = find(path)
    return OTHER if endpoint is None else endpoint.label or endpoint.path


def is_probe_at(path: str) -> bool:
    """Tell whether a path is that of a probe."""
    endpoint = find(path)
    return endpoint is not None and endpoint.is_probe


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a path; where nothing is served, that of its first folder."""
    endpoint = find(path)
    if endpoint is not None:
        return endpoint.dialect
    return _DIALECT_BY_FOLDER.get(path.partition("/")[2].partition("/")[0], Dialect.PROBLEM)


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Compare what a router serves with the table.

    Raises:
        LookupError: A route is in one of them only, or with other methods.
    """
    listed = {(each.path, method) for each in ENDPOINTS for method in each.methods}
    served = {
        (route.path, method)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    if served != listed:
        raise LookupError(f"Not both served and in app/web/endpoints/table.py: {sorted(served ^ listed)}")
