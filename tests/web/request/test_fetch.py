"""Fetching pictures by URL from public hosts."""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trustme

from app.engine.capacity.admission import Admission, Budget
from app.engine.clock import SystemClock
from app.errors import (
    CutoutError,
    Overloaded,
    PictureNotFetched,
    SourceTimedOut,
    UploadTooLarge,
    UrlNotAllowed,
)
from app.web.request.fetch import PictureFetcher, Resolve, Rules
from tests.web.hosts import Host, hosting, redirect_to, reply_of, stall_after
from tests.web.request.fetching import (
    CONNECT_S,
    INTERNAL,
    PICTURE,
    PUBLIC,
    TableResolver,
    fetch,
    is_public_or_stand_in,
)


def test_a_picture_is_fetched_from_a_public_host(hosts: None, public: Host) -> None:
    public.replies["/a.jpg?size=2"] = reply_of(PICTURE)

    assert PICTURE == fetch("http://shop/a.jpg?size=2#top", public, resolve=TableResolver(shop=[[PUBLIC]]))


def test_a_request_has_the_host_name_and_only_neutral_headers(hosts: None, public: Host) -> None:
    public.replies["/"] = reply_of(PICTURE, headers="Set-Cookie: id=1\r\n")
    resolver = TableResolver(shop=[[PUBLIC]])
    fetch("http://shop/", public, resolve=resolver)
    fetch("http://shop/", public, resolve=resolver)

    lines = [sorted(line.split(":")[0] for line in head.split("\r\n")[1:] if line) for head in public.heads]
    assert [["Accept", "Accept-Encoding", "Host", "User-Agent"]] * 2 == lines
    assert "Host: shop\r\n" in public.heads[0]


def test_a_redirect_is_followed(hosts: None, public: Host) -> None:
    public.replies |= {
        "/": redirect_to("/b"),
        "/b": redirect_to("//shop/c", status=307),
        "/c": reply_of(PICTURE),
    }

    assert PICTURE == fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]))


def test_the_number_of_redirects_is_limited(hosts: None, public: Host) -> None:
    public.replies["/"] = redirect_to("/")

    with pytest.raises(PictureNotFetched, match="too often"):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]))
    assert public.connections == 4


def test_a_host_is_resolved_only_once(hosts: None, public: Host, internal: Host) -> None:
    public.replies["/"] = reply_of(PICTURE)
    resolver = TableResolver(rebinds=[[PUBLIC], [INTERNAL]])

    assert PICTURE == fetch("http://rebinds/", public, resolve=resolver)
    assert (["rebinds"], 1, 0) == (resolver.requested, public.connections, internal.connections)


def test_a_redirect_to_the_same_host_is_resolved_and_checked_again(
    hosts: None, public: Host, internal: Host
) -> None:
    public.replies["/"] = redirect_to("http://rebinds/")

    with pytest.raises(UrlNotAllowed):
        fetch("http://rebinds/", public, resolve=TableResolver(rebinds=[[PUBLIC], [INTERNAL]]))
    assert (1, 0) == (public.connections, internal.connections)


@pytest.mark.parametrize("responses", [[PUBLIC, INTERNAL], [INTERNAL, PUBLIC], [PUBLIC, "fe80::1%lo"], []])
def test_a_host_with_a_non_public_address_is_refused(
    hosts: None, public: Host, internal: Host, responses: list[str]
) -> None:
    with pytest.raises(UrlNotAllowed):
        fetch("http://mixed/", public, resolve=TableResolver(mixed=[responses]))
    assert (0, 0) == (public.connections, internal.connections)


def test_the_next_address_is_tried_if_one_refuses_the_connection(hosts: None, public: Host) -> None:
    public.replies["/"] = reply_of(PICTURE)
    rules = Rules(CONNECT_S, is_allowed=lambda address: str(address) in (PUBLIC, "127.0.0.4"))

    assert PICTURE == fetch(
        "http://shop/", public, resolve=TableResolver(shop=[["127.0.0.4", PUBLIC]]), rules=rules
    )


async def hang(host: str, port: int) -> list[str]:
    await asyncio.sleep(60)
    return []


def test_forbidden_refusing_and_unknown_hosts_are_indistinguishable(hosts: None, public: Host) -> None:
    """The refusing address is allowed, but has no listener."""
    rules = Rules(CONNECT_S, is_allowed=lambda address: str(address) == "127.0.0.4")
    cases: dict[str, Resolve] = {
        "forbidden": TableResolver(one=[[INTERNAL]]),
        "refused": TableResolver(one=[["127.0.0.4"]]),
        "no address": TableResolver(one=[[]]),
        "unknown": TableResolver(),
        "silent": hang,
    }
    errors: dict[str, tuple[str, dict[str, object]]] = {}
    seconds: dict[str, float] = {}
    for name, resolve in cases.items():
        begun_s = time.monotonic()
        with pytest.raises(UrlNotAllowed) as caught:
            fetch(
                "http://one.invalid/" if name == "unknown" else "http://one/",
                public,
                resolve=resolve,
                rules=rules,
            )
        seconds[name] = time.monotonic() - begun_s
        errors[name] = (str(caught.value), caught.value.facts())
    assert len({str(error) for error in errors.values()}) == 1
    assert all(took_s >= CONNECT_S for took_s in seconds.values())


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (reply_of(b"", status=404), PictureNotFetched),
        (reply_of(b"x", headers="Content-Encoding: gzip\r\n"), PictureNotFetched),
        (reply_of(PICTURE)[:-1], PictureNotFetched),
        (b"SSH-2.0-OpenSSH_9.9\r\n", PictureNotFetched),
        (b"HTTP/1.1 200 X\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", PictureNotFetched),
        (reply_of(bytes(100_001)), UploadTooLarge),
        (
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"c350\r\n"
            + bytes(50_000)
            + b"\r\n"
            + b"c351\r\n"
            + bytes(50_001)
            + b"\r\n0\r\n\r\n",
            UploadTooLarge,
        ),
        (stall_after(b""), SourceTimedOut),
        (stall_after(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n12"), SourceTimedOut),
    ],
    ids=[
        "404",
        "gzip",
        "cut",
        "ssh",
        "large head",
        "large",
        "large chunks",
        "mute",
        "stalls",
    ],
)
def test_a_host_without_a_valid_response_raises_the_matching_error(
    hosts: None, public: Host, reply: bytes | Callable[..., None], error: type[CutoutError]
) -> None:
    public.replies["/"] = reply
    rules = Rules(CONNECT_S, 0.8, is_allowed=is_public_or_stand_in)

    with pytest.raises(error):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]), rules=rules)


def test_a_fetch_ends_at_the_deadline_of_the_request(hosts: None, public: Host) -> None:
    public.replies["/"] = stall_after(b"")
    begun_s = time.monotonic()

    with pytest.raises(SourceTimedOut):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]), deadline_s=begun_s + 0.2)
    assert time.monotonic() - begun_s < 2.5


def test_fetched_bytes_count_as_an_upload(hosts: None, public: Host) -> None:
    public.replies["/"] = reply_of(PICTURE)

    with pytest.raises(Overloaded):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]), budget_bytes=len(PICTURE) - 1)


@pytest.mark.process
@pytest.mark.parametrize(("name", "is_trusted"), [("shop.example", True), ("other.example", False)])
def test_the_certificate_must_match_the_host_name(name: str, is_trusted: bool) -> None:
    authority = trustme.CA()
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("shop.example").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    host = Host(PUBLIC, replies={"/": reply_of(PICTURE)}, tls=server_tls)
    rules = Rules(CONNECT_S * 5, is_allowed=is_public_or_stand_in, tls=client_tls)
    resolver = TableResolver(**{name: [[PUBLIC]]})

    with hosting(host):
        if is_trusted:
            assert PICTURE == fetch(f"https://{name}/", host, resolve=resolver, rules=rules)
            return
        with pytest.raises(UrlNotAllowed):
            fetch(f"https://{name}/", host, resolve=resolver, rules=rules)


def test_concurrent_fetches_are_limited_and_always_released(hosts: None, public: Host) -> None:
    public.replies |= {"/": reply_of(PICTURE), "/slow": stall_after(b"", 3)}
    ports = (("http", public.port),)
    rules = Rules(CONNECT_S, 0.6, ports, is_allowed=is_public_or_stand_in, max_in_flight=2)

    async def run() -> list[object]:
        fetcher = PictureFetcher(SystemClock(), rules=rules, resolve=TableResolver(shop=[[PUBLIC]]))
        with Admission(Budget(9, 10**6, 10**6, 10**9)).enter() as permit:

            def get(path: str) -> Coroutine[Any, Any, bytes]:
                return fetcher.fetch(f"http://shop{path}", permit, limit_bytes=10**6, deadline_s=1e9)

            first = await asyncio.gather(*(get("/slow") for _ in range(5)), return_exceptions=True)
            cancelled = asyncio.create_task(get("/slow"))
            await asyncio.sleep(0.05)
            cancelled.cancel()
            after = await asyncio.gather(cancelled, get("/"), return_exceptions=True)
            after += await asyncio.gather(get("ftp:"), return_exceptions=True)
        assert fetcher.in_flight == 0
        return [*first, *after]

    kinds = [type(outcome) for outcome in asyncio.run(run())]
    assert kinds[:5] == [SourceTimedOut] * 2 + [Overloaded] * 3
    assert kinds[5:] == [asyncio.CancelledError, bytes, UrlNotAllowed]
