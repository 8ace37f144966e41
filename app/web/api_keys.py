"""Keys: who may come in. A key is a long random text; the server knows its SHA-256 and nothing else.

A key has 256 random bits, so a plain hash of it cannot be guessed back, unlike that of a password. Every
digest is compared, in constant time, whether or not an earlier one matched.

Rule: whatever the file of keys is or holds, reading it ends soon, and in keys or in ``KeysUnreadable``. An
operator who withdraws a key relies on it. So the file is read each time, rather than believed by its date,
and it has to be a regular file of a size that a list of keys may have.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from app.engine.capacity.quota import Rates
from app.system_errors import reason_of

PREFIX = "cutout_"
_DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MEMBERS = {"sha256", "requests_per_minute", "megapixels_per_minute"}
MAX_FILE_BYTES = 2**20
MAX_LINE_CHARACTERS = 500
"""The time to read a dotted name grows with the square of its length."""
# A pipe that nobody writes to would else be waited for; Windows has neither.
_OPENING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class KeysUnreadable(ValueError):
    """The file of keys, or the list in the environment, is not what it should be."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its name for logs, its SHA-256, and what its owner may use."""

    name: str
    digest: bytes
    rates: Rates


class ApiKeys:
    """The keys that open the door; without any the door is open."""

    def __init__(self, file: Path | None, hashes: str | None, rates: Rates) -> None:
        self._file = file
        self._rates = rates
        self._seen = b""
        self._problem: str | None = None
        self._fixed = _listed(hashes or "", rates)
        self._keys: tuple[Key, ...] = self._fixed
        self.guards = file is not None or bool(hashes)  # an empty list lets nobody in
        self.refresh()

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def refresh(self) -> bool:
        """Read the file again if it has changed, and return whether it had. Blocks.

        Raises:
            KeysUnreadable: It is not what it should be. The keys stay what they were.
        """
        if self._file is None:
            return False
        content = _read(self._file)
        observed = hashlib.sha256(content).digest()
        if observed == self._seen:
            if self._problem is not None:
                raise KeysUnreadable(self._problem)
            return False
        try:
            keys = _parsed(content, self._file, self._rates)
        except KeysUnreadable as error:
            self._seen, self._problem = observed, str(error)
            raise
        self._keys = (*self._fixed, *keys)
        self._seen, self._problem = observed, None
        return True

    def find(self, sent: bytes) -> Key | None:
        """Return the key that was sent, if it is one."""
        digest = hashlib.sha256(sent).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found


def new_key() -> tuple[str, str]:
    """Make a key, and return it with its SHA-256."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode("ascii")).hexdigest()


def _listed(hashes: str, rates: Rates) -> tuple[Key, ...]:
    """Read the comma-separated digests of the environment; they are named by their first digits."""
    digests = [part.strip().lower() for part in hashes.split(",") if part.strip()]
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise KeysUnreadable("CUTOUT_ACCESS__KEY_HASHES is not a list of SHA-256 digests in hex")
    return tuple(Key(digest[:8], bytes.fromhex(digest), rates) for digest in digests)


def _read(file: Path) -> bytes:
    """Read the whole file, if it is one that may hold keys; never waits for another program."""
    try:
        _check_kind(file, file.stat())  # before it is opened, because to open a device may set it off
        descriptor = os.open(file, _OPENING)
        with open(descriptor, "rb") as opened:
            _check_kind(file, os.fstat(descriptor))
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeysUnreadable(f"the file of keys {file} cannot be read: {reason_of(error)}") from error
    if len(content) > MAX_FILE_BYTES:
        raise KeysUnreadable(f"the file of keys {file} has more than {MAX_FILE_BYTES} bytes")
    return content


def _check_kind(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeysUnreadable(f"the file of keys {file} is not a regular file")


def _parsed(content: bytes, file: Path, default: Rates) -> tuple[Key, ...]:
    """Read a file of keys: one TOML table ``[keys.NAME]`` each."""
    try:
        text = content.decode("utf-8")
        if any(len(line) > MAX_LINE_CHARACTERS for line in text.split("\n")):
            raise ValueError(f"a line has more than {MAX_LINE_CHARACTERS} characters")
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of brackets in brackets, and of numbers without end
        raise KeysUnreadable(f"{file} is not TOML that can be read: {error}") from error
    tables = document.pop("keys", {})
    if document or not isinstance(tables, dict):
        raise KeysUnreadable(f"{file} may hold tables [keys.NAME] and nothing else")
    keys = tuple(_one(name, table, file, default) for name, table in tables.items())
    names: dict[bytes, str] = {}
    for key in keys:
        if names.setdefault(key.digest, key.name) != key.name:
            raise KeysUnreadable(f"{file}: {names[key.digest]} and {key.name} are one and the same key")
    return keys


def _one(name: str, table: object, file: Path, default: Rates) -> Key:
    if not NAME.fullmatch(name) or not isinstance(table, dict) or not table.keys() <= _MEMBERS:
        raise KeysUnreadable(f"{file}: a key's table is [keys.NAME] with {', '.join(sorted(_MEMBERS))}")
    digest = table.get("sha256")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest.lower()):
        raise KeysUnreadable(f"{file}: the sha256 of key {name} is not 64 hex digits")
    return Key(
        name,
        bytes.fromhex(digest),
        Rates(
            _rate(name, table, "requests_per_minute", file, default.requests),
            _rate(name, table, "megapixels_per_minute", file, default.megapixels),
        ),
    )


def _rate(
    name: str, table: dict[str, object], member: str, file: Path, default: float | None
) -> float | None:
    rate = table.get(member, default)
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= sys.float_info.max:
        raise KeysUnreadable(f"{file}: {member} of key {name} is not a number above 0")
    return float(rate)
