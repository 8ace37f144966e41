"""AV1: reads the size and colours of coded pictures from their sequence headers, without decoding.

The size that an AVIF declares and the size of the frames inside need not agree, and the decoder allocates
by the frames: 2 KB that declare 16 × 16 pixels can take 300 MB. Only the coded data contains the real size.
Section numbers are those of the AV1 Bitstream & Decoding Process Specification.
"""

from collections.abc import Iterator

from app.errors import CorruptPicture, PictureTooComplex
from app.imaging.formats.bits import Bits

_SEQUENCE_HEADER = 1  # obu_type, 6.2.2
_MAX_UNITS = 4096  # a still picture has three to a few hundred
_BROKEN = "The AVIF file's picture data is broken or cut off."


def largest_frame(coded: bytes) -> tuple[int, int]:
    """Return (width, height) of the largest frame that any sequence header in AV1 data allows.

    Raises:
        CorruptPicture: The data has no sequence header, or is broken.
        PictureTooComplex: The data has more units than any still picture.
    """
    sizes = [_frame_size(coded[start:end]) for kind, start, end in _units(coded) if kind == _SEQUENCE_HEADER]
    if not sizes:
        raise CorruptPicture(_BROKEN)
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def code_points(coded: bytes) -> tuple[int, int] | None:
    """Return the colour primaries and transfer characteristics (ITU-T H.273) that AV1 data declares.

    Returns:
        Those of the first sequence header, ``None`` if it declares none.

    Raises:
        CorruptPicture, PictureTooComplex: As ``largest_frame``.
    """
    headers = (coded[start:end] for kind, start, end in _units(coded) if kind == _SEQUENCE_HEADER)
    header = next(headers, None)
    return None if header is None else _colour_description(header)


def _units(coded: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of the open bitstream units (5.3)."""
    position = 0
    for _ in range(_MAX_UNITS):
        if position >= len(coded):
            return
        header = coded[position]
        start, end = position + (2 if header & 4 else 1), len(coded)
        if header & 2:
            length, start = _leb128(coded, start)
            end = start + length
        if header & 0x80 or end > len(coded):
            raise CorruptPicture(_BROKEN)
        yield header >> 3 & 15, start, end
        position = end
    raise PictureTooComplex("The AVIF file's picture data comes in too many pieces. Save it anew.")


def _leb128(coded: bytes, position: int) -> tuple[int, int]:
    """Read a little-endian number of 7 bits a byte (4.10.5); return it and its end position."""
    number = 0
    for i, byte in enumerate(coded[position : position + 8]):
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            return number, position + i + 1
    raise CorruptPicture(_BROKEN)


def _frame_size(header: bytes) -> tuple[int, int]:
    """Read max_frame_width and max_frame_height of a sequence header."""
    bits = Bits(header, _BROKEN)
    _skip_to_size(bits)
    return _take_size(bits)


def _skip_to_size(bits: Bits) -> tuple[int, bool]:
    """Read a sequence header (5.5.1) up to the frame size; return seq_profile and whether it is reduced."""
    profile = bits.take(3)
    bits.take(1)  # still_picture
    is_reduced = bool(bits.take(1))  # reduced_still_picture_header
    if is_reduced:
        bits.take(5)  # seq_level_idx
    else:
        _skip_operating_points(bits)
    return profile, is_reduced


def _take_size(bits: Bits) -> tuple[int, int]:
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


def _colour_description(header: bytes) -> tuple[int, int] | None:
    """Read color_primaries and transfer_characteristics of a sequence header (5.5.2)."""
    bits = Bits(header, _BROKEN)
    profile, is_reduced = _skip_to_size(bits)
    _take_size(bits)
    if not is_reduced and bits.take(1):  # frame_id_numbers_present_flag
        bits.take(7)  # their lengths
    bits.take(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not is_reduced:
        _skip_inter_tools(bits)
    bits.take(3)  # enable_superres, enable_cdef, enable_restoration
    if bits.take(1) and profile == 2:  # high_bitdepth
        bits.take(1)  # twelve_bit
    if profile != 1:
        bits.take(1)  # mono_chrome
    return (bits.take(8), bits.take(8)) if bits.take(1) else None  # color_description_present_flag


def _skip_inter_tools(bits: Bits) -> None:
    """Skip the fields that a reduced header omits, from enable_interintra_compound to order_hint_bits."""
    bits.take(4)  # compounds, warped motion, dual filter
    has_order = bits.take(1)  # enable_order_hint
    bits.take(2 * has_order)  # enable_jnt_comp, enable_ref_frame_mvs
    has_screen_tools = bits.take(1) or bits.take(1)  # seq_choose_ or seq_force_screen_content_tools
    if has_screen_tools and not bits.take(1):  # seq_choose_integer_mv
        bits.take(1)  # seq_force_integer_mv
    bits.take(3 * has_order)  # order_hint_bits_minus_1


def _skip_operating_points(bits: Bits) -> None:
    delay_bits = None
    if bits.take(1):  # timing_info_present_flag
        bits.take(64)  # num_units_in_display_tick, time_scale
        if bits.take(1):  # equal_picture_interval
            bits.skip_uvlc()
        if bits.take(1):  # decoder_model_info_present_flag
            delay_bits = bits.take(5) + 1
            bits.take(42)  # num_units_in_decoding_tick and two lengths
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)  # operating_point_idc
        if bits.take(5) > 7:  # seq_level_idx
            bits.take(1)  # seq_tier
        if delay_bits is not None and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
