"""Table: lists all endpoints, with the properties that the layers around the router need.

``Endpoint.on`` adds an entry to the router; metrics count requests by its ``label``; load shedding and
deadlines use ``picture_methods``, drain and the access log ``is_probe``, authentication ``is_open``, and
error responses ``dialect``. ``create_app`` refuses a route that is not in the table.
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
    """The API that an endpoint implements, which defines the format of its errors."""

    PROBLEM = "problem+json"
    REMOVEBG = "remove.bg"
    REMBG = "rembg"
    WITHOUTBG = "withoutbg"
    OPEN_INFERENCE = "open-inference"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the table.

    Attributes:
        path: The path in the router, which may have ``{parameters}``.
        methods: The methods, without HEAD, which is served wherever GET is.
        picture_methods: The methods that send a picture, so that they have a deadline and may be shed.
        is_probe: Whether it is served in every phase of the drain; its successes are not logged.
        is_open: Whether it is served without a key.
        dialect: The format of its errors.
        label: Its name in metrics, if that is not its path.
    """

    path: str
    methods: tuple[str, ...] = ("GET",)
    picture_methods: tuple[str, ...] = ()
    is_probe: bool = False
    is_open: bool = False
    dialect: Dialect = Dialect.PROBLEM
    label: str = ""

    def on(self, router: APIRouter, **described: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that serves this endpoint with a function, like ``APIRouter.api_route``."""
        return router.api_route(self.path, methods=list(self.methods), **described)


def _for_pictures(path: str, dialect: Dialect, *more_methods: str, label: str = "") -> Endpoint:
    methods = ("POST", *more_methods)
    return Endpoint(path, methods, picture_methods=methods, dialect=dialect, label=label)


MASK = _for_pictures("/v1/mask", Dialect.PROBLEM)
CUTOUT = _for_pictures("/v1/cutout", Dialect.PROBLEM)
BATCH = Endpoint("/v1/batch", ("POST",))
MODELS = Endpoint("/v1/models")

REMOVEBG = _for_pictures("/v1.0/removebg", Dialect.REMOVEBG)
REMOVEBG_ACCOUNT = Endpoint("/v1.0/account", dialect=Dialect.REMOVEBG)
REMOVEBG_IMPROVE = _for_pictures("/v1.0/improve", Dialect.REMOVEBG)
WITHOUTBG = _for_pictures("/v1.0/alpha-channel", Dialect.WITHOUTBG)
WITHOUTBG_BASE64 = _for_pictures("/v1.0/alpha-channel-base64", Dialect.WITHOUTBG)
REMBG = _for_pictures("/api/remove", Dialect.REMBG, "GET")

INFERENCE_SERVER = Endpoint("/v2", dialect=Dialect.OPEN_INFERENCE)
INFERENCE_LIVE = Endpoint("/v2/health/live", is_probe=True, is_open=True, dialect=Dialect.OPEN_INFERENCE)
INFERENCE_READY = Endpoint("/v2/health/ready", is_probe=True, is_open=True, dialect=Dialect.OPEN_INFERENCE)
INFERENCE_MODEL, INFERENCE_VERSION, INFERENCE_MODEL_READY, INFERENCE_VERSION_READY = (
    Endpoint(f"/v2/models/{{name}}{rest}", dialect=Dialect.OPEN_INFERENCE, label=OTHER)
    for rest in ("", "/versions/1", "/ready", "/versions/1/ready")
)
INFER = _for_pictures("/v2/models/{name}/infer", Dialect.OPEN_INFERENCE, label=INFER_LABEL)
INFER_VERSION = _for_pictures("/v2/models/{name}/versions/1/infer", Dialect.OPEN_INFERENCE, label=INFER_LABEL)

LIVE = Endpoint("/livez", is_probe=True, is_open=True)
READY = Endpoint("/readyz", is_probe=True, is_open=True)
STARTED = Endpoint("/startupz", is_probe=True, is_open=True)

PLAYGROUND = Endpoint("/", is_open=True)
PLAYGROUND_FILE = Endpoint("/page/{name:path}", is_open=True, label=OTHER)

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
    """Return the endpoint of a path, ``None`` if there is none."""
    found = _BY_PATH.get(path)
    if found is not None:
        return found
    return next((endpoint for pattern, endpoint in _BY_PATTERN if pattern.match(path)), None)


def label_of(path: str) -> str:
    """Return the label of a path in metrics. The number of labels is small, whatever paths clients send."""
    endpoint = find(path)
    return OTHER if endpoint is None else endpoint.label or endpoint.path


def is_probe_at(path: str) -> bool:
    """Return whether a path is that of a probe."""
    endpoint = find(path)
    return endpoint is not None and endpoint.is_probe


def dialect_of(path: str) -> Dialect:
    """Return the dialect of a path; without an endpoint, that of its first folder."""
    endpoint = find(path)
    if endpoint is not None:
        return endpoint.dialect
    return _DIALECT_BY_FOLDER.get(path.partition("/")[2].partition("/")[0], Dialect.PROBLEM)


def check_routes(routes: Iterable[BaseRoute]) -> None:
    """Compare routes with the table.

    Raises:
        LookupError: A route or a method is in only one of them.
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
