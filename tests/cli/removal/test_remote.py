"""``cutout remove --server``, with one live server, and with responses that a server rarely gives."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.removal.remote import RemoteProcessor, network_reason, server_address
from app.cli.removal.requests import RequestTemplate
from app.cli.removal.retries import NETWORK_PATIENCE_S
from app.cli.removal.values import Processed, Rejected, RunEnded, UsageProblem
from app.settings import API_KEY_VARIABLE, Settings, read_settings
from tests.cli.conftest import Command
from tests.fakes import ManualClock
from tests.pictures import disc_alpha, jpeg, opened, photo, png
from tests.web.conftest import Live, serving

KEY = "cutout_test_key"
UPLOAD = jpeg(photo(60, 80))
TEMPLATE = RequestTemplate("cutout", {"format": "png", "quality": "80"}, {})
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def live(fast_models: Path) -> Iterator[Live]:
    """A server that needs a key."""
    hashes = hashlib.sha256(KEY.encode()).hexdigest()
    settings = read_settings({}, models=("u2netp",), models_dir=fast_models, device="cpu")
    access = settings.access.model_copy(update={"key_hashes": hashes})
    web = settings.web.model_copy(update={"metrics_port": None})
    with serving(settings.model_copy(update={"access": access, "web": web})) as running:
        yield running


@pytest.fixture
def pictures(command: Command, tmp_path: Path) -> Path:
    """A folder with four pictures and a broken one."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(jpeg(photo(60, 80, seed=number)))
    (tmp_path / "in" / "broken.jpg").write_bytes(b"nothing")
    return tmp_path / "in"


@pytest.mark.process
def test_a_folder_is_processed_by_a_server(
    command: Command, live: Live, pictures: Path, tmp_path: Path
) -> None:
    server = ("--server", f"127.0.0.1:{live.port}")
    result = command("remove", "in", *server, "--key", KEY, "-o", "out", "--report", "report.json")
    command("remove", "in", "-o", "here")
    entries = json.loads((tmp_path / "report.json").read_text())["files"]

    assert 1 == result.exit_code
    assert "4 written, 1 failed" in result.stderr
    assert "in/broken.jpg: This is not an accepted image type." in result.stderr
    assert [(p.name, p.read_bytes()) for p in sorted((tmp_path / "out").iterdir())] == [
        (p.name, p.read_bytes()) for p in sorted((tmp_path / "here").iterdir())
    ]
    assert ["unsupported-format"] == [e["problem"]["type"] for e in entries if e["status"] == "failed"]
    assert [("ok", "u2netp")] * 4 == [(e["verdict"], e["model"]) for e in entries if e["status"] == "written"]
    assert all(e["steps_ms"]["infer"] > 0 for e in entries if e["status"] == "written")


@pytest.mark.process
def test_files_and_both_results_travel_to_the_server(
    command: Command, live: Live, pictures: Path, tmp_path: Path
) -> None:
    environment = {API_KEY_VARIABLE: KEY}
    server = ("--server", f"http://127.0.0.1:{live.port}")
    (tmp_path / "mask.png").write_bytes(png((disc_alpha(60, 80) * 255).astype("uint8")))
    masked = command("remove", "in/0.jpg", *server, "-o", "x.png", "--mask", "mask.png", **environment)
    both = command("remove", "in/1.jpg", *server, "--results", "mask,cutout", **environment)

    assert (0, 0) == (masked.exit_code, both.exit_code), masked.stderr + both.stderr
    assert "u2netp on none" in masked.stderr
    assert (60, 80) == opened((pictures / "1-mask.png").read_bytes()).shape
    assert (60, 80, 4) == opened((pictures / "1-cutout.png").read_bytes()).shape


@pytest.mark.process
@pytest.mark.parametrize("key", [(), ("--key", "wrong")])
def test_a_wrong_key_ends_the_run_at_once(
    command: Command, live: Live, pictures: Path, key: tuple[str, ...]
) -> None:
    result = command("remove", "in", "--server", f"http://127.0.0.1:{live.port}", *key)

    assert 1 == result.exit_code
    assert "Send a valid key" in result.stderr
    assert "5 not started" in result.stderr


@pytest.mark.process
def test_a_server_that_is_not_there_is_a_sentence(command: Command, pictures: Path) -> None:
    result = command("remove", "in", "--server", "http://127.0.0.1:9")

    assert 1 == result.exit_code
    assert "cutout: http://127.0.0.1:9 cannot be reached: connection refused" in result.stderr
    assert "rrno" not in result.stderr


def processed(handler: Handler, *, clock: ManualClock | None = None) -> Processed:
    async def run() -> Processed:
        processor = RemoteProcessor(
            "http://shop.example/api", KEY, TEMPLATE, transport=httpx.MockTransport(handler), clock=clock
        )
        try:
            return await processor.process(UPLOAD)
        finally:
            await processor.close()

    return asyncio.run(run())


def result(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"cutout", headers={"Content-Type": "image/png"})


def test_a_request_has_the_options_the_key_and_the_picture() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return result(request)

    assert b"cutout" == processed(handler).encoded
    (request,) = seen
    assert "http://shop.example/api/v1/cutout?format=png&quality=80" == str(request.url)
    assert (KEY, UPLOAD) == (request.headers["x-api-key"], request.content)


def test_a_busy_server_and_a_broken_network_are_asked_again_with_the_same_idempotency_key() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["idempotency-key"])
        if len(seen) == 1:
            raise httpx.ReadError("the connection broke", request=request)
        if len(seen) < 4:
            return httpx.Response(503 if len(seen) == 2 else 429, headers={"Retry-After": "0"})
        return result(request)

    assert b"cutout" == processed(handler).encoded
    assert 4 == len(seen)
    assert 1 == len(set(seen))


def test_each_picture_has_its_own_idempotency_key() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["idempotency-key"])
        return result(request)

    processed(handler)
    processed(handler)

    assert 2 == len(set(seen))


def test_a_server_that_stays_away_ends_the_run() -> None:
    clock = ManualClock()

    def handler(request: httpx.Request) -> httpx.Response:
        clock.advance(NETWORK_PATIENCE_S)
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(RunEnded, match="cannot be reached any more: refused"):
        processed(handler, clock=clock)


def test_a_page_of_a_proxy_is_a_problem_too() -> None:
    with pytest.raises(Rejected, match=r"^The server responded with 418 I'm a teapot\.$"):
        processed(lambda _: httpx.Response(418, text="<html>"))


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(404), r"is not the address of a Cutout server$"),
        (
            httpx.Response(301, headers={"Location": "https://shop.example/"}),
            r"it redirects to https://shop\.example/",
        ),
        (httpx.Response(200, html="<p>Welcome to the shop"), r"is not the address of a Cutout server$"),
    ],
)
def test_an_address_of_something_else_ends_the_run(response: httpx.Response, message: str) -> None:
    transport = httpx.MockTransport(lambda _: response)
    processor = RemoteProcessor("http://shop.example", None, TEMPLATE, transport=transport)
    with pytest.raises(RunEnded, match=message):
        asyncio.run(processor.start())


def test_an_address_may_lack_its_scheme() -> None:
    assert "http://shop.example:8000" == server_address("shop.example:8000")
    with pytest.raises(UsageProblem):
        server_address("file:///etc")


def test_the_reason_of_a_network_failure_is_the_systems() -> None:
    error = httpx.ConnectError("[Errno 113] no route")
    error.__cause__ = ExceptionGroup("all attempts", [OSError(113, "No route to host")])

    assert "no route to host" == network_reason(error)
    assert "it did not respond in time" == network_reason(httpx.ReadTimeout("late"))


def test_the_variable_of_the_key_is_no_unknown_setting() -> None:
    assert isinstance(read_settings({API_KEY_VARIABLE: KEY}), Settings)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<p>Sign in first"),
        httpx.Response(200, content=b"\xff\xd8", headers={"Content-Type": "image/jpeg"}),
        httpx.Response(200, content=b"", headers={"Content-Type": "image/png"}),
        httpx.Response(200, json={"ok": True}),
        httpx.Response(200, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.Response(200, content=b"cutout"),
    ],
)
def test_a_success_that_is_not_the_requested_result_is_a_problem(response: httpx.Response) -> None:
    with pytest.raises(Rejected, match=r"is not the result that was requested\.$"):
        processed(lambda _: response)


def test_entries_of_a_proxy_in_server_timing_are_ignored() -> None:
    timing = 'cdn-cache; desc=HIT, edge;dur=1;desc="x", infer;dur=12.5'
    headers = {"Content-Type": "image/png", "Server-Timing": timing}

    assert {"infer": 12.5} == processed(
        lambda _: httpx.Response(200, content=b"cutout", headers=headers)
    ).steps_ms


@pytest.mark.parametrize("key", ["se\ncret", "s€cret"])
def test_a_key_that_no_header_can_contain_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(UsageProblem, match=r"^the API key has characters that a header cannot contain$"):
        RemoteProcessor("http://shop.example", key, TEMPLATE)


def test_the_line_break_at_the_end_of_a_key_file_is_no_part_of_the_key() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["x-api-key"])
        return httpx.Response(200, json={"models": []})

    processor = RemoteProcessor(
        "http://shop.example", f"{KEY}\n", TEMPLATE, transport=httpx.MockTransport(handler)
    )
    asyncio.run(processor.start())

    assert [KEY] == seen


@pytest.mark.parametrize(
    ("variable", "value"), [("ALL_PROXY", "ftp://proxy.example"), ("SSL_CERT_FILE", "/nowhere.pem")]
)
def test_a_wrong_variable_for_the_network_is_a_sentence(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageProblem, match=r"^the variables for proxies or certificates cannot be used: "):
        RemoteProcessor("http://shop.example", None, TEMPLATE)


def test_a_failure_of_tls_has_the_reason_of_tls() -> None:
    error = httpx.ConnectError("[SSL] record layer failure")
    error.__cause__ = ssl.SSLError(1, "[SSL] record layer failure")

    assert "[SSL] record layer failure" == network_reason(error)
