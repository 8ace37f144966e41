"""A public host and an internal one, for tests of fetching."""

from collections.abc import Iterator

import pytest

from tests.web.hosts import Host, hosting, reply_of
from tests.web.request.fetching import (
    INTERNAL,
    PUBLIC,
)


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
