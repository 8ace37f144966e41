"""Authentication: checks the API key before the body is read, then charges the request to the key's quota."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.engine.capacity.quota import QuotaRegistry
from app.errors import Unauthorized
from app.web.api_keys import ApiKeys
from app.web.context import context_of
from app.web.endpoints.table import find


class ApiKeyAuth:
    """Pure ASGI, inside ``ProblemWall``: requires an API key, except for open endpoints."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, quotas: QuotaRegistry) -> None:
        self._app = app
        self._keys = keys
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._keys.is_enforced and not _is_open(scope["path"]):
            key = self._keys.find(sent_key(Headers(scope=scope)))
            if key is None:
                raise Unauthorized
            context = context_of(scope)
            context.key_name = key.name
            context.quota = self._quotas.of(key.name, key.rates)
            context.quota.spend_request()
        await self._app(scope, receive, send)


def _is_open(path: str) -> bool:
    endpoint = find(path)
    return endpoint is not None and endpoint.is_open


def sent_key(headers: Headers) -> bytes:
    """Return the key in ``X-Api-Key`` or ``Authorization: Bearer``; empty without either."""
    key = headers.get("x-api-key")
    if key is None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
    return key.encode("latin-1")
