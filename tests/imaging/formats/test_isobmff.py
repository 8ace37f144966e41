import io
import struct

import numpy as np
import pytest
from PIL import AvifImagePlugin

from app.errors import CorruptPicture, CutoutError, PictureTooComplex
from app.imaging.formats.containers import Segment
from app.imaging.formats.isobmff import (
    Item,
    brands,
    coded_data,
    declared_orientation,
    declared_size,
    read_boxes,
)
from app.imaging.formats.orientation import turn_upright
from tests.pictures import avif, heic, noise, photo, png

PICTURE = photo(34, 52)


def test_the_brands_of_a_file_are_read() -> None:
    assert {b"avif", b"mif1"} <= brands(avif(PICTURE))
    assert frozenset() == brands(png(PICTURE))


def test_the_main_picture_has_its_size_and_its_bytes() -> None:
    upload = avif(PICTURE)
    boxes = read_boxes(upload)
    main = boxes.items[boxes.main]

    assert (b"av01", (52, 34)) == (main.kind, declared_size(upload, main))
    assert upload.endswith(coded_data(upload, main))


def test_transparency_is_a_separate_item() -> None:
    boxes = read_boxes(avif(noise((34, 52, 4))))

    assert [b"av01", b"av01"] == [item.kind for item in boxes.items.values()]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_an_avif_agrees_with_pillow(orientation: int) -> None:
    upload = avif(PICTURE, exif_orientation=orientation)
    boxes = read_boxes(upload)
    with AvifImagePlugin.AvifImageFile(io.BytesIO(upload)) as opened_image:
        expected = opened_image.getexif().get(0x0112, 1)

    assert orientation == expected == declared_orientation(upload, boxes.items[boxes.main])


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_irot_and_imir_are_converted_to_an_exif_orientation(turns: int, mirror: int | None) -> None:
    properties = [Segment(b"irot", 0, 1)] + ([] if mirror is None else [Segment(b"imir", 1, 2)])
    orientation = declared_orientation(bytes((turns, mirror or 0)), Item(b"av01", 0, tuple(properties)))
    rotated = np.rot90(PICTURE, turns)
    expected = rotated if mirror is None else np.flip(rotated, axis=mirror)

    assert np.array_equal(expected, turn_upright(PICTURE, orientation))


def test_a_heic_declares_its_size_and_orientation() -> None:
    pytest.importorskip("pillow_heif")
    upload = heic(photo(64, 128), exif_orientation=6)
    boxes = read_boxes(upload)
    main = boxes.items[boxes.main]

    assert (b"hvc1", 6, (128, 64)) == (
        main.kind,
        declared_orientation(upload, main),
        declared_size(upload, main),
    )


def test_a_file_cut_anywhere_raises_only_cutout_errors() -> None:
    upload = avif(noise((34, 52, 4)), exif_orientation=3)
    for kept in range(min(len(upload), 900)):
        try:
            boxes = read_boxes(upload[:kept])
        except CutoutError:
            continue

        assert declared_size(upload[:kept], boxes.items[boxes.main]) == (52, 34)


def test_a_file_without_a_main_picture_is_corrupt() -> None:
    with pytest.raises(CorruptPicture):
        read_boxes(_box(b"ftyp", b"avif") + _box(b"meta", bytes(4)))


def test_overlong_lists_are_too_complex() -> None:
    for lists in (
        {b"iinf": bytes(4) + struct.pack(">H", 5000) + _box(b"infe", bytes(20)) * 5000},
        {b"iloc": bytes(300_000)},
        {b"iprp": _box(b"ipco", _box(b"free", b"") * 5000) + _box(b"ipma", bytes(8))},
        {b"iprp": _box(b"ipco", b"") + _box(b"ipma", bytes(300_000))},
    ):
        with pytest.raises(PictureTooComplex):
            read_boxes(_file(**{name.decode(): payload for name, payload in lists.items()}))


def test_partly_overlapping_items_are_too_complex() -> None:
    """A thousand items over nearly the same 20 MB would be read a thousand times."""
    for starts, is_refused in (((0, 0), False), ((0,) * 9, False), ((0, 1), False), ((0, 1, 2), True)):
        locations = b"".join(struct.pack(">HHHII", n, 0, 1, start, 0) for n, start in enumerate(starts, 1))
        listed = _item_list(*range(1, 1 + len(starts)))
        upload = _file(iinf=listed, iloc=struct.pack(">IHH", 0, 0x4400, len(starts)) + locations)
        if not is_refused:
            assert len(read_boxes(upload).items) == len(starts)
            continue
        with pytest.raises(PictureTooComplex):
            read_boxes(upload)


def test_references_between_items_are_read() -> None:
    for version, form in ((0, "H"), (1, "I")):
        boxes = (("dimg", 1, (2, 3)), ("auxl", 2, (1,)), ("dimg", 1, (3,)), ("thmb", 7, ()))
        payload = b"".join(
            _box(name.encode(), struct.pack(f">{form}H{len(to)}{form}", number, len(to), *to))
            for name, number, to in boxes
        )
        expected = {(b"dimg", 1): (2, 3, 3), (b"auxl", 2): (1,), (b"thmb", 7): ()}

        assert expected == read_boxes(_file(iref=bytes((version, 0, 0, 0)) + payload)).references


def test_countless_empty_extents_are_corrupt() -> None:
    locations = b"".join(struct.pack(">HHH", number, 0, 65_535) for number in range(60))
    with pytest.raises(CorruptPicture):
        read_boxes(_file(iloc=struct.pack(">IHH", 0, 0, 60) + locations))


def _file(**replaced: bytes) -> bytes:
    """Build a file of one item, with some of its lists replaced."""
    lists = {
        "pitm": struct.pack(">IH", 0, 1),
        "iinf": _item_list(1),
        "iprp": _box(b"ipco", b"") + _box(b"ipma", bytes(8)),
        "iloc": struct.pack(">IHH", 0, 0x4400, 0),
        **replaced,
    }
    meta = bytes(4) + b"".join(_box(name.encode(), payload) for name, payload in lists.items())
    return _box(b"ftyp", b"avif\x00\x00\x00\x00avif") + _box(b"meta", meta)


def _item_list(*numbers: int) -> bytes:
    entries = (_box(b"infe", struct.pack(">BxxxHH4sx", 2, number, 0, b"av01")) for number in numbers)
    return bytes(4) + struct.pack(">H", len(numbers)) + b"".join(entries)


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload
