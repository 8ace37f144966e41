"""Datasets: files are decoded correctly, and errors name the file."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_export.datasets import decode_dataset, decode_sources, find_sources, read_picture, upright_size
from model_export.errors import CommandFailed
from model_export.masks import read_mask
from model_export.samples import SamplesInvalid
from model_export.splits import read_split, split, write_split
from model_export.upright import upright_rgb
from tests.pictures import disc_alpha, photo

pytestmark = pytest.mark.torch


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(photo(height, width, seed))


def mask(height: int, width: int) -> Image.Image:
    return Image.fromarray(((disc_alpha(height, width) >= 0.5) * 255).astype(np.uint8))


def write_folder(folder: Path, count: int = 3) -> Path:
    """Write a folder in the layout of DUTS."""
    for name in ("T-Image", "T-Mask"):
        (folder / name).mkdir()
    for number in range(count):
        picture(60, 80 + number, number).save(folder / "T-Image" / f"p{number}.png")
        mask(60, 80 + number).save(folder / "T-Mask" / f"p{number}.png")
    return folder


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def write_archives(folder: Path, *, teacher: tuple[str, ...] = ("p0", "p1")) -> Path:
    for name, files in (
        ("images", {f"p{n}.webp": encoded(picture(32, 32, n), "WEBP") for n in range(2)}),
        ("masks", {f"p{n}.png": encoded(mask(32, 32).convert("1")) for n in range(2)}),
        ("teacher", {f"{stem}.webp": encoded(mask(16, 16), "WEBP") for stem in teacher}),
    ):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
    return folder


def test_pictures_and_masks_are_resized_to_the_square(tmp_path: Path) -> None:
    found = decode_dataset(write_folder(tmp_path), 32)

    assert found.names == ("p0", "p1", "p2")
    assert (found.pictures.shape, found.masks.shape) == ((3, 32, 32, 3), (3, 32, 32))
    assert set(np.unique(found.masks)) == {0, 255}
    assert np.mean(found.masks > 0) == pytest.approx(np.mean(np.asarray(mask(60, 80)) > 0), abs=0.02)


def test_archives_are_read_with_their_teacher(tmp_path: Path) -> None:
    found = decode_dataset(write_archives(tmp_path), 32)

    assert found.teacher is not None
    assert found.teacher.shape == (2, 16, 16)
    assert np.array_equal(found.pictures[1], np.asarray(picture(32, 32, 1)))
    assert np.array_equal(found.masks[0], np.asarray(mask(32, 32)))


def test_a_subset_has_the_named_pictures_in_order(tmp_path: Path) -> None:
    found = decode_dataset(write_folder(tmp_path), 32)
    part = decode_sources(find_sources(tmp_path).only(("p2", "p0")), 32)

    assert np.array_equal(part.pictures, found.pictures[[2, 0]])


def test_a_split_is_reproducible_and_can_be_written_and_read(tmp_path: Path) -> None:
    names = tuple(f"p{n}" for n in range(50))
    learned, held_out = split(names, 10, seed=3)
    write_split(tmp_path / "split.txt", held_out)

    assert (len(learned), len(held_out)) == (40, 10)
    assert set(learned) | set(held_out) == set(names)
    assert split(names, 10, seed=3) == (learned, held_out) != split(names, 10, seed=4)
    assert read_split(tmp_path / "split.txt") == held_out


def test_an_empty_split_and_a_repeated_name_are_refused(tmp_path: Path) -> None:
    for text in ("", "p1\np2\np1\n"):
        (tmp_path / "split.txt").write_text(text)
        with pytest.raises(SamplesInvalid, match="twice"):
            read_split(tmp_path / "split.txt")


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "T-Mask" / "p1.png").unlink()
    with pytest.raises(SamplesInvalid, match="p1"):
        decode_dataset(tmp_path, 32)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    mask(61, 80).save(write_folder(tmp_path) / "T-Mask" / "p0.png")
    with pytest.raises(SamplesInvalid, match="p0: the picture is 80 × 60 px, its mask 80 × 61"):
        decode_dataset(tmp_path, 32)


def test_a_picture_without_a_subject_is_a_negative_but_not_every_picture(tmp_path: Path) -> None:
    Image.new("L", (82, 60)).save(write_folder(tmp_path) / "T-Mask" / "p2.png")

    assert decode_dataset(tmp_path, 32).negatives == 1
    for number in range(2):
        Image.new("L", (80 + number, 60)).save(tmp_path / "T-Mask" / f"p{number}.png")
    with pytest.raises(SamplesInvalid, match="None of these 3 pictures has a subject"):
        decode_dataset(tmp_path, 32)


def test_a_file_that_is_not_a_picture_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "T-Image" / "p2.png").write_bytes(b"junk")
    with pytest.raises(SamplesInvalid, match=r"p2\.png cannot be read"):
        decode_dataset(tmp_path, 32)


def test_a_grey_picture_of_16_bits_keeps_its_tones(tmp_path: Path) -> None:
    tones = np.array([[0, 128, 129, 1000, 30000, 65535]], np.uint16)
    Image.fromarray(tones).save(tmp_path / "deep.png")

    assert read_picture(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 4, 117, 255]


def test_a_picture_of_real_numbers_is_refused() -> None:
    with pytest.raises(OSError, match="8 or 16 bits"):
        upright_rgb(Image.fromarray(np.zeros((4, 4), np.float32)))


def test_a_file_of_too_many_pixels_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for folder in ("T-Image", "T-Mask"):
        Image.new("1", (14_000, 14_000)).save(tmp_path / folder / "p2.png")
    for read in (read_picture, upright_size, read_mask):
        with pytest.raises(CommandFailed, match=r"p2\.png cannot be read"):
            read(tmp_path / "T-Image" / "p2.png")


def test_a_split_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SamplesInvalid, match="not a text file in UTF-8"):
        read_split(tmp_path / "split.txt")


def test_teacher_maps_in_a_damaged_archive_are_refused(tmp_path: Path) -> None:
    write_archives(tmp_path, teacher=("p0",))
    (tmp_path / "teacher.zip").write_bytes(b"junk")
    with pytest.raises(SamplesInvalid, match=r"teacher\.zip is not a ZIP archive"):
        decode_dataset(tmp_path, 32)


def test_mismatched_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match="no teacher map: p1"):
        decode_dataset(write_archives(tmp_path, teacher=("p0",)), 32)
    (tmp_path / "masks.zip").write_bytes(b"junk")
    with pytest.raises(SamplesInvalid, match="no"):
        decode_dataset(tmp_path, 32)


def test_alpha_mattes_are_soft_targets(tmp_path: Path) -> None:
    for name in ("images", "alphas"):
        (tmp_path / name).mkdir()
    picture(20, 30).save(tmp_path / "images" / "p.png")
    Image.new("L", (30, 20), 100).save(tmp_path / "alphas" / "p.png")

    assert set(np.unique(decode_dataset(tmp_path, 16).masks)) == {100}


def test_masks_of_0_and_1_and_of_0_and_255_are_not_mixed(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for number in range(3):
        ones = np.asarray(mask(60, 80 + number)) // np.uint8(255)
        Image.fromarray(ones).save(tmp_path / "T-Mask" / f"p{number}.png")
    assert np.mean(decode_dataset(tmp_path, 32).masks > 0) == pytest.approx(np.mean(ones), abs=0.02)

    mask(60, 81).save(tmp_path / "T-Mask" / "p1.png")
    with pytest.raises(SamplesInvalid, match="p0 has a mask of 0 and 1, p1 one of 0 and 255"):
        decode_dataset(tmp_path, 32)


def test_teacher_maps_next_to_the_pictures_are_read_and_must_be_complete(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "teacher").mkdir()
    for number in range(3):
        Image.new("L", (16, 16), 50 * number).save(tmp_path / "teacher" / f"p{number}.png")
    teacher = decode_dataset(tmp_path, 32).teacher

    assert teacher is not None
    assert [int(each.max()) for each in teacher] == [0, 50, 100]
    (tmp_path / "teacher" / "p1.png").unlink()
    with pytest.raises(SamplesInvalid, match=r"no teacher map: p1.*teach u2net --data"):
        find_sources(tmp_path)
