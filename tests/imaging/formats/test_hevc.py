import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CorruptPicture, CutoutError, PictureTooComplex
from app.imaging.formats.hevc import sizes_in_configuration, sizes_in_data

PROFILE = "0" * 88 + "00011110"  # general profile, and level 30


def golomb(number: int) -> str:
    """Encode a number as exponential-Golomb code (9.2)."""
    digits = f"{number + 1:b}"
    return "0" * (len(digits) - 1) + digits


def parameters(width: int, height: int, *, layers: str = "", chroma: int = 1, layer_id: int = 0) -> bytes:
    """Build a sequence parameter set; ``layers`` has a 1 for each sub-layer with all optional fields."""
    bits = "0000" + f"{len(layers):03b}" + "1" + PROFILE
    bits += "".join(2 * one for one in layers)
    bits += "00" * (8 - len(layers)) if layers else ""
    bits += "".join("0" * 96 for one in layers if one == "1")
    bits += golomb(0) + golomb(chroma) + ("0" if chroma == 3 else "") + golomb(width) + golomb(height) + "1"
    padded = bits + "0" * (-len(bits) % 8)
    payload = int(padded, 2).to_bytes(len(padded) // 8, "big")
    return bytes((33 << 1 | layer_id >> 5, (layer_id & 31) << 3 | 1)) + escaped(payload)


def escaped(payload: bytes) -> bytes:
    """Insert a 3 after two zeros that a number below 4 follows (7.4.2)."""
    escaped_payload, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            escaped_payload.append(3)
            zeros = 0
        escaped_payload.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(escaped_payload)


def configuration(*units: bytes, length_bytes: int = 4) -> bytes:
    """Build the payload of an ``hvcC``, with an array for each unit."""
    arrays = b"".join(bytes((33,)) + struct.pack(">HH", 1, len(unit)) + unit for unit in units)
    return bytes(21) + bytes((length_bytes - 1, len(units))) + arrays


def data(*units: bytes) -> bytes:
    """Join units, each after its length."""
    return b"".join(struct.pack(">I", len(unit)) + unit for unit in units)


@pytest.mark.parametrize("layers", ["", "0", "1", "010", "111111"])
@pytest.mark.parametrize("chroma", [0, 1, 3])
@pytest.mark.parametrize("size", [(8, 8), (4032, 3024), (65_535, 8), (256, 65_535)])
def test_every_form_of_the_parameter_set_is_read(layers: str, chroma: int, size: tuple[int, int]) -> None:
    unit = parameters(*size, layers=layers, chroma=chroma)

    assert [size] == sizes_in_configuration(configuration(unit))
    assert [size] == sizes_in_data(data(b"\x40\x01", unit, b"\x26\x01" + bytes(3000)))


def test_units_of_other_layers_or_types_are_skipped() -> None:
    other = parameters(8, 8, layer_id=40), parameters(8, 8, layer_id=1), b"\x44\x01abc", b"B"

    assert sizes_in_configuration(configuration(*other)) == sizes_in_data(data(*other)) == []


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(22),
        configuration(parameters(8, 8), length_bytes=1),
        configuration(parameters(8, 8))[:-4],
        configuration(parameters(8, 8)[:12]),
        configuration(parameters(0, 8)),
        configuration(parameters(8, 70_000)),
    ],
)
def test_a_broken_configuration_is_corrupt(broken: bytes) -> None:
    with pytest.raises(CorruptPicture):
        sizes_in_configuration(broken)


def test_countless_units_are_too_complex() -> None:
    with pytest.raises(PictureTooComplex):
        sizes_in_data(bytes(4) * 5000)


@given(st.binary(max_size=80), st.integers(0, 80))
def test_any_bytes_raise_only_cutout_errors(junk: bytes, kept: int) -> None:
    unit = parameters(64, 64, layers="11")[:kept]
    for read, content in (
        (sizes_in_data, junk),
        (sizes_in_data, data(unit + junk)),
        (sizes_in_configuration, bytes(21) + b"\x03" + junk),
        (sizes_in_configuration, configuration(unit + junk)),
    ):
        try:
            sizes = read(content)
        except CutoutError:
            continue
        assert all(0 < side < 65_536 for size in sizes for side in size)
