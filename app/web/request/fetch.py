"""Remote: a picture is fetched from where its URL says, and from nowhere else.

Whoever may name a URL could otherwise see with the server's eyes: the network it stands in, the metadata
service of its cloud, which ports are open where.

Rule 1: a host is resolved once, every address of it has to be public, and it is these addresses that are
connected to. A name that answers otherwise the next time is never asked the next time.
Rule 2: a redirect is a URL like any other; it goes through the same door.
Rule 3: forbidden, refused and unknown hosts give the same answer after the same time.
Rule 4: fetches have places of their own, fewer than requests have, so hosts that never answer take no others.
Rule 5: nothing of one fetch is left for the next: no cookies, no connections, no proxies, no credentials.
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
    """Asks the operating system, on threads of its own: a name server that hangs delays nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="cutout-resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return every address of a host.

        Raises:
            OSError: It has none.
        """
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True, slots=True)
class Rules:
    """Which hosts may be asked, and for how long.

    Attributes:
        connect_s: Time to find and reach a host; a host that cannot be is answered when it is over.
        total_s: Time from the first name to the last byte.
        ports: The one port of each scheme.
        is_allowed: Whether an address may be connected to.
        tls: What to trust; ``None`` is what httpx trusts.
        most_in_flight: How many pictures may be fetched at a time.
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
        """Return the bytes at a URL; ``deadline_s`` is the instant at which nobody waits any more.

        Raises:
            UrlNotAllowed: The URL, or one that it leads to, may not be asked or cannot be reached.
            PictureNotFetched: The host was reached, and gave no picture.
            SourceTimedOut: It was reached, and did not finish in time.
            UploadTooLarge: It gives more than ``limit_bytes``.
            Overloaded: As many pictures are being fetched as may be, or the uploads of all requests together
                are over their budget.
        """
        if self.in_flight >= self._rules.max_in_flight:
            raise Overloaded("pictures being fetched")
        allowed_s = min(self._rules.total_s, deadline_s - self._clock.now_s())
        self.in_flight += 1
        try:
            async with asyncio.timeout(allowed_s):
                return await self._follow(url, permit, limit_bytes)
        except TimeoutError as error:
            raise SourceTimedOut(allowed_s) from error
        finally:
            self.in_flight -= 1

    async def _follow(self, url: str, permit: Permit, limit_bytes: int) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            target = self._checked(url)
            async with self._answer(target) as response:
                if response.status_code not in REDIRECTS or "location" not in response.headers:
                    return await _read(response, permit, limit_bytes)
                url = _joined(target, response.headers["location"])
        raise PictureNotFetched("it redirects too often")

    def _checked(self, url: str) -> httpx.URL:
        """Return a URL that is made of nothing but a scheme, a host and a path; parse it only here."""
        try:
            target = httpx.URL(url if len(url) <= MAX_URL_CHARACTERS else "")
            host, port, is_plain = target.host, target.port, not target.userinfo
        except (httpx.InvalidURL, ValueError) as error:  # of a host's name, which is read only when asked for
            raise UrlNotAllowed("not a URL") from error
        own_port = dict(self._rules.ports).get(target.scheme)
        if own_port is None or not host or not is_plain or port not in (None, own_port):
            raise UrlNotAllowed("scheme, port or credentials")
        return target

    @asynccontextmanager
    async def _answer(self, target: httpx.URL) -> AsyncIterator[httpx.Response]:
        """Ask for a URL; failing to reach its host takes as long whatever the reason."""
        reach_by_s = self._clock.now_s() + self._rules.connect_s
        try:
            addresses = await self._addresses(target, reach_by_s)
            response = await self._ask(target, addresses, reach_by_s)
        except (UrlNotAllowed, *_UNREACHABLE) as error:
            await asyncio.sleep(max(0.0, reach_by_s - self._clock.now_s()))
            raise UrlNotAllowed(getattr(error, "reason", type(error).__name__)) from error
        except httpx.TransportError as error:
            raise PictureNotFetched("it does not speak HTTP") from error
        try:
            yield response
        finally:
            await response.aclose()

    async def _addresses(self, target: httpx.URL, reach_by_s: float) -> list[Address]:
        """Resolve a host, once; one address that is not allowed condemns all of them."""
        async with asyncio.timeout(reach_by_s - self._clock.now_s()):
            named = await self._resolve(target.raw_host.decode("ascii"), self._port(target))
        addresses = [parse_address(text) for text in dict.fromkeys(named)]
        allowed = [one for one in addresses if one is not None and self._rules.is_allowed(one)]
        if not allowed or len(allowed) < len(addresses):
            raise UrlNotAllowed("address")
        return allowed

    async def _ask(self, target: httpx.URL, addresses: list[Address], reach_by_s: float) -> httpx.Response:
        """Send the request to the first address that takes it; the host's name is told, not looked up."""
        *others, last = addresses
        for address in others:
            with suppress(httpx.ConnectError):
                return await self._ask_at(target, address, reach_by_s)
        return await self._ask_at(target, last, reach_by_s)

    async def _ask_at(self, target: httpx.URL, address: Address, reach_by_s: float) -> httpx.Response:
        connect_s = max(0.001, reach_by_s - self._clock.now_s())
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
                "timeout": {"connect": connect_s},  # the rest is bounded as a whole
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
