from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_export.samples import SamplesInvalid, find_samples, read_grey
from tests.pictures import noise, photo, png


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(png(photo(4, 5)))


@pytest.mark.parametrize(
    ("pictures", "truths", "kind"),
    [
        ("images", "masks", "saliency"),
        ("images", "ground_truth_mask", "saliency"),
        ("DUTS-TE-Image", "DUTS-TE-Mask", "saliency"),
        ("images", "alphas", "matting"),
    ],
)
def test_each_layout_gives_pairs_sorted_by_name(
    tmp_path: Path, pictures: str, truths: str, kind: str
) -> None:
    fill(tmp_path / pictures, "b.jpg", "a.png", ".hidden")
    fill(tmp_path / truths, "a.png", "b.png")
    found = find_samples(tmp_path)

    assert (found.kind, [(s.picture.name, s.truth.name, s.trimap) for s in found.samples]) == (
        kind,
        [("a.png", "a.png", None), ("b.jpg", "b.png", None)],
    )


def fill_pair(folder: Path, *sets: str) -> None:
    for name in sets:
        for part in ("Image", "Mask"):
            fill(folder / f"{name}-{part}", "a.png")


def test_the_set_for_testing_is_never_taken_for_the_one_for_training(tmp_path: Path) -> None:
    fill_pair(tmp_path, "DUTS-TE", "DUTS-TR", "FORTE")

    for part in ("TE", "TR"):
        (sample,) = find_samples(tmp_path, part=part).samples  # type: ignore[arg-type]
        assert sample.picture.parent.name == f"DUTS-{part}-Image"  # type: ignore[union-attr]


def test_training_on_a_set_for_testing_must_be_asked_for(tmp_path: Path) -> None:
    fill_pair(tmp_path, "DUTS-TE")
    with pytest.raises(SamplesInvalid, match=r"only a set for testing, DUTS-TE-Image.*--data"):
        find_samples(tmp_path, part="TR")

    assert len(find_samples(tmp_path / "DUTS-TE-Image", part="TR").samples) == 1


def test_of_several_sets_one_must_be_named(tmp_path: Path) -> None:
    fill_pair(tmp_path, "A", "B")
    with pytest.raises(SamplesInvalid, match=r"several sets: A-Image, B-Image.*--data"):
        find_samples(tmp_path)

    assert find_samples(tmp_path / "B-Image").samples[0].truth.parent.name == "B-Mask"  # type: ignore[union-attr]


def test_only_the_named_samples_are_kept(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        fill(tmp_path / folder, "a.png", "b.png", "c.png")
    found = find_samples(tmp_path)

    assert [sample.name for sample in found.only(("c", "a")).samples] == ["c", "a"]
    with pytest.raises(SamplesInvalid, match=r"1 pictures that are not in the data: a\.png\. .*without"):
        found.only(("a.png", "b"))


def test_trimaps_belong_to_mattes(tmp_path: Path) -> None:
    for folder in ("images", "alphas", "trimaps"):
        fill(tmp_path / folder, "a.png")

    assert [sample.trimap for sample in find_samples(tmp_path).samples] == [tmp_path / "trimaps" / "a.png"]


@pytest.mark.parametrize(
    ("pictures", "masks", "words"),
    [
        (("a.png", "b.png"), ("a.png",), r"masks lacks 1: b\."),
        (("a.png",), ("a.png", "b.png", "c.png"), r"images lacks 2: b, c\."),
        (tuple(f"{n}.png" for n in range(9)), (), r"masks lacks 9: 0, 1, 2, 3, 4, …"),
        ((), (), "no pictures"),
        (("a.png", "a.jpg"), ("a.png",), "same name"),
    ],
)
def test_unpaired_files_are_named(
    tmp_path: Path, pictures: tuple[str, ...], masks: tuple[str, ...], words: str
) -> None:
    fill(tmp_path / "images", *pictures)
    fill(tmp_path / "masks", *masks)
    with pytest.raises(SamplesInvalid, match=words):
        find_samples(tmp_path)


def test_masks_with_other_names_are_refused_with_the_rule(tmp_path: Path) -> None:
    fill(tmp_path / "images", "a.png")
    fill(tmp_path / "masks", "a_mask.png")
    with pytest.raises(SamplesInvalid, match="have the same name, except for the suffix"):
        find_samples(tmp_path)


def test_an_accent_is_the_same_in_both_of_its_spellings(tmp_path: Path) -> None:
    fill(tmp_path / "images", "caf\u00e9.png")
    fill(tmp_path / "masks", "cafe\u0301.png")
    (sample,) = find_samples(tmp_path).samples

    assert sample.name == "caf\u00e9"
    assert find_samples(tmp_path).only(["caf\u00e9"]).samples == (sample,)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match=r"There is no folder .*absent"):
        find_samples(tmp_path / "absent")


def test_a_picture_without_its_trimap_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "images", "a.png")
    fill(tmp_path / "alphas", "a.png")
    fill(tmp_path / "trimaps")
    with pytest.raises(SamplesInvalid, match=r"trimaps lacks 1: a\."):
        find_samples(tmp_path)


def test_an_unknown_layout_is_refused_with_the_known_layouts(tmp_path: Path) -> None:
    with pytest.raises(SamplesInvalid, match=r"images/ with masks/.*NAME-Image/.*alphas/"):
        find_samples(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_a_truth_of_any_8_bit_mode_is_read_as_grey(tmp_path: Path, mode: str) -> None:
    grey = noise((4, 5)) // 128 * np.uint8(255)
    Image.fromarray(grey).convert(mode).save(tmp_path / "truth.png")

    assert read_grey(tmp_path / "truth.png").tolist() == grey.tolist()


def test_a_16_bit_truth_and_a_file_that_is_not_a_picture_are_refused(tmp_path: Path) -> None:
    Image.fromarray(noise((4, 5)).astype(np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (("deep.png", "8 bits"), ("text.png", "cannot be read")):
        with pytest.raises(SamplesInvalid, match=words):
            read_grey(tmp_path / name)
