"""Response dialects: the requests that ``benchmarks.responses`` sends in the words of other servers."""

import base64
import json
from collections.abc import Mapping

import numpy as np

from benchmarks.response_requests import (
    EMPTY,
    JSON,
    OTHER,
    SMALL,
    TINY,
    WITH_ALPHA,
    Request,
    get,
    post,
    post_form,
    post_json,
    post_urlencoded,
    text_of,
)

REMOVEBG_FIELDS: tuple[Mapping[str, str], ...] = (
    *({}, {"size": "full"}, {"size": "50MP"}, {"size": "giant"}, {"type": "car"}, {"type": "cloud"}),
    *({"type_level": "none"}, {"type_level": "2", "type": "person"}, {"type_level": "9"}, {"format": "png"}),
    *({"format": "jpg"}, {"format": "jpg", "bg_color": "teal"}, {"format": "webp"}, {"format": "zip"}),
    *({"format": "zip", "bg_color": "red"}, {"format": "bmp"}, {"roi": "0% 0% 90% 90%"}, {"roi": "9"}),
    *({"roi": "0px 0px 9000px 5px"}, {"roi": "50% 50% 50% 50%"}, {"crop": "true", "crop_margin": "10px"}),
    *({"crop": "maybe"}, {"crop_margin": "600px"}, {"scale": "50%"}, {"scale": "5%"}, {"position": "center"}),
    *({"position": "up"}, {"channels": "alpha"}, {"channels": "alpha", "format": "zip"}, {"channels": "x"}),
    *({"add_shadow": "true"}, {"add_shadow": "x"}, {"shadow_type": "drop", "shadow_opacity": "80"}),
    *({"shadow_type": "long"}, {"shadow_opacity": "150"}, {"semitransparency": "false"}, {"bg_color": "zzz"}),
    *({"semitransparency": "x"}, {"bg_color": "81d4fa"}, {"bg_color": "#ff880080"}, {"undocumented": "1"}),
    *({"bg_color": "red", "bg_image_url": "http://example.com/"}, {"image_url": "http://example.com/a.jpg"}),
)
REMBG_QUERIES = (
    *("", "a=true", "a=true&af=240&ab=10&ae=10", "af=300", "ae=-1", "om=true", "om=true&ppm=true", "ppm=1"),
    *(
        "dc=true",
        "vm=true",
        "bgc=255,0,0,255",
        "bgc=255,0,0,128",
        "bgc=1,2,3",
        "bgc=a,b,c,d",
        "bgc=256,0,0,0",
    ),
    *("model=bria-rmbg", "model=u2net", "model=second", "model=unknown", "model=broken", "a=perhaps", "x=1"),
    *(
        "extras=%7B%7D",
        "om=true&bgc=0,0,0,255",
        "url=http://example.com/a.jpg",
        "a=true&bgc=0,0,0,0&ppm=true",
    ),
)


def dialect_requests(model: str, side_px: int) -> list[Request]:
    """Return requests to the endpoints of every dialect; ``side_px`` is the side of the network's input."""
    return [*_removebg(), *_rembg(), *_withoutbg(), *_inference(model, side_px)]


def _removebg() -> list[Request]:
    path = "/v1.0/removebg"
    accepts_json = ("Accept", JSON)
    text = text_of(TINY)
    return [
        *(post_form(path, {"image_file": OTHER, **fields}) for fields in REMOVEBG_FIELDS),
        *(post_form(path, {"image_file": OTHER, "crop": "1"}, accepts_json) for _ in range(2)),
        post_form(path, {"image_file": SMALL, "bg_image_file": OTHER}),
        post_form(path, {"image_file": SMALL, "bg_image_file": WITH_ALPHA, "format": "zip"}),
        post_form(path, {"image_file": SMALL, "bg_image_file": b"no picture"}),
        post_form(path, {"image_file": SMALL, "bg_image_file": OTHER, "bg_color": "red"}),
        post_form(path, {"image_file": SMALL, "image_file_b64": text}),
        *(
            post_form(path, {"image_file": body})
            for body in (b"", b"no picture", EMPTY, SMALL[:3000], WITH_ALPHA)
        ),
        *(post_form(path, fields) for fields in ({}, {"image_file_b64": ""}, {"image_file_b64": "%%"})),
        post_urlencoded(path, {"image_file_b64": text, "size": "auto"}),
        *(post_json(path, {"image_file_b64": given, "size": "auto"}) for given in (text, None, 1, "%")),
        post_json(path, {"image_file_b64": text, "crop": True, "shadow_opacity": 20}),
        post_json(f"{path}?format=webp", {"image_file_b64": text}),
        post(path, OTHER),
        post(path, b"{", kind=JSON),
        get("/v1.0/account"),
        post_form("/v1.0/improve", {"image_file": OTHER}),
        post_json("/v1.0/improve", {"image_file_b64": text, "tag": "a"}),
        *(post_form("/v1.0/improve", fields) for fields in ({}, {"image_file": b""})),
        post("/v1.0/improve", b"{", kind=JSON),
    ]


def _rembg() -> list[Request]:
    path = "/api/remove"
    return [
        *(post_form(f"{path}?{query}", {"file": OTHER}) for query in REMBG_QUERIES),
        *(get(f"{path}?{query}") for query in ("", "url=", "url=http://example.com/a.jpg", "url=x&a=true")),
        post_form(path, {"file": OTHER, "a": "true", "bgc": "1,2,3,4", "model": "second"}),
        *(post_form(path, {"file": body}) for body in (b"", b"no picture", SMALL[:3000], EMPTY, WITH_ALPHA)),
        *(post_form(path, fields) for fields in ({}, {"file": ""}, {"url": "http://example.com/"})),
        post(path, OTHER),
        post_json(path, {"file": text_of(TINY)}),
    ]


def _withoutbg() -> list[Request]:
    text = text_of(TINY)
    return [
        request
        for path in ("/v1.0/alpha-channel", "/v1.0/alpha-channel-base64")
        for request in (
            *(
                post_form(path, {"file": body})
                for body in (OTHER, b"", b"no picture", WITH_ALPHA, SMALL[:3000])
            ),
            *(post_json(path, {"image_base64": given}) for given in (text, "", "%", None, 4)),
            post_json(path, {"image_base64": text, "file": text}),
            post_form(path, {"image_base64": text}),
            post_form(path, {}),
            post(path, OTHER),
            post(path, b"{", kind=JSON),
        )
    ]


def _inference(model: str, side_px: int) -> list[Request]:
    path = f"/v2/models/{model}/infer"
    rng = np.random.default_rng(0)
    shape = [1, side_px, side_px, 3]
    pixels = rng.integers(0, 256, (side_px, side_px, 3), np.uint8)
    tensor = {"name": "network_input", "datatype": "UINT8", "shape": shape}
    binary = {**tensor, "parameters": {"binary_data_size": pixels.nbytes}}
    two = {**binary, "shape": [2, *shape[1:]], "parameters": {"binary_data_size": 2 * pixels.nbytes}}
    in_binary = {"name": "saliency", "parameters": {"binary_data": True}}
    small = {**tensor, "shape": [1, 2, 2, 3], "data": list(range(12))}
    faults: tuple[dict[str, object], ...] = (
        *({}, {"inputs": []}, {"inputs": [tensor]}, {"inputs": [tensor, tensor]}, {"inputs": [small]}),
        *({"inputs": [{**small, "data": [300] * 12}]}, {"inputs": [{**small, "data": [1, 2]}]}),
        *({"inputs": [{**small, "name": "x"}]}, {"inputs": [{**small, "datatype": "FP32"}]}, {"inputs": 1}),
        *({"inputs": [{**small, "shape": shape_}]} for shape_ in ([1], [0, 2, 2, 3], [1, 2, 2, 4], "x")),
        *({"inputs": [small], "outputs": [{"name": "x"}]}, {"inputs": [small], "outputs": 1}),
        *({"inputs": [small], "id": []}, {"inputs": [{**small, "data": [[0.5]]}]}),
    )
    return [
        *(get(f"/v2{rest}") for rest in ("", "/health/live", "/health/ready")),
        *(
            get(f"/v2/models/{name}{rest}")
            for name in (model, "second", "broken", "unknown")
            for rest in ("", "/ready", "/versions/1", "/versions/1/ready", "/versions/2")
        ),
        post_json(path, {"id": "a", "inputs": [{**tensor, "data": pixels.ravel().tolist()}]}),
        post_json(path, {"id": 7, "inputs": [{**tensor, "data": [pixels.tolist()]}], "outputs": [in_binary]}),
        _binary(path, {"inputs": [binary]}, pixels.tobytes()),
        _binary(f"/v2/models/{model}/versions/1/infer", {"inputs": [binary]}, pixels.tobytes()),
        _binary("/v2/models/second/infer", {"inputs": [binary]}, pixels.tobytes()),
        _binary(path, {"inputs": [two], "parameters": {"binary_data_output": True}}, 2 * pixels.tobytes()),
        _binary(path, {"inputs": [binary], "outputs": [in_binary], "id": "x"}, pixels.tobytes()),
        _binary(path, {"inputs": [binary]}, b"abc"),
        *(post_json(path, document) for document in faults),
        *(post_json(f"/v2/models/{name}/infer", {"inputs": [small]}) for name in ("unknown", "broken")),
        *(
            post(path, b"{}", ("Inference-Header-Content-Length", text), kind=JSON)
            for text in ("x", "9", "1")
        ),
        *(post(path, body, kind=JSON) for body in (b"", b"{", base64.b64encode(TINY))),
    ]


def _binary(path: str, document: object, raw: bytes) -> Request:
    """Build an inference request whose tensor follows the JSON as raw bytes."""
    head = json.dumps(document).encode()
    length = ("Inference-Header-Content-Length", str(len(head)))
    return post(path, head + raw, length, kind="application/octet-stream")
