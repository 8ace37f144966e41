"""The ZIP reader, with Python's zipfile as its oracle: archives of every kind, in pieces of any size."""

import io
import itertools
import random
import struct
import zipfile
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CorruptArchive, CorruptPicture, CutoutError, EntryRefused, UploadTooLarge
from app.web.request.zip_content import MAX_RATIO
from app.web.request.zip_stream import EntryBegun, EntryContent, EntryEnded, ZipStream
from tests.generated import examples
from tests.pictures import noise

LIMIT = 300_000
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
Entries = list[tuple[str, bytes | CutoutError | None]]


class Unseekable(io.RawIOBase):
    """A file that cannot be rewound, so that zipfile writes descriptors after the entries."""

    def __init__(self) -> None:
        self.written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        return self.written.write(content)  # type: ignore[call-overload]


def archive(
    files: Iterable[tuple[str, bytes]],
    method: int = zipfile.ZIP_DEFLATED,
    *,
    streamed: bool = False,
    zip64: bool = False,
) -> bytes:
    target = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as bundle:
        for name, content in files:
            with (
                bundle.open(zipfile.ZipInfo(name), "w", force_zip64=zip64)
                if zip64
                else bundle.open(_info(name, method), "w") as entry
            ):
                entry.write(content)
    return (target.written if isinstance(target, Unseekable) else target).getvalue()


def _info(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    return info


def read(
    packed: bytes, cuts: Iterable[int] = (), *, limit: int = LIMIT, skipped: frozenset[str] = frozenset()
) -> Entries:
    """Read an archive in pieces; the last entry has an error if the archive ends in it."""
    stream = ZipStream(limit)
    entries: Entries = []
    bounds = sorted({0, len(packed), *(cut % (len(packed) + 1) for cut in cuts)})
    content = io.BytesIO()

    def take(event: object) -> None:
        nonlocal content
        if isinstance(event, EntryBegun):
            entries.append((event.name, event.error))
            content = io.BytesIO()
            if event.name in skipped:
                stream.skip_entry()
        elif isinstance(event, EntryContent):
            assert 0 < len(event.content) <= 65536
            content.write(event.content)
        elif isinstance(event, EntryEnded) and entries[-1][1] is None:
            entries[-1] = entries[-1][0], event.error or content.getvalue()

    for start, end in itertools.pairwise(bounds):
        for event in stream.feed(packed[start:end]):
            take(event)
    for event in stream.close():
        take(event)
    return entries


def oracle(packed: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(packed)) as bundle:
        return [(info.filename, bundle.read(info)) for info in bundle.infolist()]


names = st.text(st.characters(codec="utf-8", exclude_characters="\\/\0"), min_size=1, max_size=20)
contents = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda size, seed: noise((size,), seed).tobytes(), st.integers(0, 200_000), st.integers(0, 9)),
    st.builds(lambda size: b"ab" * size, st.integers(0, 60_000)),
    st.builds(lambda inner: archive([("inner", inner)], streamed=True), st.binary(max_size=50)),
)


@examples(0.5)
@given(
    st.dictionaries(names, contents, max_size=6),
    st.sampled_from(METHODS),
    st.booleans(),
    st.lists(st.integers(0, 2**20), max_size=30),
)
def test_an_archive_is_read_as_zipfile_reads_it(
    files: dict[str, bytes], method: int, streamed: bool, cuts: list[int]
) -> None:
    packed = archive(files.items(), method, streamed=streamed)

    assert oracle(packed) == read(packed, cuts)


def test_an_archive_may_arrive_byte_by_byte() -> None:
    files = [("a", b"first"), ("b", bytes(1000)), ("c", archive([("d", b"nested")], streamed=True))]
    for method in METHODS:
        packed = archive(files, method, streamed=True)

        assert oracle(packed) == read(packed, range(len(packed)))


@pytest.mark.parametrize("streamed", [False, True])
def test_sizes_of_zip64_are_read(streamed: bool) -> None:
    packed = archive([("a", noise((5000,)).tobytes()), ("b", b"second")], streamed=streamed, zip64=True)

    assert oracle(packed) == read(packed, range(0, len(packed), 7))


@examples(1)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from(METHODS),
)
def test_a_damaged_archive_raises_only_our_errors(
    seed: int, changes: list[tuple[int, int]], streamed: bool, method: int
) -> None:
    """And never yields a content that differs from an original one."""
    chooser = random.Random(seed)
    files = [(f"{i}.jpg", chooser.randbytes(chooser.randrange(3000))) for i in range(5)]
    packed = bytearray(archive(files, method, streamed=streamed))
    for position, value in changes:
        packed[position % len(packed)] = value
    try:
        entries = read(bytes(packed), [chooser.randrange(2**16) for _ in range(10)])
    except CorruptArchive:
        return

    originals = {content for _, content in files}
    assert all(content in originals for _, content in entries if isinstance(content, bytes))


@given(st.integers(0, 2**32), st.sampled_from(METHODS), st.booleans())
def test_a_truncated_archive_yields_the_entries_before_the_end(
    seed: int, method: int, streamed: bool
) -> None:
    packed = archive([(str(i), noise((2000,), i).tobytes()) for i in range(4)], method, streamed=streamed)
    directory_at = struct.unpack("<I", packed[-6:-2])[0]
    end = seed % directory_at

    with pytest.raises(CorruptArchive):
        read(packed[:end])


@given(st.binary(max_size=300))
def test_other_bytes_are_no_archive(sent: bytes) -> None:
    if sent[:2] != b"PK":
        with pytest.raises(CorruptArchive):
            read(sent)


def test_an_entry_with_a_wrong_checksum_does_not_affect_the_next() -> None:
    for method in METHODS:
        packed = bytearray(archive([("a", b"x" * 50), ("b", b"good")], method))
        packed[14] ^= 1  # the checksum of the first entry
        (_, error), second = read(bytes(packed))

        assert isinstance(error, CorruptPicture)
        assert second == ("b", b"good")


def test_a_damaged_deflate_stream_of_known_length_is_skipped() -> None:
    packed = bytearray(archive([("a", noise((5000,)).tobytes()), ("b", b"good")]))
    packed[31] = 0xFF  # the first byte of the stream: a block type that does not exist
    (_, error), second = read(bytes(packed))

    assert isinstance(error, CorruptPicture)
    assert second == ("b", b"good")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_file_over_the_limit_is_refused_and_skipped(streamed: bool) -> None:
    files = [("large", noise((LIMIT + 1,)).tobytes()), ("b", b"good")]
    for method in METHODS:
        (_, error), second = read(archive(files, method, streamed=streamed))

        assert isinstance(error, UploadTooLarge)
        assert second == ("b", b"good")


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    packed = archive([("bomb", bytes(10**7)), ("b", b"good")])
    (_, error), second = read(packed, limit=10**8)

    assert isinstance(error, EntryRefused)
    assert str(MAX_RATIO) in str(error)
    assert second == ("b", b"good")


def test_a_bomb_that_lies_about_its_size_is_inflated_up_to_the_limit_only() -> None:
    packed = bytearray(archive([("bomb", bytes(10**7)), ("b", b"good")]))
    packed[22:26] = struct.pack("<I", 1000)
    (_, error), second = read(bytes(packed))

    assert isinstance(error, UploadTooLarge)
    assert second == ("b", b"good")


def test_a_streamed_bomb_ends_the_archive_after_a_bounded_amount_of_work() -> None:
    packed = archive([("bomb", bytes(10**8))], streamed=True)
    stream = ZipStream(LIMIT)
    inflated: list[int] = []

    def inflate() -> None:
        inflated.extend(len(e.content) for e in stream.feed(packed) if isinstance(e, EntryContent))

    with pytest.raises(CorruptArchive):
        inflate()

    assert sum(inflated) <= LIMIT


def test_an_encrypted_entry_is_refused_and_skipped() -> None:
    packed = bytearray(archive([("a", b"secret"), ("b", b"good")], zipfile.ZIP_STORED))
    packed[6] |= 1
    (_, error), second = read(bytes(packed))

    assert isinstance(error, EntryRefused)
    assert second == ("b", b"good")


def test_an_encrypted_entry_without_an_end_is_named_as_the_reason() -> None:
    packed = bytearray(archive([("a", b"secret")], streamed=True))
    packed[6] |= 1

    with pytest.raises(CorruptArchive, match=r"encrypted.*rest of the ZIP"):
        read(bytes(packed))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_methods_are_refused_and_skipped(method: int) -> None:
    packed = archive([("a", b"x" * 500)], method)
    ((_, error),) = read(packed)

    assert isinstance(error, EntryRefused)


def test_a_skipped_entry_has_no_content() -> None:
    for streamed in (False, True):
        for method in METHODS:
            packed = archive([("a", b"first" * 99), ("b", b"second")], method, streamed=streamed)
            entries = read(packed, skipped=frozenset({"a"}))

            assert entries == [("a", b""), ("b", b"second")]


def test_names_are_utf8_or_code_page_437() -> None:
    shown = "Žluťoučký kůň.jpg"
    declared = archive([(shown, b"")])
    undeclared = bytearray(declared)
    undeclared[7] &= ~0x08
    old = archive([("abc.jpg", b"")]).replace(b"abc.jpg", b"\x81\x84\x94.jpg")

    assert [(shown, b"")] == read(declared) == read(bytes(undeclared))
    assert [("üäö.jpg", b"")] == read(old)


def test_a_stored_entry_with_signatures_of_descriptors_in_it_is_read_to_its_end() -> None:
    content = b"PK\x07\x08" * 500 + struct.pack("<4sIII", b"PK\x07\x08", zlib.crc32(b""), 0, 0)
    packed = archive([("a", content), ("b", b"good")], zipfile.ZIP_STORED, streamed=True)

    assert [("a", content), ("b", b"good")] == read(packed, range(0, len(packed), 13))


def test_thousands_of_such_signatures_are_refused() -> None:
    packed = archive([("a", b"PK\x07\x08" * 10_000)], zipfile.ZIP_STORED, streamed=True)

    with pytest.raises(CorruptArchive):
        read(packed)


def test_the_reader_holds_no_more_than_a_slice() -> None:
    packed = archive([("a", noise((LIMIT,)).tobytes())])
    stream = ZipStream(LIMIT)
    largest = 0
    for start in range(0, len(packed), 1000):
        for _ in stream.feed(packed[start : start + 1000]):
            largest = max(largest, len(stream._buffer))

    assert largest <= 2000
