"""Remote: processes pictures by a running server, over HTTP.

Rule 1: a request that may have reached the server is repeated only with its Idempotency-Key.
Rule 2: a busy server is asked again after its ``Retry-After``.
Rule 3: a wrong key or a server that stays away ends the run: every other picture would fail too.
"""

import asyncio
import os
import secrets
import ssl
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from app.cli.removal.requests import RequestTemplate
from app.cli.removal.responses import JSON, media_type_of, no_result, problem_of, processed_from
from app.cli.removal.retries import Attempt, delay_before_retry
from app.cli.removal.targets import SUFFIXES
from app.cli.removal.values import Processed, Rejected, RunEnded, UsageProblem
from app.engine.clock import Clock, SystemClock
from app.options import MASK_AND_CUTOUT
from app.system_errors import reason_of

IN_FLIGHT = 8
"""Requests at a time: enough to hide the network of most servers, few enough for a quota."""
TIMEOUT = httpx.Timeout(150.0, connect=10.0)


class RemoteProcessor:
    """Sends pictures to ``/v1`` of a server.

    Args:
        url: The server's address, with its path prefix if it has one.
        key: The API key.
        template: What all requests have in common.
        in_flight: How many requests to send at a time.
        transport: How to reach the server; tests pass one without a network.
        clock: The source of time.

    Raises:
        UsageProblem: The key, or a variable such as ``HTTPS_PROXY``, cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        template: RequestTemplate,
        *,
        in_flight: int = IN_FLIGHT,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.in_flight = in_flight
        self._url = url
        self._template = template
        self._clock = SystemClock() if clock is None else clock
        headers = {} if key is None else {"X-Api-Key": _checked_key(key)}
        has_mask = template.options.get("results") == MASK_AND_CUTOUT
        headers["Accept"] = "application/json" if has_mask else "*/*"
        try:
            self._client = httpx.AsyncClient(
                base_url=url, headers=headers, timeout=TIMEOUT, transport=transport, trust_env=True
            )
        except (ImportError, ValueError, OSError) as error:
            raise UsageProblem(
                f"the variables for proxies or certificates cannot be used: {reason_of(error)}"
            ) from error

    async def start(self) -> None:
        """Check the address and the key.

        Raises:
            RunEnded: The server cannot be reached, is no Cutout server, or refuses the key.
        """
        try:
            response = await self._send("GET", "v1/models", patience=False)
        except httpx.HTTPError as error:
            raise RunEnded(f"{self._url} cannot be reached: {network_reason(error)}") from error
        is_page = response.status_code == 200 and media_type_of(response) != JSON
        if response.status_code == 404 or response.is_redirect or is_page:
            where = response.headers.get("location", "")
            hint = f"; it redirects to {where}" if where else ""
            raise RunEnded(f"{self._url} is not the address of a Cutout server{hint}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def process(self, upload: bytes) -> Processed:
        """Return the result for one picture.

        Raises:
            Rejected: The server refuses the picture.
            RunEnded: The server cannot be reached any more, or refuses the key.
        """
        content_type, body = self._template.body_with(upload)
        headers = {"Content-Type": content_type, "Idempotency-Key": uuid.uuid4().hex}
        try:
            response = await self._send(
                "POST",
                f"v1/{self._template.endpoint}",
                params=dict(self._template.options),
                content=body,
                headers=headers,
            )
        except httpx.HTTPError as error:
            raise RunEnded(f"{self._url} cannot be reached any more: {network_reason(error)}") from error
        if response.status_code != 200:
            raise Rejected(problem_of(response))
        processed = processed_from(response)
        wanted = SUFFIXES.get(self._template.options["format"], {})
        if processed.media_type not in wanted or not processed.encoded:
            raise Rejected(no_result(response))
        return processed

    async def _send(self, method: str, path: str, *, patience: bool = True, **request: Any) -> httpx.Response:
        """Send a request until it succeeds, or fails for good; ``patience`` also repeats network failures."""
        started_s, number = self._clock.now_s(), 0
        while True:
            failure, response = None, None
            try:
                response = await self._client.request(method, path, **request)
            except (httpx.TransportError, httpx.DecodingError) as error:
                failure = error
            if response is not None and response.status_code in (401, 403):
                raise RunEnded(f"{self._url}: {problem_of(response).detail}")
            waited_s = self._clock.now_s() - started_s
            status = None if response is None else response.status_code
            retry_after = None if response is None else response.headers.get("retry-after")
            attempt = Attempt(number, waited_s, status, retry_after)
            delay_s = delay_before_retry(attempt, jitter=secrets.randbelow(1000) / 1000)
            if delay_s is None or (failure is not None and not patience):
                if response is None:
                    assert failure is not None  # noqa: S101 - one of the two is set
                    raise failure
                return response
            await asyncio.sleep(delay_s)
            number += 1


def server_address(text: str) -> str:
    """Return the address of a server, which may lack its scheme.

    Raises:
        UsageProblem: The text is no address.
    """
    url = text if "://" in text else f"http://{text}"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageProblem(f"--server {text}: this is no address") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageProblem(f"--server {text}: the address must be like https://cutout.example")
    return url


def _checked_key(key: str) -> str:
    """Return a key without the space around it; the message must not contain it.

    Raises:
        UsageProblem: A header cannot contain it.
    """
    stripped = key.strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise UsageProblem("the API key has characters that a header cannot contain")
    return stripped


def network_reason(error: BaseException) -> str:
    """Return why the network failed, in the system's words if they are in the chain of causes."""
    if isinstance(error, httpx.TimeoutException):
        return "it did not respond in time"
    if any(isinstance(each, ssl.SSLError) for each in _causes(error)):
        return str(error)  # its number is not one of the system's
    system = next((each for each in _causes(error) if isinstance(each, OSError) and each.strerror), None)
    if system is None:
        return str(error) or type(error).__name__
    # asyncio writes addresses into the text of an error; numbers below 0 are those of the resolver.
    number = system.errno or 0
    text = os.strerror(number) if number > 0 else system.strerror
    return reason_of(OSError(number, text))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _causes(inner)
        yield error
        error = error.__cause__ or error.__context__
