"""Damage: generates uploads of every format with some bytes overwritten."""

from hypothesis import strategies as st

from app.arrays import Rgb
from tests.pictures import avif, gif, jpeg, png, webp


def damaged(pixels: Rgb, *, before: int) -> st.SearchStrategy[bytes]:
    """Generate a picture in one of the formats with up to eight bytes overwritten, up to ``before``."""
    uploads = [
        jpeg(pixels),
        jpeg(pixels, progressive=True),
        png(pixels),
        webp(pixels),
        gif(pixels),
        avif(pixels),
    ]

    def overwritten(upload: bytes, position: int, junk: bytes) -> bytes:
        return upload[:position] + junk + upload[position + len(junk) :]

    return st.builds(
        overwritten, st.sampled_from(uploads), st.integers(0, before), st.binary(min_size=1, max_size=8)
    )
