import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EntryRefused
from app.web.request.entry_names import ResultNames, check_name, is_clutter, reported_name


@pytest.mark.parametrize("name", ["a.jpg", "shop/shoe.jpg", "a b/ü.png", "..hidden/x..y", "C/d", "xx:y.jpg"])
def test_plain_relative_paths_are_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../a",
        "a/../b",
        "/etc/passwd",
        "a\\b",
        "C:a",
        "C:/a",
        "a\0b",
        "a\nb",
        "./a",
        "a//b",
        "a/",
        "�.jpg",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(EntryRefused):
        check_name(name)


def test_a_long_name_is_refused() -> None:
    check_name("x" * 255)
    with pytest.raises(EntryRefused):
        check_name("x" * 256)


@pytest.mark.parametrize(
    "name", ["a/", "__MACOSX/a.jpg", "x/__MACOSX/._a", ".DS_Store", "x/Thumbs.db", "x/._a.jpg"]
)
def test_files_of_operating_systems_are_clutter(name: str) -> None:
    assert is_clutter(name)
    assert not is_clutter("a.jpg")


@given(st.text(max_size=400))
def test_a_name_in_the_report_is_printable_and_short(name: str) -> None:
    shown = reported_name(name)

    assert len(shown) <= 255
    shown.encode()
    assert "\n" not in shown
    assert "\x1b" not in shown


@given(st.lists(st.sampled_from(["a.jpg", "a.png", "d/a.jpg", "a-cutout.png", "a-cutout-2.x", ".a", "a."])))
def test_names_of_results_are_unique_and_stay_in_the_folder_of_the_picture(names: list[str]) -> None:
    made = ResultNames()
    results = [made.add(name, suffix="cutout", extension="png") for name in names]

    assert len(results) == len(set(results))
    assert [name.rpartition("/")[0] for name in names] == [name.rpartition("/")[0] for name in results]
    for result in results:
        check_name(result)


@pytest.mark.parametrize(
    ("first", "second"), [("a.jpg", "A.JPG"), ("d/x.jpg", "D/X.png"), ("\u00e9", "e\u0301")]
)
def test_results_do_not_overwrite_each_other_where_case_and_composition_do_not_count(
    first: str, second: str
) -> None:
    made = ResultNames()
    made.add(first, suffix="cutout", extension="png")

    assert made.add(second, suffix="cutout", extension="png").endswith("-cutout-2.png")
