"""URLs and redirect targets that must not be fetched."""

import asyncio
import ssl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.engine.capacity.admission import Admission, Budget
from app.engine.clock import SystemClock
from app.errors import (
    PictureNotFetched,
    UrlNotAllowed,
)
from app.web.request.fetch import PictureFetcher, Rules
from tests.web.hosts import Host, redirect_to
from tests.web.request.fetching import (
    INTERNAL,
    PUBLIC,
    TableResolver,
    fetch,
)

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


@pytest.mark.process
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
