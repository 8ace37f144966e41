"""API keys: loads the keys of clients, and finds the key of a request.

The server stores only SHA-256 digests. A key has 256 random bits, so a plain hash is enough: unlike a
password, it cannot be found by guessing. Each request is compared with every digest, in constant time, even
after a match.

Rule: whatever the keys file is or contains, reading it ends soon, with keys or with ``KeysUnreadable``,
because an operator who revokes a key relies on it. So the file is read each time, without trusting its
modification time, and it must be a regular file of limited size.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.engine.capacity.quota import Rates
from app.system_errors import reason_of

PREFIX = "cutout_"
_DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FIELDS = {"sha256", "requests_per_minute", "megapixels_per_minute"}
MAX_FILE_BYTES = 2**20
MAX_LINE_CHARACTERS = 500
"""The time to parse a dotted name grows with the square of its length."""
# Without O_NONBLOCK, opening a pipe without a writer blocks; Windows has neither flag.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class KeysUnreadable(ValueError):
    """The keys file, or the list of digests in the environment, is invalid."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its name for logs, its SHA-256 digest, and its rate limits."""

    name: str
    digest: bytes
    rates: Rates


class ApiKeys:
    """The valid keys: those of the environment and those of the keys file."""

    def __init__(
        self,
        file: Path | None,
        hashes: str | None,
        rates: Rates,
        *,
        compare: Callable[[bytes, bytes], bool] = hmac.compare_digest,
    ) -> None:
        self._file = file
        self._rates = rates
        self._compare = compare
        self._content_digest = b""
        self._problem: str | None = None
        self._fixed = _parse_hashes(hashes or "", rates)
        self._keys: tuple[Key, ...] = self._fixed
        self.is_enforced = file is not None or bool(hashes)  # an empty list refuses all requests
        self.refresh()

    @property
    def count(self) -> int:
        """The number of keys."""
        return len(self._keys)

    def refresh(self) -> bool:
        """Reload the keys file, and return whether it has changed. Blocks.

        Raises:
            KeysUnreadable: The file is invalid. The previous keys stay valid.
        """
        if self._file is None:
            return False
        content = _read_file(self._file)
        digest = hashlib.sha256(content).digest()
        if digest == self._content_digest:
            if self._problem is not None:
                raise KeysUnreadable(self._problem)
            return False
        try:
            keys = _parse_file(content, self._file, self._rates)
        except KeysUnreadable as error:
            self._content_digest, self._problem = digest, str(error)
            raise
        self._keys = (*self._fixed, *keys)
        self._content_digest, self._problem = digest, None
        return True

    def find(self, sent: bytes) -> Key | None:
        """Return the key that a client sent, or ``None`` if it is not valid."""
        digest = hashlib.sha256(sent).digest()
        found = None
        for key in self._keys:
            if self._compare(digest, key.digest):
                found = key
        return found


def new_key() -> tuple[str, str]:
    """Generate a key; return it and its SHA-256 in hex."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode("ascii")).hexdigest()


def _parse_hashes(hashes: str, rates: Rates) -> tuple[Key, ...]:
    """Parse the comma-separated digests of the environment; each key is named by its first digits."""
    digests = [part.strip().lower() for part in hashes.split(",") if part.strip()]
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise KeysUnreadable("CUTOUT_ACCESS__KEY_HASHES is not a list of SHA-256 digests in hex")
    return tuple(Key(digest[:8], bytes.fromhex(digest), rates) for digest in digests)


def _read_file(file: Path) -> bytes:
    """Read the whole file if it is a regular file of limited size; never waits for another program."""
    try:
        _check_kind(file, file.stat())  # before opening it, because opening a device may have side effects
        descriptor = os.open(file, _OPEN_FLAGS)
        with open(descriptor, "rb") as opened:
            _check_kind(file, os.fstat(descriptor))
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeysUnreadable(f"the keys file {file} cannot be read: {reason_of(error)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise KeysUnreadable(f"the keys file {file} has more than {MAX_FILE_BYTES} bytes")
    return content


def _check_kind(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeysUnreadable(f"the keys file {file} is not a regular file")


def _parse_file(content: bytes, file: Path, default: Rates) -> tuple[Key, ...]:
    """Parse a keys file: one TOML table ``[keys.NAME]`` for each key."""
    try:
        text = content.decode("utf-8")
        if any(len(line) > MAX_LINE_CHARACTERS for line in text.split("\n")):
            raise ValueError(f"a line has more than {MAX_LINE_CHARACTERS} characters")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # nested brackets, and very long numbers
        raise KeysUnreadable(f"{file} is not valid TOML: {error}") from error
    tables = document.pop("keys", {})
    if document or not isinstance(tables, dict):
        raise KeysUnreadable(f"{file} must contain only tables [keys.NAME]")
    keys = tuple(_parse_key(name, table, file, default) for name, table in tables.items())
    names: dict[bytes, str] = {}
    for key in keys:
        if names.setdefault(key.digest, key.name) != key.name:
            raise KeysUnreadable(f"{file}: {names[key.digest]} and {key.name} are the same key")
    return keys


def _parse_key(name: str, table: object, file: Path, default: Rates) -> Key:
    if not NAME.fullmatch(name) or not isinstance(table, dict) or not table.keys() <= _FIELDS:
        raise KeysUnreadable(
            f"{file}: the table of a key must be [keys.NAME] with {', '.join(sorted(_FIELDS))}"
        )
    digest = table.get("sha256")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest.lower()):
        raise KeysUnreadable(f"{file}: the sha256 of key {name} is not 64 hex digits")
    return Key(
        name,
        bytes.fromhex(digest),
        Rates(
            _parse_rate(name, table, "requests_per_minute", file, default.requests),
            _parse_rate(name, table, "megapixels_per_minute", file, default.megapixels),
        ),
    )


def _parse_rate(
    name: str, table: dict[str, object], field: str, file: Path, default: float | None
) -> float | None:
    rate = table.get(field, default)
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= sys.float_info.max:
        raise KeysUnreadable(f"{file}: {field} of key {name} is not a number above 0")
    return float(rate)
