import hashlib
import hmac
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.capacity.quota import Rates
from app.web import api_keys
from app.web.api_keys import ApiKeys, KeysUnreadable, new_key

NONE = Rates()


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_new_key_is_found_by_its_hash() -> None:
    key, sha256 = new_key()
    keys = ApiKeys(None, sha256, NONE)
    found = keys.find(key.encode())

    assert keys.is_enforced
    assert found is not None
    assert len({new_key()[0] for _ in range(50)}) == 50
    assert len(key) > 40


@given(st.binary(max_size=200))
def test_other_texts_and_the_hash_itself_are_not_keys(sent: bytes) -> None:
    _, sha256 = new_key()

    assert ApiKeys(None, sha256, NONE).find(sent) is None
    assert ApiKeys(None, sha256, NONE).find(bytes.fromhex(sha256)) is None


def test_every_digest_is_compared_in_constant_time() -> None:
    compared: list[tuple[bytes, bytes]] = []

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    keys = ApiKeys(None, ",".join(digest(name) for name in "abc"), NONE, compare=watched)
    assert keys.find(b"a") is not None

    assert inspect.signature(ApiKeys).parameters["compare"].default is hmac.compare_digest
    assert len(compared) == 3
    assert {type(part) for pair in compared for part in pair} == {bytes}


def test_the_keys_file_defines_names_and_rates(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(
        f'[keys.shop]\nsha256 = "{digest("s")}"\nrequests_per_minute = 60\n'
        f'[keys."app-2"]\nsha256 = "{digest("a").upper()}"\nmegapixels_per_minute = 0.5\n'
    )
    keys = ApiKeys(file, digest("fixed"), Rates(requests=5))
    found = [keys.find(sent) for sent in (b"s", b"a", b"fixed")]

    assert [(key.name, key.rates) for key in found if key] == [
        ("shop", Rates(60, None)),
        ("app-2", Rates(5, 0.5)),
        (digest("fixed")[:8], Rates(5, None)),
    ]


def test_an_empty_keys_file_still_enforces_authentication(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    keys = ApiKeys(file, None, NONE)

    assert keys.is_enforced
    assert keys.find(b"") is None


@pytest.mark.parametrize("hashes", [",", " ", " , ,"])
def test_an_empty_list_of_digests_still_enforces_authentication(hashes: str) -> None:
    """``cutout serve`` accepts it as configured access, so it must not disable authentication."""
    keys = ApiKeys(None, hashes, NONE)

    assert keys.is_enforced
    assert keys.find(b"") is None


def test_a_changed_keys_file_is_reloaded(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys.old]\nsha256 = "{digest("old")}"\n')
    keys = ApiKeys(file, None, NONE)
    file.write_text(f'[keys.new_one]\nsha256 = "{digest("new")}"\n')

    assert keys.refresh()
    assert not keys.refresh()
    assert keys.find(b"old") is None
    assert keys.find(b"new") is not None


BROKEN = {
    "no TOML": "[keys.a",
    "another table": '[key.a]\nsha256 = ""\n',
    "no digest": "[keys.a]\nrequests_per_minute = 1\n",
    "half a digest": '[keys.a]\nsha256 = "abcd"\n',
    "an unknown member": f'[keys.a]\nsha256 = "{digest("a")}"\nrequests = 1\n',
    "a rate of nothing": f'[keys.a]\nsha256 = "{digest("a")}"\nrequests_per_minute = 0\n',
    "a rate in words": f'[keys.a]\nsha256 = "{digest("a")}"\nmegapixels_per_minute = "many"\n',
    "a rate without end": f'[keys.a]\nsha256 = "{digest("a")}"\nmegapixels_per_minute = inf\n',
    "a rate larger than any": f'[keys.a]\nsha256 = "{digest("a")}"\nrequests_per_minute = {"9" * 400}\n',
    "a rate that is a day": f'[keys.a]\nsha256 = "{digest("a")}"\nrequests_per_minute = 2026-01-01\n',
    "a rate that is none": f'[keys.a]\nsha256 = "{digest("a")}"\nrequests_per_minute = nan\n',
    "a day that is none": "a = 2026-13-45T99:99:99+99:99\n",
    "one key of two names": "".join(f'[keys.{name}]\nsha256 = "{digest("a")}"\n' for name in "ab"),
    "one name of two keys": f'[keys.a]\nsha256 = "{digest("a")}"\n[keys.a]\nsha256 = "{digest("b")}"\n',
    "brackets in brackets": "a = " + "[" * 20_000,
    "brackets in brackets, a line each": "a = " + "[\n" * 20_000,
    "tables in tables": "a = " + "{a = " * 20_000,
    "names in names": "a" + ".a" * 20_000 + " = 1",
    "a number of 5,000 digits": f"a = {'9' * 5_000}",
    "a rate in hexadecimal": f"[keys.a]\nsha256 = '{digest('a')}'\nrequests_per_minute = 0x{'f' * 300}",
    "no text": "\x00",
    "a name for a log to trip over": f'[keys."a\\nb"]\nsha256 = "{digest("a")}"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_an_invalid_keys_file_fails_at_the_start_and_is_ignored_on_reload(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys.old]\nsha256 = "{digest("old")}"\n')
    keys = ApiKeys(file, None, NONE)
    file.write_text(text)

    for _ in range(2):  # the second call uses the stored error
        with pytest.raises(KeysUnreadable):
            keys.refresh()
    assert keys.find(b"old") is not None
    with pytest.raises(KeysUnreadable):
        ApiKeys(file, None, NONE)


KINDS: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: None,
    "a folder": lambda file: file.mkdir(),
    "a pipe without a writer": os.mkfifo,
    "a device without end": lambda file: file.symlink_to("/dev/zero"),
    "a device without content": lambda file: file.symlink_to("/dev/null"),
    "a link to itself": lambda file: file.symlink_to(file),
    "a link to nothing": lambda file: file.symlink_to(file.parent / "nowhere"),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_path_that_is_not_a_regular_file_is_ignored_without_blocking(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    file = tmp_path / "keys.toml"
    good = f'[keys.old]\nsha256 = "{digest("old")}"\n'
    file.write_text(good)
    keys = ApiKeys(file, None, NONE)
    file.unlink()
    make(file)
    for _ in range(2):
        with pytest.raises(KeysUnreadable):
            keys.refresh()
    assert keys.find(b"old") is not None
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)
    file.write_text(good.replace(digest("old"), digest("new")))

    assert keys.refresh()
    assert keys.find(b"old") is None


def test_the_size_of_a_keys_file_is_limited(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    keys = ApiKeys(file, None, NONE)
    with file.open("wb") as sparse:
        sparse.truncate(50 * 2**30)

    with pytest.raises(KeysUnreadable, match=str(api_keys.MAX_FILE_BYTES)):
        keys.refresh()


def test_a_change_with_the_same_modification_time_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'[keys.one]\nsha256 = "{digest("old")}"\n')
    before = file.stat()
    keys = ApiKeys(file, None, NONE)
    file.write_text(f'[keys.one]\nsha256 = "{digest("new")}"\n')
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert keys.refresh()
    assert keys.find(b"old") is None


def test_a_replaced_keys_file_is_reloaded(tmp_path: Path) -> None:
    file, other = tmp_path / "keys.toml", tmp_path / "other.toml"
    file.write_text(f'[keys.one]\nsha256 = "{digest("old")}"\n')
    keys = ApiKeys(file, None, NONE)
    shutil.copy2(file, other)
    other.write_text(f'[keys.one]\nsha256 = "{digest("new")}"\n')
    other.replace(file)

    assert keys.refresh()
    assert keys.find(b"new") is not None


@given(st.binary(max_size=300) | st.text(alphabet="[]{}=.,\"'#\n\\0-9eEinfTkeysha256_ ", max_size=300))
def test_random_content_raises_nothing_but_keys_unreadable(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(KeysUnreadable):
        file = Path(folder) / "keys.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

        assert ApiKeys(file, None, NONE).count >= 0


@pytest.mark.parametrize("hashes", ["plain-text-key", "ab" * 31, f"{'ab' * 32};{'cd' * 32}"])
def test_a_list_of_anything_but_digests_fails_at_the_start(hashes: str) -> None:
    with pytest.raises(KeysUnreadable):
        ApiKeys(None, hashes, NONE)
