"""Context of a request: where the layers around the router find it, and what its headers contribute."""

import re
import uuid
from typing import cast

from starlette.types import Scope

from app.pipeline.context import RequestContext

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
_STATE_KEY = "context"


def attach(context: RequestContext, scope: Scope) -> None:
    """Put the context of a request into its ASGI scope."""
    scope.setdefault("state", {})[_STATE_KEY] = context


def context_of(scope: Scope) -> RequestContext:
    """Return the context that the outermost middleware attached to a scope."""
    return cast("RequestContext", scope["state"][_STATE_KEY])


def request_id_from(sent: str | None) -> str:
    """Return the caller's request id if it is harmless, else a new one."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return uuid.uuid4().hex


def traceparent_from(sent: str | None) -> str | None:
    """Return the caller's W3C traceparent if it is well-formed."""
    return sent if sent is not None and _TRACEPARENT.fullmatch(sent) else None
