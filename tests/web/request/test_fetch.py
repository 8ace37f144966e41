"""Fetching pictures by URL: 127.0.0.2 stands for a public host, and 127.0.0.3 for the internal network.

No test may connect to the internal host.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

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
from app.settings import Settings
from app.web.request.addresses import Address, is_public
from app.web.request.fetch import PictureFetcher, Resolve, Rules, SystemResolver
from tests.pictures import jpeg, photo
from tests.web.conftest import Live, serving
from tests.web.hosts import Host, hosting, redirect_to, reply_of, stall_after

PUBLIC, INTERNAL = "127.0.0.2", "127.0.0.3"
PICTURE = bytes(range(256)) * 40
CONNECT_S = 0.4
PHOTO = jpeg(photo(60, 80))


def is_public_or_stand_in(address: Address) -> bool:
    return address == ip_address(PUBLIC) or is_public(address)


class TableResolver:
    """A resolver with a table, and the system's for other names. Only the last list of a name is reused."""

    def __init__(self, **responses: list[list[str]]) -> None:
        self.responses = responses
        self.requested: list[str] = []
        self._system = SystemResolver()

    async def __call__(self, host: str, port: int) -> list[str]:
        self.requested.append(host)
        if host not in self.responses:
            return await self._system(host, port)
        responses = self.responses[host]
        return responses.pop(0) if len(responses) > 1 else responses[0]


@pytest.fixture
def public() -> Host:
    return Host(PUBLIC)


@pytest.fixture
def internal() -> Host:
    return Host(INTERNAL, replies={"/": reply_of(b"secret")})


@pytest.fixture
def hosts(public: Host, internal: Host) -> Iterator[None]:
    with hosting(public, internal):
        yield


def fetch(
    url: str,
    host: Host,
    *,
    resolve: Resolve | None = None,
    limit_bytes: int = 100_000,
    budget_bytes: int = 10**6,
    deadline_s: float = 1e9,
    rules: Rules | None = None,
) -> bytes:
    rules = rules or Rules(CONNECT_S, 3.0, is_allowed=is_public_or_stand_in)
    rules = replace(rules, ports=(("http", host.port), ("https", host.port)))

    async def run() -> bytes:
        fetcher = PictureFetcher(SystemClock(), rules=rules, resolve=resolve or TableResolver())
        with Admission(Budget(4, budget_bytes, 10**6, 10**9)).enter() as permit:
            return await fetcher.fetch(url, permit, limit_bytes=limit_bytes, deadline_s=deadline_s)

    return asyncio.run(run())


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


BY_NUMBER = [
    *("127.0.0.3", "2130706435", "0x7f000003", "0x7f.3", "0177.0.0.3", "127.3", "[::ffff:127.0.0.3]"),
    *("[::ffff:7f00:3]", "[::127.0.0.3]", "[64:ff9b::7f00:3]", "[2002:7f00:3::]", "[fe80::1%25lo]"),
    *("0", "0.0.0.0", "[::]", "[::1]", "localhost", "①②⑦.⓪.⓪.③", "127。0。0。3", "127.0.0.3."),
    *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "[fec0::1]", "[ff02::1]"),
]


@pytest.mark.parametrize("host", BY_NUMBER)
def test_no_spelling_of_an_address_reaches_the_internal_network(
    hosts: None, public: Host, internal: Host, host: str
) -> None:
    with pytest.raises(UrlNotAllowed):
        fetch(f"http://{host}/", public)
    assert (0, 0) == (public.connections, internal.connections)


@pytest.mark.parametrize(
    "url",
    [
        *("http://a@127.0.0.3/", "http://127.0.0.3:22/", "http://shop@127.0.0.3/", "http://shop:1@shop/"),
        *("file:///etc/passwd", "gopher://shop/", "ftp://shop/", "data:image/png;base64,AA==", "//shop/"),
        *(
            "",
            "shop",
            "http://",
            "http:///",
            "http://sh op/",
            "http://shop\n/",
            "HTTP",
            "http://[::1",
            "http://a/" + "x" * 3000,
        ),
    ],
)
def test_other_schemes_ports_and_credentials_are_refused(
    hosts: None, public: Host, internal: Host, url: str
) -> None:
    with pytest.raises(UrlNotAllowed):
        fetch(url, public, resolve=TableResolver(shop=[[PUBLIC]]))
    assert (0, 0) == (public.connections, internal.connections)


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


@pytest.mark.parametrize(
    "location",
    [
        f"http://{INTERNAL}/",
        f"//{INTERNAL}/",
        "http://inside/",
        f"http://u:p@{INTERNAL}/",
        "http://[",
        "http://shop:99999999/",
    ],
)
def test_a_redirect_to_the_internal_network_is_refused(
    hosts: None, public: Host, internal: Host, location: str
) -> None:
    public.replies["/"] = redirect_to(location)

    with pytest.raises(UrlNotAllowed):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]], inside=[[INTERNAL]]))
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


@pytest.fixture(scope="module")
def fetching(models_dir: Path) -> Iterator[tuple[Live, Host]]:
    """The service with fetching enabled, and a host whose address counts as public."""
    settings = Settings(
        models=("u2netp",),
        models_dir=models_dir,
        device="cpu",
        web={"metrics_port": None},
        fetcher={"enabled": True, "connect_timeout_s": CONNECT_S},
        limits={"upload_bytes": 1_000_000},
    )
    host = Host(PUBLIC, replies={"/a.jpg": reply_of(PHOTO)})
    with hosting(host), serving(settings) as live:
        rules = Rules(CONNECT_S, is_allowed=is_public_or_stand_in, ports=(("http", host.port),))
        live.service.fetcher = PictureFetcher(
            SystemClock(), rules=rules, resolve=TableResolver(shop=[[PUBLIC]])
        )
        yield live, host


@pytest.mark.parametrize(
    "request_of",
    [
        lambda url: {"json": {"image_url": url}},
        lambda url: {"files": {"image_url": (None, url)}},
        lambda url: {"params": {"image_url": url}},
    ],
    ids=["json", "multipart", "query"],
)
def test_a_fetched_picture_gives_the_same_response_as_an_uploaded_one(
    fetching: tuple[Live, Host], request_of: Callable[[str], dict[str, Any]]
) -> None:
    live, _ = fetching
    sent = live.client.post("/v1/mask", content=PHOTO)

    named = live.client.post("/v1/mask", **request_of("http://shop/a.jpg"))
    assert (200, sent.content, sent.headers["etag"]) == (
        named.status_code,
        named.content,
        named.headers["etag"],
    )
    assert "fetch;dur=" in named.headers["server-timing"]


@pytest.mark.parametrize(
    ("url", "status", "slug"),
    [
        ("http://127.0.0.3/a.jpg", 422, "url-not-allowed"),
        ("file:///etc/passwd", 422, "url-not-allowed"),
        ("http://shop/nothing", 422, "picture-not-fetched"),
        (["http:"], 400, "malformed-request"),
    ],
)
def test_a_failed_fetch_is_a_problem(
    fetching: tuple[Live, Host], url: object, status: int, slug: str
) -> None:
    response = fetching[0].client.post("/v1/cutout", json={"image_url": url})

    assert (status, f"/problems/{slug}") == (response.status_code, response.json()["type"])
    assert str(url) not in response.text


def test_a_request_has_an_upload_or_a_url_and_not_both(fetching: tuple[Live, Host]) -> None:
    client = fetching[0].client
    responses = (
        client.post("/v1/mask", content=PHOTO, params={"image_url": "http://shop/a.jpg"}),
        client.post("/v1/mask", files={"image": PHOTO, "image_url": (None, "http://shop/a.jpg")}),
        client.post("/v1/mask", json={"image": "AAAA", "image_url": "http://shop/a.jpg"}),
        client.post("/v1/mask", json={}),
    )
    assert [400] * 4 == [response.status_code for response in responses]


def test_the_contract_has_image_url_only_if_fetching_is_enabled(
    fetching: tuple[Live, Host], live: Live
) -> None:
    with_url, without = (one.client.get("/openapi.json").text for one in (fetching[0], live))

    assert ("image_url" in with_url, "image_url" in without) == (True, False)


def test_nothing_is_fetched_while_fetching_is_disabled(live: Live, internal: Host) -> None:
    with hosting(internal):
        response = live.client.post("/v1/mask", json={"image_url": f"http://{INTERNAL}:{internal.port}/"})

    assert (422, "/problems/fetching-disabled", 0) == (
        response.status_code,
        response.json()["type"],
        internal.connections,
    )


ODD_HOSTS = (
    "xn--a",
    "xn--",
    "xn--a-.x",
    "[::1",
    "[::1]",
    "::1",
    "a" * 64 + ".x",
    "a." * 130,
    "\u2024",
    "①.com",
)
ODDER_HOSTS = (
    "\u0300",
    "\u00ad",
    "\ud800",
    "%00",
    "%",
    "..",
    "1.2.3",
    "[v1.a]",
    "[fe80::1%25e]",
    "a\tb",
    "a\\b",
    "a@b",
)
PORTS = ("", ":80", ":", ":65536", ":" + "9" * 30, ":-1", ":8 0", ":٣", ":80:80", "@b")
PATHS = ("", "/?\ud800", "#\udc00", "/\ud800", "?a=%ff", "/%", "/\x00", "/\r\nX: y", "\x7f")
SCHEMES = ("http://", "https://", "HTTP://", "http:", "//", "http:///", "", "ftp://", "http://u@")
URLS = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(SCHEMES),
    st.sampled_from(ODD_HOSTS + ODDER_HOSTS) | st.text(max_size=20),
    st.sampled_from(PORTS),
    st.sampled_from(PATHS) | st.text(max_size=10).map("/".__add__),
)
SHORT_TIMEOUTS = Rules(0.001, 1.0, is_allowed=lambda _: True, tls=ssl.create_default_context())


class UnreachableResolver:
    """Resolves every name to an address without a listener."""

    async def __call__(self, host: str, port: int) -> list[str]:
        return ["127.0.0.9"]


@hypothesis_settings(deadline=None)
@given(URLS)
@example("http://xn--a/")
@example("http://\ud800/")
def test_an_invalid_url_is_not_allowed(url: str) -> None:
    fetcher = PictureFetcher(SystemClock(), rules=SHORT_TIMEOUTS, resolve=UnreachableResolver())

    async def run() -> None:
        with Admission(Budget(4, 10**6, 10**6, 10**9)).enter() as permit:
            await fetcher.fetch(url, permit, limit_bytes=1000, deadline_s=1e9)

    with pytest.raises((UrlNotAllowed, PictureNotFetched)):
        asyncio.run(run())
    assert fetcher.in_flight == 0


@pytest.mark.parametrize(
    "location",
    [
        b"http://xn--a/",
        b"http://\xff\xfe/",
        b"http://[::1/",
        b"\xed\xa0\x80",
        b"http://shop:65536/",
        b"http://a b/",
    ],
)
def test_an_invalid_redirect_target_is_not_allowed(hosts: None, public: Host, location: bytes) -> None:
    public.replies["/"] = b"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"

    with pytest.raises((UrlNotAllowed, PictureNotFetched)):
        fetch("http://shop/", public, resolve=TableResolver(shop=[[PUBLIC]]))


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
