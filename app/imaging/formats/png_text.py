"""PNG text: measures the compressed comments of a PNG, without keeping them.

A kilobyte of zTXt can inflate to a megabyte of text. The server never uses it, and the decoder never gets it;
but a file with more text than any writer would put there is made to do harm, and is refused.
"""

import zlib

from app.errors import PictureTooComplex
from app.imaging.formats.containers import Segment, png_chunks

MAX_TEXT_BYTES = 1024 * 1024
"""Maximum inflated size of all compressed comments of a file together."""
_SLICE_BYTES = 64 * 1024
_MAX_RATIO = 1032  # of deflate: bounds the inflated size of a stream that broke off
_MIN_BYTES = 64  # minimum that a comment counts: starting a decompressor costs time too


def check_texts(upload: bytes) -> None:
    """Refuse a PNG whose compressed comments are longer than ``MAX_TEXT_BYTES``.

    A comment that breaks off counts with the maximum that may have been inflated until then.

    Raises:
        PictureTooComplex: They are longer, or the file has more than ``MAX_SEGMENTS`` chunks.
    """
    remaining = MAX_TEXT_BYTES
    for chunk in png_chunks(upload):
        deflated = _deflated(upload, chunk)
        if deflated:
            remaining -= max(_MIN_BYTES, _inflated_bytes(deflated, remaining))
            if remaining < 0:
                raise PictureTooComplex(
                    f"The PNG file's compressed comments are longer than {MAX_TEXT_BYTES} bytes. "
                    "Save it without them."
                )


def _deflated(upload: bytes, chunk: Segment) -> bytes:
    """Return the compressed text of a zTXt chunk, or of a compressed iTXt chunk; empty for any other."""
    if chunk.name not in (b"zTXt", b"iTXt"):
        return b""
    _, _, rest = upload[chunk.start : chunk.end].partition(b"\x00")  # the keyword
    if chunk.name == b"zTXt":
        return rest[1:]  # the method
    is_compressed, rest = rest[:1] == b"\x01", rest[2:]
    return rest.split(b"\x00", 2)[-1] if is_compressed else b""  # the language, and the translated keyword


def _inflated_bytes(deflated: bytes, maximum: int) -> int:
    """Return the inflated size of a text; if it exceeds ``maximum``, any number that does."""
    decompressor, total = zlib.decompressobj(), 0
    for start in range(0, len(deflated), _SLICE_BYTES):  # in slices, since each unconsumed tail is copied
        pending, size = deflated[start : start + _SLICE_BYTES], _SLICE_BYTES
        # After an output of the maximum size more may follow, even if the input is used up.
        while not decompressor.eof and total <= maximum and (pending or size == _SLICE_BYTES):
            try:
                size = len(decompressor.decompress(pending, _SLICE_BYTES))
            except zlib.error:
                return total + min(_SLICE_BYTES, _MAX_RATIO * len(pending))
            total += size
            pending = decompressor.unconsumed_tail
        if decompressor.eof or total > maximum:
            break
    return total
