"""The pixels that a decoder makes of an AVIF or HEIC are known before decoding, or the file is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CorruptPicture, CutoutError, PictureTooComplex, PictureTooLarge
from app.imaging.formats.decode import decode
from app.imaging.formats.isobmff import coded_data, read_boxes
from app.imaging.formats.sniff import Header, check_size, sniff
from tests.generated import examples
from tests.grids import Tile, grid_of, single, tile_of
from tests.peaks import peak_bytes
from tests.pictures import avif, heic, noise, photo

SIDE = 64
LARGE_SIDE = 1024


def tiles_by_brand(side: int, *, channels: int = 3) -> dict[bytes, Tile]:
    """Return a coded picture of each kind, declared at its true size."""
    shape = (side, side) if channels == 1 else (side, side, channels)
    picture = np.zeros(shape, np.uint8) if side > SIDE else noise(shape)
    return {
        b"avif": tile_of(avif(picture), size=(side, side)),
        b"heic": tile_of(heic(picture), size=(side, side)),
    }


@pytest.fixture(params=[b"avif", b"heic"])
def brand(request: pytest.FixtureRequest) -> bytes:
    """Return the brand of either container."""
    if request.param == b"heic":
        pytest.importorskip("pillow_heif", reason="reading HEIC needs the extra cutout-server[heif]")
    return bytes(request.param)


@pytest.fixture
def tile(brand: bytes) -> Tile:
    """Return a small coded picture."""
    return tiles_by_brand(SIDE)[brand]


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "size"), [(1, 1, (64, 64)), (2, 3, (180, 120)), (4, 1, (50, 193))]
)
def test_a_grid_counts_with_the_sum_of_its_tiles(
    brand: bytes, tile: Tile, rows: int, columns: int, size: tuple[int, int], *, shares: bool, is_wide: bool
) -> None:
    count = rows * columns
    upload = grid_of(
        [tile] * count, rows=rows, columns=columns, size=size, shares=shares, is_wide=is_wide, brand=brand
    )
    header = sniff(upload)

    assert size == (header.width_px, header.height_px)
    assert count * SIDE * SIDE == header.held_px
    assert (size[1], size[0], 3) == decode(upload, header).rgb.shape


@pytest.mark.slow
def test_a_tile_much_larger_than_its_grid_counts_with_its_own_size(brand: bytes) -> None:
    """A kilobyte declared 64 × 64 pixels, and decoded to 56 megapixels."""
    large = tiles_by_brand(LARGE_SIDE)[brand]
    header = sniff(grid_of([large], rows=1, columns=1, size=(64, 64), brand=brand))

    assert (64, 64) == (header.width_px, header.height_px)
    assert LARGE_SIDE**2 == header.coded_px == header.held_px
    check_size(header, limit_px=LARGE_SIDE**2, limit_side_px=LARGE_SIDE)
    with pytest.raises(PictureTooLarge):
        check_size(header, limit_px=LARGE_SIDE**2 // 2, limit_side_px=LARGE_SIDE)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 1},
        {"rows": 3},
        {"columns": 2},
        {"columns": 200},
        {"size": (193, 120)},
        {"size": (180, 129)},
        {"size": (128, 120)},
        {"size": (180, 64)},
        {"size": (0, 0)},
        {"declared": (181, 120)},
        {"declared": (16, 16)},
        {"referred": ()},
        {"referred": (2, 3)},
        {"referred": (2,) * 7},
        {"referred": (1,) * 6},
        {"referred": (2, 3, 4, 5, 6, 99)},
    ],
    ids=str,
)
def test_a_grid_that_contradicts_itself_is_corrupt(
    brand: bytes, tile: Tile, change: dict[str, object]
) -> None:
    valid: dict[str, object] = {"rows": 2, "columns": 3, "size": (180, 120)}
    upload = grid_of([tile] * 6, brand=brand, **{**valid, **change})  # type: ignore[arg-type] # of all types

    with pytest.raises(CorruptPicture):
        sniff(upload)


@pytest.mark.slow
@pytest.mark.parametrize("declared", [(16, 16), (64, 16), None])
def test_a_tile_larger_than_it_declares_is_corrupt(brand: bytes, declared: tuple[int, int] | None) -> None:
    tile = replace(tiles_by_brand(LARGE_SIDE)[brand], size=declared)
    for count in (1, 4):
        upload = grid_of([tile] * count, rows=1, columns=count, size=(16 * count, 16), brand=brand)
        with pytest.raises(CorruptPicture):
            sniff(upload)


@pytest.mark.slow
def test_decoding_takes_at_most_the_memory_for_held_px(brand: bytes) -> None:
    large = tiles_by_brand(LARGE_SIDE)[brand]
    upload = grid_of([large] * 4, rows=2, columns=2, size=(2000, 1030), brand=brand)
    header = sniff(upload)

    assert peak_bytes(lambda: decode(upload, header)) <= 24 * header.held_px + 8 * 2**20


@pytest.mark.slow
def test_tiles_of_several_sizes_are_corrupt(brand: bytes, tile: Tile) -> None:
    other = replace(tiles_by_brand(LARGE_SIDE)[brand])
    with pytest.raises(CorruptPicture):
        sniff(grid_of([tile, other], rows=1, columns=2, size=(100, 64), brand=brand))


def test_a_grid_of_grids_is_corrupt(brand: bytes, tile: Tile) -> None:
    inner = Tile(b"grid", bytes((0, 0, 0, 0, 0, 64, 0, 64)), tile.configuration, (64, 64))
    with pytest.raises(CorruptPicture):
        sniff(grid_of([inner, tile], rows=1, columns=1, referred=(2,), size=(64, 64), brand=brand))


def test_alpha_counts_with_its_frames_whether_or_not_it_declares_a_size(brand: bytes, tile: Tile) -> None:
    large = tiles_by_brand(LARGE_SIDE, channels=1)[brand]
    for declared in (None, (LARGE_SIDE, LARGE_SIDE)):
        alpha = replace(large, size=declared)
        header = sniff(grid_of([tile], rows=1, columns=1, size=(64, 64), alpha=alpha, brand=brand))
        assert LARGE_SIDE**2 == header.coded_px
    with pytest.raises(CorruptPicture):
        sniff(
            grid_of(
                [tile], rows=1, columns=1, size=(64, 64), alpha=replace(large, size=(64, 64)), brand=brand
            )
        )


@pytest.mark.slow
def test_a_single_picture_must_declare_at_least_its_coded_size(brand: bytes) -> None:
    large = tiles_by_brand(LARGE_SIDE)[brand]

    assert sniff(single(large, brand=brand)).held_px == LARGE_SIDE**2
    for declared in (None, (16, 16), (LARGE_SIDE, 16), (LARGE_SIDE - 64, LARGE_SIDE)):
        with pytest.raises(CorruptPicture):
            sniff(single(replace(large, size=declared), brand=brand))


def test_a_size_that_is_not_a_multiple_of_a_block_counts_with_its_blocks() -> None:
    pytest.importorskip("pillow_heif")
    header = sniff(heic(photo(98, 130)))

    assert 98 * 130 <= header.held_px <= 128 * 192
    check_size(replace(header, coded_px=0), limit_px=98 * 130, limit_side_px=130)


def test_the_tiles_of_the_largest_picture_may_extend_beyond_it() -> None:
    """A phone's 8064 × 6048 in tiles of 512 × 512 is coded as 50.3 megapixels."""
    header = Header("heic", 8064, 6048, "image/heic", coded_px=16 * 12 * 512 * 512)

    check_size(header, limit_px=50_000_000, limit_side_px=16_384)
    assert header.held_px == 50_331_648


def test_items_that_share_their_bytes_are_read_once(tile: Tile, brand: bytes) -> None:
    """Four hundred tiles over the same bytes, as writers store a uniform sky."""
    padded = replace(tile, coded=tile.coded + bytes(0))
    upload = grid_of([padded] * 400, rows=20, columns=20, size=(1280, 1280), shares=True, brand=brand)
    boxes = read_boxes(upload)

    assert len({item.extents for item in boxes.items.values()}) == 2
    assert sum(len(coded_data(upload, item)) for item in boxes.items.values()) > 5 * len(upload)
    assert (1280, 1280, 3) == decode(upload, sniff(upload)).rgb.shape
    assert peak_bytes(lambda: sniff(upload)) <= 3 * len(upload) + 4 * 2**20


@given(at=st.integers(0, 2000), value=st.integers(0, 255), kept=st.floats(0.1, 1), kind=st.integers(0, 1))
@examples(3)
def test_any_mutation_of_a_grid_raises_only_cutout_errors(
    at: int, value: int, kept: float, kind: int
) -> None:
    upload = bytearray(UPLOADS[kind])
    upload[at % len(upload)] = value
    try:
        header = sniff(bytes(upload[: int(kept * len(upload))]))
    except CutoutError:
        return

    assert header.held_px >= header.width_px * header.height_px


def test_partly_overlapping_tiles_are_too_complex(tile: Tile, brand: bytes) -> None:
    """Only identical byte ranges are read once; each of these would be read separately."""
    upload = bytearray(grid_of([tile] * 6, rows=2, columns=3, size=(180, 120), brand=brand))
    at = upload.index(b"iloc") + 12 + 14  # the second location: number, file, count, start, length
    for number in range(6):
        upload[at + 6 + 14 * number : at + 14 + 14 * number] = bytes((0, 0, 0, number, 0, 0, 0, 0))
    with pytest.raises(PictureTooComplex):
        sniff(bytes(upload))


_TILE = tile_of(avif(noise((64, 64, 3))), size=(64, 64))
UPLOADS = [
    grid_of([_TILE] * 2, rows=1, columns=2, size=(128, 64), alpha=_TILE, shares=True),
    avif(noise((34, 52, 4))),
]
