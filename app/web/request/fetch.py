"""Fetch: downloads a picture from a URL of the client, and prevents server-side request forgery.

Without these rules a client could reach, through the server, its internal network and the metadata service of
its cloud, and could scan ports.

Rule 1: each host is resolved once, all of its addresses must be public, and the connection uses one of these
addresses. The name is not resolved again, so a DNS server cannot return another address for the connection
(DNS rebinding).
Rule 2: a redirect target is checked like the first URL.
Rule 3: forbidden, refusing and unknown hosts cause the same error after the same time.
Rule 4: fetches have their own limit, lower than that of requests, so unresponsive hosts cannot use up all of
the requests.
Rule 5: fetches share no state: no cookies, no connections, no proxies, no credentials.
"""

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import httpx

from app.engine.capacity.admission import Permit
from app.engine.clock import Clock
from app.errors import Overloaded, PictureNotFetched, SourceTimedOut, UploadTooLarge, UrlNotAllowed
from app.web.request.addresses import Address, is_public, parse_address

PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 3
MAX_URL_CHARACTERS = 2048
RESOLVERS = 8
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolve = Callable[[str, int], Awaitable[list[str]]]


class SystemResolver:
    """Resolves names with the operating system, in its own threads: a slow name server delays only itself."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="cutout-resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return all addresses of a host.

        Raises:
            OSError: The host has none.
        """
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True, slots=True)
class Rules:
    """Which hosts to allow, and the limits for a fetch.

    Attributes:
        connect_s: Time to resolve a host and connect to it; a failure is reported only after this time.
        total_s: Time from the first resolution to the last byte.
        ports: The only allowed port of each scheme.
        is_allowed: Returns whether connections to an address are allowed.
        tls: The TLS context; ``None`` for the default of httpx.
        max_in_flight: Limit on concurrent fetches.
    """

    connect_s: float = 3.0
    total_s: float = 10.0
    ports: tuple[tuple[str, int], ...] = tuple(PORTS.items())
    is_allowed: Callable[[Address], bool] = is_public
    tls: ssl.SSLContext | None = None
    max_in_flight: int = 16


class PictureFetcher:
    """Fetches pictures by their URL."""

    def __init__(self, clock: Clock, *, rules: Rules, resolve: Resolve) -> None:
        self._clock = clock
        self._rules = rules
        self._resolve = resolve
        self.in_flight = 0
        self._transport = httpx.AsyncHTTPTransport(
            verify=True if rules.tls is None else rules.tls,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def fetch(self, url: str, permit: Permit, *, limit_bytes: int, deadline_s: float) -> bytes:
        """Return the bytes at a URL.

        Args:
            url: The URL from the client.
            permit: Counts the bytes as an upload of the request.
            limit_bytes: Maximum size of the picture.
            deadline_s: The deadline of the request, an instant of the clock.

        Raises:
            UrlNotAllowed: The URL or a redirect target is not allowed, or its host cannot be reached.
            PictureNotFetched: The host was reached, but did not return a picture.
            SourceTimedOut: The host was reached, but did not finish in time.
            UploadTooLarge: The picture has more than ``limit_bytes``.
            Overloaded: Too many fetches are in progress, or the uploads of all requests together exceed their
                budget.
        """
        if self.in_flight >= self._rules.max_in_flight:
            raise Overloaded("pictures being fetched")
        allowed_s = min(self._rules.total_s, deadline_s - self._clock.now_s())
        self.in_flight += 1
        try:
            async with asyncio.timeout(allowed_s):
                return await self._follow_redirects(url, permit, limit_bytes)
        except TimeoutError as error:
            raise SourceTimedOut(allowed_s) from error
        finally:
            self.in_flight -= 1

    async def _follow_redirects(self, url: str, permit: Permit, limit_bytes: int) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            target = self._parse_url(url)
            async with self._open(target) as response:
                if response.status_code not in REDIRECTS or "location" not in response.headers:
                    return await _read(response, permit, limit_bytes)
                url = _joined(target, response.headers["location"])
        raise PictureNotFetched("it redirects too often")

    def _parse_url(self, url: str) -> httpx.URL:
        """Parse a URL and check its scheme, port and credentials; no other code parses the text."""
        try:
            target = httpx.URL(url if len(url) <= MAX_URL_CHARACTERS else "")
            host, port, is_plain = target.host, target.port, not target.userinfo
        except (httpx.InvalidURL, ValueError) as error:  # ``host`` decodes the name, which may fail
            raise UrlNotAllowed("not a URL") from error
        own_port = dict(self._rules.ports).get(target.scheme)
        if own_port is None or not host or not is_plain or port not in (None, own_port):
            raise UrlNotAllowed("scheme, port or credentials")
        return target

    @asynccontextmanager
    async def _open(self, target: httpx.URL) -> AsyncIterator[httpx.Response]:
        """Request a URL; if the host cannot be reached, the error takes the same time for every reason."""
        connect_by_s = self._clock.now_s() + self._rules.connect_s
        try:
            addresses = await self._public_addresses(target, connect_by_s)
            response = await self._send(target, addresses, connect_by_s)
        except (UrlNotAllowed, *_UNREACHABLE) as error:
            await asyncio.sleep(max(0.0, connect_by_s - self._clock.now_s()))
            raise UrlNotAllowed(getattr(error, "reason", type(error).__name__)) from error
        except httpx.TransportError as error:
            raise PictureNotFetched("it does not speak HTTP") from error
        try:
            yield response
        finally:
            await response.aclose()

    async def _public_addresses(self, target: httpx.URL, connect_by_s: float) -> list[Address]:
        """Resolve a host, once; raise ``UrlNotAllowed`` if any of its addresses is not allowed."""
        async with asyncio.timeout(connect_by_s - self._clock.now_s()):
            resolved = await self._resolve(target.raw_host.decode("ascii"), self._port(target))
        addresses = [parse_address(text) for text in dict.fromkeys(resolved)]
        allowed = [each for each in addresses if each is not None and self._rules.is_allowed(each)]
        if not allowed or len(allowed) < len(addresses):
            raise UrlNotAllowed("address")
        return allowed

    async def _send(self, target: httpx.URL, addresses: list[Address], connect_by_s: float) -> httpx.Response:
        """Send the request to the first address that accepts a connection; never resolves the name again."""
        *others, last = addresses
        for address in others:
            with suppress(httpx.ConnectError):
                return await self._send_to(target, address, connect_by_s)
        return await self._send_to(target, last, connect_by_s)

    async def _send_to(self, target: httpx.URL, address: Address, connect_by_s: float) -> httpx.Response:
        connect_s = max(0.001, connect_by_s - self._clock.now_s())
        request = httpx.Request(
            "GET",
            target.copy_with(host=str(address), port=self._port(target), fragment=None),
            headers={
                "Host": target.netloc.decode("ascii"),
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "cutout",
            },
            extensions={
                "sni_hostname": target.raw_host.decode("ascii"),
                "timeout": {"connect": connect_s},  # ``fetch`` limits the total time
            },
        )
        return await self._transport.handle_async_request(request)

    def _port(self, target: httpx.URL) -> int:
        return dict(self._rules.ports)[target.scheme]


_UNREACHABLE = (
    OSError,
    UnicodeError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
)  # a TimeoutError is an OSError


async def _read(response: httpx.Response, permit: Permit, limit_bytes: int) -> bytes:
    if response.status_code != 200:
        raise PictureNotFetched(f"it answers with status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise PictureNotFetched("it answers in a compressed form that was not asked for")
    body = io.BytesIO()
    try:
        async for chunk in response.aiter_raw():
            if body.tell() + len(chunk) > limit_bytes:
                raise UploadTooLarge(limit_bytes)
            permit.hold_bytes(len(chunk))
            body.write(chunk)
    except httpx.TransportError as error:
        raise PictureNotFetched("it breaks off") from error
    return body.getvalue()


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlNotAllowed("not a URL") from error
