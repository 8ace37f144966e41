"""Open inference: serves version 2 of the Open Inference Protocol, for clients of KServe and Triton.

The input is that of the served graph (``network_input``, uint8 (N, S, S, 3) RGB), the output its raw
``saliency``, float32 (N, S, S). The pictures of a request join those of other requests in the same batches,
under the same budgets and deadlines. Tensors are JSON numbers, or raw bytes after the JSON (Triton's binary
extension). Sampling, stretching and matting are left to the caller.
"""

import json
from dataclasses import dataclass
from functools import partial

import numpy as np
from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from numpy.typing import NDArray
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app import __version__
from app.arrays import NetworkInput
from app.engine.models.manifest import Manifest
from app.errors import InvalidOption, MalformedRequest
from app.web.disconnect import cancel_on_disconnect
from app.web.endpoints import table
from app.web.endpoints.health import livez, readyz
from app.web.handler import Query, admit, receive
from app.web.request.json_body import NumberText, read_json
from app.web.request.tensor_text import read_numbers
from app.web.request.texts import whole_number
from app.web.service import service_of
from app.web.sliced_response import Numbers, SlicedResponse, json_response

INPUT, OUTPUT = "network_input", "saliency"
HEAD = "Inference-Header-Content-Length"
PLATFORM = "onnxruntime_onnx"
VERSION = "1"
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A parsed inference request: its id, the pictures (N, S, S, 3), and whether to return raw bytes."""

    id: str | None
    pictures: NDArray[np.uint8]
    in_binary: bool


@table.INFERENCE_SERVER.on(router)
async def server() -> JSONResponse:
    """Return the name of the server and the protocol extensions that it supports."""
    return JSONResponse({"name": "cutout", "version": __version__, "extensions": ["binary_tensor_data"]})


@table.INFERENCE_LIVE.on(router)
async def live(request: Request) -> JSONResponse:
    """Report that the process is alive."""
    await livez(request)
    return JSONResponse({"live": True})


@table.INFERENCE_READY.on(router)
async def ready(request: Request) -> JSONResponse:
    """Report that the server accepts requests."""
    await readyz(request)
    return JSONResponse({"ready": True})


@table.INFERENCE_MODEL.on(router)
@table.INFERENCE_VERSION.on(router)
async def model(request: Request, name: str) -> JSONResponse:
    """Return the input and output tensors of a model in memory."""
    manifest = _manifest(request, name)
    side = manifest.input_size_px
    return JSONResponse(
        {
            "name": name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]}],
            "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, side, side]}],
        }
    )


@table.INFERENCE_MODEL_READY.on(router)
@table.INFERENCE_VERSION_READY.on(router)
async def model_ready(request: Request, name: str) -> JSONResponse:
    """Report that a model is in memory."""
    await readyz(request)
    _manifest(request, name)
    return JSONResponse({"name": name, "ready": True})


@table.INFER.on(router)
@table.INFER_VERSION.on(router)
async def infer(request: Request, name: str) -> Response:
    """Run the network on the tensor of a request."""
    service = service_of(request)
    parser = partial(parse_request, request.headers.get(HEAD))
    async with admit(request) as context:
        parsed = await receive(request, context, parser, may_be_picture=False)
        pipeline = service.ready_pipeline()
        context.model = pipeline.models.choose(name)
        async with cancel_on_disconnect(request):
            saliency = await pipeline.tensors.run(parsed.pictures, context)
        context.on_written = service.admission.hold_response(2 * saliency.nbytes)
    return await run_in_threadpool(response, context.model, parsed, saliency)


def parse_request(head: str | None, content_type: str, body: bytes, query: Query) -> InferRequest:  # noqa: ARG001 - as all
    """Parse an inference request.

    Args:
        head: The header with the length of the JSON; if None, the whole body is JSON.
        content_type: Not used.
        body: JSON, followed by the bytes of a binary tensor.
        query: Not used.

    Raises:
        MalformedRequest: The body is not an inference request.
        InvalidOption: The tensor is not the input of a network.
    """
    length = len(body) if head is None else whole_number(head, maximum=len(body))
    if length is None:
        raise MalformedRequest(f"{HEAD} is not a length within the body.")
    document = read_json(body, end=length, numbers="data")
    inputs, outputs = document.get("inputs"), document.get("outputs", [])
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise MalformedRequest(f'"inputs" is a list of one tensor, "{INPUT}".')
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise MalformedRequest('"outputs" is a list of tensors.')
    if any(each.get("name") != OUTPUT for each in outputs):
        raise InvalidOption("outputs", OUTPUT)
    return InferRequest(
        id=_id_of(document),
        pictures=_tensor(inputs[0], memoryview(body)[length:]),
        in_binary=_wants_binary(document, outputs),
    )


def response(model_name: str, request: InferRequest, saliency: NDArray[np.float32]) -> Response:
    """Return the inference response."""
    tensor: dict[str, object] = {"name": OUTPUT, "datatype": "FP32", "shape": list(saliency.shape)}
    document: dict[str, object] = {"model_name": model_name, "model_version": VERSION, "outputs": [tensor]}
    if request.id is not None:
        document["id"] = request.id
    if not request.in_binary:
        tensor["data"] = Numbers(saliency)
        return json_response(document)
    raw = saliency.astype("<f4", copy=False).tobytes()
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps(document, separators=(",", ":")).encode()
    headers = {HEAD: str(len(head))}
    return SlicedResponse(head, raw, media_type="application/octet-stream", headers=headers)


def render_error(error: Exception, problem: JSONResponse, sent: Headers) -> Response:  # noqa: ARG001 - as all
    """Return the protocol's error response: ``{"error": …}``."""
    text = "Internal server error." if problem.status_code == 500 else str(error)
    kept = ("retry-after", "connection", "www-authenticate")
    headers = {name: problem.headers[name] for name in kept if name in problem.headers}
    status = problem.status_code
    if isinstance(error, InvalidOption):
        status = 404 if error.name == "model" else 400
    return JSONResponse({"error": text}, status, headers=headers)


def _manifest(request: Request, name: str) -> Manifest:
    models = service_of(request).ready_pipeline().models
    found = {session.manifest.name: session.manifest for session in models.in_memory()}
    if name not in found:
        raise InvalidOption("model", ", ".join(sorted(found)))
    return found[name]


def _tensor(described: dict[str, object], raw: memoryview) -> NetworkInput:
    shape, parameters = described.get("shape"), described.get("parameters", {})
    if described.get("name") != INPUT or described.get("datatype") != "UINT8":
        raise InvalidOption("inputs", f"{INPUT}, UINT8")
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(side) is int for side in shape):
        raise InvalidOption("shape", "[N, S, S, 3]")
    count, height, width, channels = shape
    if not (0 < count <= 1024 and 0 < height == width <= 8192 and channels == 3):
        raise InvalidOption("shape", "[N, S, S, 3]")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        if parameters["binary_data_size"] != len(raw):
            raise MalformedRequest("binary_data_size is not how many bytes there are.")
        if len(raw) != count * height * width * channels:
            raise MalformedRequest("The data are not as many as the shape says.")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    text = described.get("data")
    if not isinstance(text, NumberText):
        raise MalformedRequest('"data" is not a tensor.')
    return read_numbers(text.raw, (count, height, width, channels))


def _id_of(document: dict[str, object]) -> str | None:
    """Return the caller's id of the request, which is a text or a number."""
    name = document.get("id")
    if name is not None and not isinstance(name, str | int | float):
        raise MalformedRequest('"id" is not a text.')
    return None if name is None else str(name)[:256]


def _wants_binary(document: dict[str, object], outputs: list[dict[str, object]]) -> bool:
    whole = document.get("parameters")
    of_all = whole.get("binary_data_output", False) if isinstance(whole, dict) else False
    of_one = outputs[0].get("parameters") if outputs else None
    is_binary = of_one.get("binary_data", of_all) if isinstance(of_one, dict) else of_all
    return is_binary is True
