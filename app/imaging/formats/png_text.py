"""Texts: the compressed comments of a PNG are measured, never kept.

A kilobyte of zTXt can be a megabyte of text. Nobody here reads it, and what reads pictures does not get to
see it; but a file that holds more than any writer would have to say is made to harm, and is refused.
"""

import zlib

from app.errors import PictureTooComplex
from app.imaging.formats.containers import Part, png_chunks

MAX_TEXT_BYTES = 1024 * 1024
"""Of all compressed comments of a file together, inflated."""
_PIECE_BYTES = 64 * 1024
_MAX_RATIO = 1032  # of deflate: what so many bytes may have been inflated to before they broke off
_MIN_BYTES = 64  # what any comment counts as: setting out to inflate it is work too


def check_texts(upload: bytes) -> None:
    """Refuse a PNG whose compressed comments are longer than ``MAX_TEXT_BYTES``.

    One that breaks off counts as what may have been inflated of it until then.

    Raises:
        PictureTooComplex: They are, or there are more than ``MAX_PARTS`` chunks.
    """
    left = MAX_TEXT_BYTES
    for chunk in png_chunks(upload):
        deflated = _deflated(upload, chunk)
        if deflated:
            left -= max(_MIN_BYTES, _measured(deflated, left))
            if left < 0:
                raise PictureTooComplex(
                    f"The PNG file's compressed comments are longer than {MAX_TEXT_BYTES} bytes. "
                    "Save it without them."
                )


def _deflated(upload: bytes, chunk: Part) -> bytes:
    """Return the compressed part of a zTXt chunk, or of an iTXt chunk that has one; empty without."""
    if chunk.name not in (b"zTXt", b"iTXt"):
        return b""
    _, _, rest = upload[chunk.start : chunk.end].partition(b"\x00")  # the keyword
    if chunk.name == b"zTXt":
        return rest[1:]  # the method
    is_compressed, rest = rest[:1] == b"\x01", rest[2:]
    return rest.split(b"\x00", 2)[-1] if is_compressed else b""  # the language, and the keyword in it


def _measured(deflated: bytes, maximum: int) -> int:
    """Return how many bytes a text inflates to; beyond ``most``, any number that is more."""
    inflating, total = zlib.decompressobj(), 0
    for start in range(0, len(deflated), _PIECE_BYTES):  # in pieces, as what is left of each is copied
        waiting, size = deflated[start : start + _PIECE_BYTES], _PIECE_BYTES
        # A piece as long as it may be can have more behind it, though its input is used up.
        while not inflating.eof and total <= maximum and (waiting or size == _PIECE_BYTES):
            try:
                size = len(inflating.decompress(waiting, _PIECE_BYTES))
            except zlib.error:
                return total + min(_PIECE_BYTES, _MAX_RATIO * len(waiting))
            total += size
            waiting = inflating.unconsumed_tail
        if inflating.eof or total > maximum:
            break
    return total
