import os
from pathlib import Path, PurePath

import pytest

from app.cli.removal.sources import NothingFound, find_sources, is_picture_name
from app.cli.removal.values import UsageProblem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with pictures in two levels, and files that are none."""
    for name in ("in/b.JPG", "in/a.png", "in/notes.txt", "in/.hidden.png", "in/sub/c.webp", "in/.git/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments: str, recursive: bool = False, output: Path | None = None) -> list[str]:
    sources = find_sources(arguments, recursive=recursive, output=output).sources
    return [str(source.path) for source in sources]


def test_a_folder_gives_its_pictures_by_name(folder: Path) -> None:
    assert ["in/a.png", "in/b.JPG"] == found("in")


def test_sub_folders_are_searched_on_request_but_not_hidden_ones(folder: Path) -> None:
    (source,) = [s for s in find_sources(["in"], recursive=True, output=None).sources if s.path.stem == "c"]

    assert ["in/a.png", "in/b.JPG", "in/sub/c.webp"] == found("in", recursive=True)
    assert PurePath("sub") == source.folder


def test_a_named_file_is_taken_whatever_its_name_is(folder: Path) -> None:
    assert ["in/notes.txt", "nowhere.jpg", "in/.hidden.png"] == found(
        "in/notes.txt", "nowhere.jpg", "in/.hidden.png"
    )


def test_a_glob_is_expanded_to_pictures_only(folder: Path) -> None:
    assert ["in/a.png", "in/b.JPG"] == found("in/*")
    assert ["in/sub/c.webp"] == found("**/c.*")


def test_sub_folders_of_a_glob_count_from_its_first_wildcard(folder: Path) -> None:
    (source,) = find_sources(["in/**/c.*"], recursive=False, output=None).sources

    assert PurePath("sub") == source.folder


def test_a_glob_that_matches_nothing_is_an_error(folder: Path) -> None:
    with pytest.raises(NothingFound, match=r"^in/\*\.gif: no file has such a name$"):
        found("in/*.gif")


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path) -> None:
    Path("in/[1].png").touch()

    assert ["in/[1].png"] == found("in/[1].png")


def test_a_file_that_is_named_twice_is_taken_once(folder: Path) -> None:
    assert ["in/a.png", "in/b.JPG"] == found("in/a.png", "in", str(folder / "in" / "a.png"))


@pytest.mark.parametrize("recursive", [False, True])
def test_results_of_an_earlier_run_are_left_out(folder: Path, recursive: bool) -> None:
    for name in ("a-cutout.png", "gone-cutout.webp", "b-mask.png", "b.JPG-cutout.png", "gas-mask.png"):
        (folder / "in" / name).touch()
    result = find_sources(["in"], recursive=recursive, output=None)

    assert {"a.png", "b.JPG", "gas-mask.png"} == {
        source.path.name for source in result.sources if source.path.parent.name == "in"
    }
    assert 4 == result.ignored


def test_results_that_a_shell_lists_next_to_their_pictures_are_left_out(folder: Path) -> None:
    Path("in/a-cutout.png").touch()

    assert ["in/a.png"] == found("in/a.png", "in/a-cutout.png")
    assert ["in/a-cutout.png"] == found("in/a-cutout.png")


def test_the_folder_of_the_results_is_not_searched(folder: Path) -> None:
    output = (folder / "in" / "sub").resolve()

    assert ["in/a.png", "in/b.JPG"] == found("in", recursive=True, output=output)
    assert ["in/a.png", "in/b.JPG"] == found("in/**", output=output)
    assert ["in/sub/c.webp"] == found("in/sub", output=output)
    assert ["in/sub/c.webp"] == found("in/sub/*", output=output)


def test_links_to_folders_are_not_followed(folder: Path) -> None:
    os.symlink("..", "in/loop")

    assert ["in/a.png", "in/b.JPG", "in/sub/c.webp"] == found("in", recursive=True)


@pytest.mark.parametrize("name", ["a.tiff", ".a.png", "png", "a.png.part", "a"])
def test_other_names_are_no_pictures(name: str) -> None:
    assert not is_picture_name(name)


def test_pipes_in_a_folder_are_no_pictures_but_a_named_one_is_taken(folder: Path) -> None:
    os.mkfifo("in/pipe.jpg")

    assert ["in/a.png", "in/b.JPG"] == found("in") == found("in/*")
    assert ["in/pipe.jpg"] == found("in/pipe.jpg")


def test_a_link_to_itself_is_a_picture_that_fails_later(folder: Path) -> None:
    Path("in/loop.jpg").symlink_to("loop.jpg")

    assert ["in/a.png", "in/b.JPG", "in/loop.jpg"] == found("in", output=folder / "out")


def test_an_empty_name_is_not_the_working_directory(folder: Path) -> None:
    with pytest.raises(UsageProblem, match=r"^the name of a picture is empty$"):
        found("")
