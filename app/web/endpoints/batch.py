"""Batch: serves ``/v1/batch``."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.web.batch.response import BatchResponse
from app.web.endpoints import table
from app.web.endpoints.openapi_batch import describe_batch

router = APIRouter()


@table.BATCH.on(router, response_class=Response, openapi_extra=describe_batch())
async def batch(request: Request) -> Response:
    """Process many pictures, and return each result as soon as it is ready.

    The response begins while the request is still being sent. A picture that fails does not affect the
    others: it has its own problem in `report.json`, the last entry of the ZIP, or in its line.
    """
    return BatchResponse(request)
