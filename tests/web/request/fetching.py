"""Helpers to fetch pictures from the hosts of a test.

127.0.0.2 stands for a public host, and 127.0.0.3 for the internal network. No test may connect to the latter.
"""

import asyncio
from dataclasses import replace
from ipaddress import ip_address

from app.engine.capacity.admission import Admission, Budget
from app.engine.clock import SystemClock
from app.web.request.addresses import Address, is_public
from app.web.request.fetch import PictureFetcher, Resolve, Rules, SystemResolver
from tests.pictures import jpeg, photo
from tests.web.hosts import Host

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
