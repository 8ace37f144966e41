"""Texts: the compressed comments of a PNG are measured, never kept.

A kilobyte of zTXt can be a megabyte of text. Nobody here reads it, and what reads pictures does not get to
see it; but a file that holds more than any writer would have to say is made to harm, and is refused.
"""

import zlib

from app.errors import PictureTooComplex
from app.imaging.containers import Part, png_chunks

MAX_TEXT_BYTES = 1024 * 1024
"""Of all compressed comments of a file together, inflated."""
_PIECE_BYTES = 64 * 1024


def check_texts(upload: bytes) -> None:
    """Refuse a PNG whose compressed comments are longer than ``MAX_TEXT_BYTES``; broken ones count too.

    Raises:
        PictureTooComplex: They are, or there are more than ``MAX_PARTS`` chunks.
    """
    left = MAX_TEXT_BYTES
    for chunk in png_chunks(upload):
        deflated = _deflated(upload, chunk)
        if deflated:
            left = _measured(deflated, left)


def _deflated(upload: bytes, chunk: Part) -> bytes:
    """Return the compressed part of a zTXt chunk, or of an iTXt chunk that has one; empty without."""
    if chunk.name not in (b"zTXt", b"iTXt"):
        return b""
    _, _, rest = upload[chunk.start : chunk.end].partition(b"\x00")  # the keyword
    if chunk.name == b"zTXt":
        return rest[1:]  # the method
    is_compressed, rest = rest[:1] == b"\x01", rest[2:]
    return rest.split(b"\x00", 2)[-1] if is_compressed else b""  # the language, and the keyword in it


def _measured(deflated: bytes, left: int) -> int:
    """Inflate a text piece by piece, and return how many bytes others may still have."""
    inflating, size = zlib.decompressobj(), _PIECE_BYTES
    # A piece as long as it may be can have more behind it, though its input is used up.
    while not inflating.eof and (deflated or size == _PIECE_BYTES):
        try:
            size = len(inflating.decompress(deflated, _PIECE_BYTES))
        except zlib.error:
            return left
        left -= size
        if left < 0:
            raise PictureTooComplex(
                f"The PNG file's compressed comments are longer than {MAX_TEXT_BYTES} bytes. "
                "Save it without them."
            )
        deflated = inflating.unconsumed_tail
    return left
