"""Every received request has one outcome: no request is counted twice, and no permit leaks."""

import socket
import time

from prometheus_client.samples import Sample

from tests.pictures import jpeg, photo
from tests.web.conftest import Live

UPLOAD = jpeg(photo(60, 80))
PICTURE_PATHS = ("/v1/mask", "/v1/cutout")


def counted(live: Live, name: str) -> dict[str, float]:
    samples: list[Sample] = [
        s for family in live.service.telemetry.registry.collect() for s in family.samples
    ]
    sums: dict[str, float] = {}
    for sample in samples:
        if sample.name == name and sample.labels.get("endpoint") in PICTURE_PATHS:
            endpoint = sample.labels["endpoint"]
            sums[endpoint] = sums.get(endpoint, 0.0) + sample.value
    return sums


def test_received_and_completed_requests_match(live: Live) -> None:
    before = counted(live, "cutout_requests_received_total")
    for path in PICTURE_PATHS:
        live.client.post(path, content=UPLOAD)
        live.client.post(path, content=b"not a picture")
        live.client.post(path + "?model=unknown", content=UPLOAD)
        live.client.post(path + "?quality=0", content=UPLOAD)
        live.client.post(path, content=UPLOAD, headers={"X-Request-Timeout-Ms": "1"})
        live.client.post(path, content=bytes(4_000_001))
        live.client.get(path)
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf".encode())
    expected = {path: before.get(path, 0.0) + 8 for path in PICTURE_PATHS}
    give_up_at_s = time.monotonic() + 120
    while counted(live, "cutout_requests_total") != expected and time.monotonic() < give_up_at_s:
        time.sleep(0.02)

    assert counted(live, "cutout_requests_received_total") == expected
    assert counted(live, "cutout_requests_total") == expected
    assert counted(live, "cutout_request_duration_seconds_count") == expected
    admission = live.service.admission
    assert (admission.requests, admission.upload_bytes, admission.pixels) == (0, 0, 0)
