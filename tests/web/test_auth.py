"""API keys and quotas over HTTP, on a running service with a keys file."""

import hashlib
import http.client
import io
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path

import pytest

from app.cli.worker import LINGER_UPLOADS
from app.logs import configure_logs
from app.settings import Settings
from app.web.body_end import MAX_DROPPED_BYTES
from tests.pictures import jpeg, photo
from tests.web.conftest import Live, serving

TABLES = {"free": "", "busy": "requests_per_minute = 3\n", "tiny": "megapixels_per_minute = 0.05\n"}


@pytest.fixture(scope="module")
def keyed(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The service with three keys; the text of each key equals its name."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in TABLES}
    file.write_text(
        "".join(f'[keys.{name}]\nsha256 = "{hashes[name]}"\n{rates}' for name, rates in TABLES.items())
    )
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        access={"keys_file": file},
    )
    with serving(settings) as served:
        yield served


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/openapi.json", "/problems/overloaded"])
def test_probes_and_the_contract_need_no_key(keyed: Live, path: str) -> None:
    assert keyed.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": ""},
        {"X-Api-Key": "fre"},
        {"X-Api-Key": "é".encode("latin-1")},
        {"X-Api-Key": "x" * 10_000},
        {"Authorization": "Basic free"},
        {"Authorization": "Bearer"},
        {"Authorization": "free"},
        {"X-Api-Key": "wrong", "Authorization": "Bearer free"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout", "/v1/models", "/v1", "/nothing", "//v1/mask"])
def test_a_request_without_a_valid_key_is_refused(keyed: Live, path: str, headers: dict[str, str]) -> None:
    response = keyed.client.post(f"http://127.0.0.1:{keyed.port}{path}?api_key=free", headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["type"] == "/problems/unauthorized"


@pytest.mark.parametrize("headers", [{"X-Api-Key": "free"}, {"Authorization": "bearer free"}], ids=str)
def test_a_request_with_a_valid_key_is_served(keyed: Live, headers: dict[str, str]) -> None:
    response = keyed.client.post("/v1/mask", content=jpeg(photo(60, 80)), headers=headers)

    assert response.status_code == 200
    assert "ratelimit" not in response.headers


def test_a_body_is_not_read_without_a_valid_key(keyed: Live) -> None:
    """Not even invited, and what is sent all the same stays in the socket."""
    head = (
        b"POST /v1/cutout HTTP/1.1\r\nHost: here\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=60) as peer:
        peer.sendall(head)
        response = b""
        while chunk := peer.recv(65536):
            response += chunk

    assert response.startswith(b"HTTP/1.1 401 ")


def test_the_request_quota_of_a_key_is_enforced_and_reported(keyed: Live) -> None:
    responses = [keyed.client.get("/v1/models", headers={"X-Api-Key": "busy"}) for _ in range(5)]

    assert [response.status_code for response in responses] == [200, 200, 200, 429, 429]
    assert {response.headers["ratelimit-policy"] for response in responses} == {'"requests";q=3;w=60'}
    left = [
        re.fullmatch(r'"requests";r=(\d);t=(\d+)', response.headers["ratelimit"]) for response in responses
    ]
    assert [match and match[1] for match in left] == ["2", "1", "0", "0", "0"]
    assert all(1 <= int(response.headers["retry-after"]) <= 20 for response in responses[3:])
    assert responses[4].json()["type"] == "/problems/quota-exceeded"
    assert responses[4].json()["resource"] == "requests"


def test_the_megapixel_quota_of_a_key_does_not_affect_other_keys(keyed: Live) -> None:
    picture = jpeg(photo(150, 200))  # 0.03 megapixels
    tiny = [keyed.client.post("/v1/mask", content=picture, headers={"X-Api-Key": "tiny"}) for _ in range(2)]
    other = keyed.client.post("/v1/mask", content=picture, headers={"X-Api-Key": "free"})

    assert [response.status_code for response in (*tiny, other)] == [200, 429, 200]
    assert tiny[1].json()["resource"] == "megapixels"
    assert tiny[0].headers["ratelimit"].startswith('"megapixels";r=0;t=')
    assert keyed.service.admission.requests == keyed.service.admission.pixels == 0


def write_over(content: bytes) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(content) and None


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(file: Path) -> None:
        file.unlink()
        make(file)

    return replace


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no TOML": write_over(b"[keys."),
    "brackets in brackets": write_over(b"a = " + b"[\n" * 20_000),
    "a number of 5,000 digits": write_over(b"a = " + b"9" * 5_000),
    "a rate beyond all floats": write_over(
        f"[keys.a]\nsha256 = '{'ab' * 32}'\nrequests_per_minute = {'9' * 400}".encode()
    ),
    "no UTF-8": write_over(b"[keys.\xff]\n"),
    "gigabytes": lambda file: os.truncate(file, 20 * 2**30),
    "nothing": Path.unlink,
    "a folder": replace_by(Path.mkdir),
    "a pipe": replace_by(os.mkfifo),
    "a device": replace_by(lambda file: file.symlink_to("/dev/zero")),
    "a loop": replace_by(lambda file: file.symlink_to(file)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_key_is_revoked_even_after_the_file_was_broken(
    keyed: Live, damage: Callable[[Path], object]
) -> None:
    """A damaged file in between changes nothing."""
    file = keyed.service.settings.access.keys_file
    assert file is not None
    before = file.read_text()

    def status_within(seconds: float, *, expected: int, key: str = "late") -> int:
        until_s = time.monotonic() + seconds
        while True:
            status = keyed.client.get("/v1/models", headers={"X-Api-Key": key}).status_code
            if status == expected or time.monotonic() > until_s:
                return status
            time.sleep(0.05)

    file.write_text(f'{before}[keys.late]\nsha256 = "{hashlib.sha256(b"late").hexdigest()}"\n')
    assert status_within(20, expected=200) == 200
    damage(file)
    assert status_within(1.5, expected=401) == 200
    good = file.with_name("good.toml")
    good.write_text(before)
    if file.is_dir():
        file.rmdir()
    good.replace(file)
    assert status_within(20, expected=401) == 401
    assert status_within(0, expected=200, key="free") == 200


def test_the_log_contains_the_name_of_a_key_and_never_the_key(keyed: Live) -> None:
    secret, stream = "a-key-that-is-none", io.StringIO()
    with redirect_stderr(stream):
        configure_logs("json")
        keyed.client.get("/v1/models", headers={"X-Api-Key": "free"})
        keyed.client.get(f"/v1/models?key={secret}", headers={"X-Api-Key": secret})
        until_s = time.monotonic() + 20
        while stream.getvalue().count("\n") < 2 and time.monotonic() < until_s:  # written after the response
            time.sleep(0.02)
    configure_logs("json")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert [line.get("key_name") for line in lines] == ["free", None]
    assert secret not in stream.getvalue()


@pytest.mark.parametrize("size_bytes", [100_000, 700_000])
def test_a_client_that_sends_everything_before_reading_gets_the_401(keyed: Live, size_bytes: int) -> None:
    """Like Python's own client, which reads the response only after the last byte."""
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", keyed.port, timeout=60)
        connection.connect()
        connection.putrequest("POST", "/v1/cutout")
        connection.putheader("X-Api-Key", "wrong")
        connection.putheader("Content-Length", str(size_bytes))
        connection.endheaders()
        for _ in range(size_bytes // 50_000):
            time.sleep(0.02)  # the response is in transit by then
            connection.send(bytes(50_000))
        assert connection.getresponse().status == 401
        connection.close()


def test_the_bytes_read_from_a_client_without_a_key_are_limited(keyed: Live) -> None:
    """Neither before the response nor after it."""
    linger_bytes = LINGER_UPLOADS * keyed.service.settings.limits.upload_bytes
    limit_bytes = MAX_DROPPED_BYTES + linger_bytes
    sent, chunk = 0, bytes(1_000_000)
    with socket.create_connection(("127.0.0.1", keyed.port), timeout=60) as peer:
        peer.sendall(b"POST /v1/cutout HTTP/1.1\r\nHost: here\r\nContent-Length: 60000000000\r\n\r\n")
        with suppress(ConnectionError):
            while sent < 2 * limit_bytes:
                peer.sendall(chunk)
                sent += len(chunk)

    assert linger_bytes - len(chunk) <= sent < limit_bytes + 16 * 2**20  # in system buffers
