import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CorruptPicture, CutoutError, PictureTooComplex
from app.imaging.formats.av1 import code_points, largest_frame
from app.imaging.formats.isobmff import coded_data, read_boxes
from tests.pictures import avif, photo

STILL, NOT_REDUCED, REDUCED = "0001", "0", "1"
LEVEL_0, LEVEL_31, IDC = "00000", "11111", "0" * 12
TICKS = "0" * 64
SIZE = f"{11:04b}{9:04b}{4031:012b}{1023:010b}"  # 12 and 10 bits hold 4032 - 1 and 1024 - 1
FORMS = {
    "reduced": STILL + REDUCED + LEVEL_0,
    "one point": STILL + NOT_REDUCED + "0" + "0" + "00000" + IDC + LEVEL_0,
    "tier": STILL + NOT_REDUCED + "0" + "0" + "00000" + IDC + LEVEL_31 + "1",
    "display delay": STILL + NOT_REDUCED + "0" + "1" + "00000" + IDC + LEVEL_0 + "1" + "0101",
    "timing": STILL + NOT_REDUCED + "1" + TICKS + "0" + "0" + "0" + "00000" + IDC + LEVEL_0,
    "even ticks": STILL + NOT_REDUCED + "1" + TICKS + "1" + "00110" + "0" + "0" + "00000" + IDC + LEVEL_0,
    "model of two points": STILL + NOT_REDUCED + "1" + TICKS + "0"
    + "1" + "00011" + "0" * 42 + "0" + "00001" + (IDC + LEVEL_0 + "1" + "101010101") + (IDC + LEVEL_0 + "0"),
}  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(1, 1), (34, 52), (300, 2000)])
def test_the_frame_has_the_size_of_the_encoded_picture(height: int, width: int) -> None:
    assert (width, height) == largest_frame(_coded(height, width))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_sequence_header_is_read(form: str) -> None:
    assert (4032, 1024) == largest_frame(_unit(1, FORMS[form] + SIZE))


def test_the_largest_of_several_sequence_headers_counts() -> None:
    small = STILL + REDUCED + LEVEL_0 + "0000" + "0000" + "1" + "1"

    assert (4032, 1024) == largest_frame(_unit(1, small) + _unit(1, FORMS["reduced"] + SIZE) + _unit(6, ""))


# Fields of 5.5.1 and 5.5.2, from frame_id_numbers_present_flag on.
TOOLS = "101"
SEQUENCE_TOOLS = {
    "none": "0" + TOOLS + "0000" + "0" + "1" + "1",
    "all": "1" + "0011010" + TOOLS + "1111" + "1" + "11" + "0" + "1" + "0" + "1" + "110",
    "order alone": "0" + TOOLS + "0000" + "1" + "10" + "0" + "0" + "111",
}
P3_PQ = "1" + f"{12:08b}{16:08b}{9:08b}"
DEPTHS = {
    "8 bits": ("0", "0" + "0"),
    "10 bits": ("0", "1" + "0"),
    "4:4:4": ("1", "1"),
    "12 bits": ("2", "11" + "1"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tools", SEQUENCE_TOOLS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_code_points_are_read_in_every_form_of_the_sequence_header(form: str, tools: str, depth: str) -> None:
    profile, bits = DEPTHS[depth]
    between = TOOLS if form == "reduced" else SEQUENCE_TOOLS[tools]
    header = f"{int(profile):03b}" + FORMS[form][3:] + SIZE + between + "010" + bits

    assert (12, 16) == code_points(_unit(2, "") + _unit(1, header + P3_PQ))
    assert code_points(_unit(1, header + "0")) is None


def test_data_without_a_sequence_header_is_corrupt() -> None:
    with pytest.raises(CorruptPicture):
        largest_frame(_unit(2, "") + _unit(6, "10101010"))


def test_countless_units_are_too_complex() -> None:
    with pytest.raises(PictureTooComplex):
        largest_frame(_unit(2, "") * 5000)


@given(data=st.binary(max_size=60), kept=st.integers(0, 500))
def test_any_bytes_raise_only_cutout_errors(data: bytes, kept: int) -> None:
    for coded in (data, b"\x0a" + data, _coded(34, 52)[:kept]):
        try:
            code_points(coded)
            width, height = largest_frame(coded)
        except CutoutError:
            continue

        assert width > 0 < height


def _coded(height: int, width: int) -> bytes:
    upload = avif(photo(height, width))
    boxes = read_boxes(upload)
    return coded_data(upload, boxes.items[boxes.main])


def _unit(kind: int, bits: str) -> bytes:
    padded = bits + "0" * (-len(bits) % 8)
    payload = int(padded or "0", 2).to_bytes(len(padded) // 8, "big")
    return bytes((kind << 3 | 2, len(payload))) + payload
