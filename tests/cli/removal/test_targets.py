import unicodedata
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.removal.targets import SUFFIXES, NamesCollide, Naming, plan_items
from app.cli.removal.values import Item, Source
from app.options import CutoutOptions
from tests.generated import examples

PNG = SUFFIXES["png"]
NEXT_TO_IT = Naming("-cutout", PNG)
NAMES = st.text(st.sampled_from("aAb.-é"), min_size=1, max_size=4)
FILES = st.builds("{}.{}".format, NAMES, st.sampled_from(["jpg", "JPG", "png", "webp"]))
FOLDERS = st.sampled_from(["", "x", "x/y"])


def source(path: str, folder: str = "") -> Source:
    return Source(Path(path), PurePath(folder))


def written_by(items: list[Item]) -> list[str]:
    return [str(path) for item in items for path in item.target.candidates]


def folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def test_the_result_is_next_to_its_picture() -> None:
    assert ["in/photo-cutout.png"] == written_by(plan_items([source("in/photo.jpg")], NEXT_TO_IT))


def test_sub_folders_are_kept_in_the_folder_of_the_results() -> None:
    naming = Naming("-cutout", PNG, output=Path("out"))

    assert ["out/a/b/photo-cutout.png"] == written_by(plan_items([source("in/a/b/photo.jpg", "a/b")], naming))


def test_kept_names_get_the_suffix_of_the_result_only() -> None:
    naming = Naming("-cutout", SUFFIXES["webp"], output=Path("out"), keeps_names=True)

    assert ["out/photo.webp"] == written_by(plan_items([source("in/photo.jpg")], naming))


def test_pictures_of_one_stem_keep_their_suffixes_in_the_names_of_their_results() -> None:
    items = plan_items([source("a.jpg"), source("a.png"), source("b.png")], NEXT_TO_IT)

    assert ["a.jpg-cutout.png", "a.png-cutout.png", "b-cutout.png"] == written_by(items)


def test_a_longer_name_that_is_taken_lengthens_the_other_one_too() -> None:
    items = plan_items([source("a.jpg"), source("a.png"), source("a.jpg.png")], NEXT_TO_IT)

    assert ["a.jpg-cutout.png", "a.png-cutout.png", "a.jpg.png-cutout.png"] == written_by(items)


def test_names_that_differ_in_case_only_are_kept_apart_for_any_file_system() -> None:
    items = plan_items([source("A.jpg"), source("a.png")], NEXT_TO_IT)

    assert ["A.jpg-cutout.png", "a.png-cutout.png"] == written_by(items)


def test_pictures_of_one_name_in_one_folder_of_results_are_an_error() -> None:
    naming = Naming("-cutout", PNG, output=Path("out"))
    with pytest.raises(NamesCollide, match=r"x/a\.jpg and y/a\.jpg would both become out/a\.jpg-cutout\.png"):
        plan_items([source("x/a.jpg"), source("y/a.jpg")], naming)


def test_a_result_never_gets_the_name_of_a_picture() -> None:
    naming = Naming("-cutout", PNG, output=Path("in"), keeps_names=True)
    with pytest.raises(NamesCollide, match=r"the result of in/a\.png would replace the input in/a\.png"):
        plan_items([source("in/a.png")], naming)


def test_a_link_to_a_picture_is_the_picture() -> None:
    naming = Naming("-cutout", PNG, output=Path("link"), keeps_names=True)
    with pytest.raises(NamesCollide):
        plan_items([source("in/a.png")], naming, identity=lambda path: Path("in") / path.name)


def test_a_format_that_the_picture_decides_reserves_both_names() -> None:
    items = plan_items([source("a.jpg")], Naming("-cutout", SUFFIXES["auto"]))

    assert ["a-cutout.png", "a-cutout.jpg"] == written_by(items)


def test_the_mask_is_named_like_the_picture() -> None:
    (item,) = plan_items([source("in/a.jpg")], Naming("-cutout", PNG, has_mask=True))

    assert Path("in/a-mask.png") == item.target.mask


def test_every_format_has_a_suffix() -> None:
    assert set(SUFFIXES) == set(CutoutOptions.model_fields["format"].annotation.__args__)


@examples(3)
@given(
    files=st.lists(st.tuples(FOLDERS, FILES), min_size=1, max_size=8, unique=True),
    output=st.sampled_from([None, "out"]),
    keeps_names=st.booleans(),
    has_mask=st.booleans(),
    chosen=st.sampled_from(sorted(SUFFIXES)),
)
def test_no_two_results_share_a_name_and_none_is_a_picture(
    files: list[tuple[str, str]], output: str | None, keeps_names: bool, has_mask: bool, chosen: str
) -> None:
    sources = [Source(Path("in", folder, name), PurePath(folder)) for folder, name in files]
    naming = Naming(
        "-cutout",
        SUFFIXES[chosen],
        None if output is None else Path(output),
        keeps_names=keeps_names and output is not None,
        has_mask=has_mask,
    )
    try:
        items = plan_items(sources, naming)
    except NamesCollide:
        # Only a result that would be named like a picture next to it cannot be avoided.
        assert output is None
        return
    written = written_by(items) + [str(item.target.mask) for item in items if item.target.mask is not None]
    names_differ = len({folded(str(each.path)) for each in sources}) == len(sources)

    assert [item.source for item in items] == sources
    assert len(written) == len(set(written))
    assert not set(written) & {str(each.path) for each in sources}
    if names_differ:
        assert len({folded(path) for path in written}) == len(written)


@examples(1)
@given(names=st.lists(FILES, min_size=1, max_size=6, unique=True))
def test_the_plan_does_not_depend_on_the_order_of_the_pictures(names: list[str]) -> None:
    planned = [
        {item.source.path: item.target.stem for item in plan_items([source(f"in/{n}") for n in order], out)}
        for out in [Naming("-cutout", PNG, output=Path("out"))]
        for order in (names, names[::-1])
    ]

    assert planned[0] == planned[1]
