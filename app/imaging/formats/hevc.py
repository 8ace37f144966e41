"""HEVC: reads the frame size of coded pictures from their sequence parameter sets, without decoding.

As with AV1, a file's boxes may declare one size and its data another, and the decoder allocates by the data.
Parameter sets are in the item's ``hvcC`` property (ISO 14496-15, 8.3.3), and may also be in the data.
Section numbers are those of ITU-T H.265.
"""

from collections.abc import Iterator

from app.errors import CorruptPicture, PictureTooComplex
from app.imaging.formats.bits import Bits

_SEQUENCE_PARAMETERS = 33  # nal_unit_type, 7.4.2.2
_MAX_UNITS = 4096  # a still picture has a few to a few hundred
_MAX_SIDE_PX = 65_535
_CONFIGURATION_BYTES = 23
_LENGTH_BYTES = 4  # before each unit; libheif supports no other
_BROKEN = "The HEIC file's picture data is broken or cut off."


def sizes_in_configuration(configuration: bytes) -> list[tuple[int, int]]:
    """Return (width, height) of the frames that an item's ``hvcC`` allows.

    Raises:
        CorruptPicture: The configuration is broken, or the data's units have no four-byte lengths.
        PictureTooComplex: The configuration has more units than any still picture.
    """
    if len(configuration) < _CONFIGURATION_BYTES or (configuration[21] & 3) + 1 != _LENGTH_BYTES:
        raise CorruptPicture(_BROKEN)
    return [_frame_size(unit) for unit in _configured(configuration) if _is_sequence_parameters(unit)]


def sizes_in_data(coded: bytes) -> list[tuple[int, int]]:
    """Return (width, height) of the frames that parameter sets in an item's data allow; most have none.

    Raises:
        CorruptPicture: A parameter set is broken.
        PictureTooComplex: The data has more units than any still picture.
    """
    return [_frame_size(unit) for unit in _units(coded) if _is_sequence_parameters(unit)]


def _configured(configuration: bytes) -> Iterator[bytes]:
    """Yield the units of a configuration, which are stored in arrays of one type each."""
    position = _CONFIGURATION_BYTES
    for _ in range(configuration[22]):
        count = int.from_bytes(configuration[position + 1 : position + 3], "big")
        if count > _MAX_UNITS:
            raise PictureTooComplex("The HEIC file's picture data comes in too many pieces. Save it anew.")
        position += 3
        for _ in range(count):
            start = position + 2
            position = start + int.from_bytes(configuration[position:start], "big")
            if position > len(configuration):
                raise CorruptPicture(_BROKEN)
            yield configuration[start:position]


def _units(coded: bytes) -> Iterator[bytes]:
    """Yield the first bytes of each unit of coded data; a unit follows its length."""
    position = 0
    for _ in range(_MAX_UNITS):
        start = position + _LENGTH_BYTES
        if start > len(coded):
            return
        position = start + int.from_bytes(coded[position:start], "big")
        yield coded[start : min(position, start + 512)]
    raise PictureTooComplex("The HEIC file's picture data comes in too many pieces. Save it anew.")


def _is_sequence_parameters(unit: bytes) -> bool:
    """Return whether a unit is a sequence parameter set of the base layer (7.3.1.2)."""
    return len(unit) > 2 and unit[0] >> 1 & 63 == _SEQUENCE_PARAMETERS and not (unit[0] & 1 or unit[1] >> 3)


def _frame_size(unit: bytes) -> tuple[int, int]:
    """Read pic_width_in_luma_samples and pic_height_in_luma_samples (7.3.2.2)."""
    bits = Bits(unit[2:].replace(b"\x00\x00\x03", b"\x00\x00"), _BROKEN)
    bits.take(4)  # sps_video_parameter_set_id
    sub_layers = bits.take(3)
    bits.take(1)  # sps_temporal_id_nesting_flag
    bits.take(96)  # general profile and level (7.3.3)
    presence = [(bits.take(1), bits.take(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.take(2 * (8 - sub_layers))  # reserved
    for has_profile, has_level in presence:
        bits.take(88 * has_profile + 8 * has_level)
    bits.take_exp_golomb()  # sps_seq_parameter_set_id
    if bits.take_exp_golomb() == 3:  # chroma_format_idc
        bits.take(1)  # separate_colour_plane_flag
    width, height = bits.take_exp_golomb(), bits.take_exp_golomb()
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
        raise CorruptPicture(_BROKEN)
    return width, height
