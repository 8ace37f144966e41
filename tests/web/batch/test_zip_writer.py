import io
import zipfile
import zlib

from hypothesis import given
from hypothesis import strategies as st

from app.web.batch import zip_writer
from app.web.batch.zip_writer import ZipWriter
from app.web.request.zip_stream import EntryContent, ZipStream
from tests.generated import examples

names = st.text(st.characters(codec="utf-8", exclude_characters="\\/\0"), min_size=1, max_size=30)


def write(files: dict[str, bytes]) -> bytes:
    writer, written = ZipWriter(), io.BytesIO()
    for name, content in files.items():
        written.write(writer.entry(name, size_bytes=len(content), crc=zlib.crc32(content)))
        written.write(content)
    return written.getvalue() + writer.end()


@examples(0.5)
@given(st.dictionaries(names, st.binary(max_size=100), max_size=5))
def test_zipfile_reads_what_is_written(files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(write(files))) as bundle:
        assert bundle.testzip() is None
        assert files == {name: bundle.read(name) for name in bundle.namelist()}


def test_the_zip_can_be_read_while_it_arrives() -> None:
    events = ZipStream(1000).feed(write({"a": b"first", "b": b"second"}))

    assert [b"first", b"second"] == [e.content for e in events if isinstance(e, EntryContent)]


def test_more_entries_than_16_bits_count_are_read() -> None:
    files = {str(number): b"" for number in range(70_000)}
    with zipfile.ZipFile(io.BytesIO(write(files))) as bundle:
        assert len(bundle.namelist()) == 70_000


def test_an_entry_behind_four_gibibytes_is_found() -> None:
    """Its bytes are a hole in a file that is not written here: zipfile reads only what it seeks to."""
    size = 5 * 2**30
    writer = ZipWriter()
    large = writer.entry("large", size_bytes=size, crc=0)
    small = writer.entry("small", size_bytes=5, crc=zlib.crc32(b"small"))
    end = writer.end()
    with zipfile.ZipFile(_Sparse({0: large, len(large) + size: small + b"small" + end})) as bundle:
        assert bundle.getinfo("large").file_size == size
        assert bundle.read("small") == b"small"


def test_the_same_files_give_the_same_bytes() -> None:
    assert write({"a": b"x"}) == write({"a": b"x"})
    assert zip_writer._EARLIEST_DATE == 0x21


class _Sparse(io.RawIOBase):
    """A file of zeros, except for some bytes."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self._pieces = pieces
        self._position = 0
        self._size = max(start + len(piece) for start, piece in pieces.items())

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._position + size)
        content = bytearray(max(0, end - self._position))
        for start, piece in self._pieces.items():
            first, last = max(start, self._position), min(start + len(piece), end)
            if first < last:
                content[first - self._position : last - self._position] = piece[first - start : last - start]
        self._position = end
        return bytes(content)
