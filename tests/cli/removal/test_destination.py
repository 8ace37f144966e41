from pathlib import Path

import pytest

from app.cli.removal.destination import Destination, destination_of, format_for
from app.cli.removal.values import UsageProblem


def destination(output: str | None, *arguments: str, one: bool = True, folders: set[str] = frozenset()):  # type: ignore[assignment,no-untyped-def]
    return destination_of(
        output, arguments or ("a.jpg",), is_one_file=one, is_folder=lambda path: str(path) in folders
    )


@pytest.mark.parametrize(
    ("output", "one", "expected"),
    [
        (None, True, Destination()),
        (None, False, Destination()),
        ("b.webp", True, Destination(file=Path("b.webp"))),
        ("b.ZIP", True, Destination(file=Path("b.ZIP"))),
        ("out", True, Destination(folder=Path("out"))),
        ("out", False, Destination(folder=Path("out"))),
        ("b.png/", True, Destination(folder=Path("b.png"))),
        ("v1.2", False, Destination(folder=Path("v1.2"))),
        ("-", True, Destination(is_stdout=True)),
    ],
)
def test_the_output_is_a_file_a_folder_or_stdout(
    output: str | None, one: bool, expected: Destination
) -> None:
    assert expected == destination(output, one=one)


def test_an_existing_folder_may_be_named_like_a_file() -> None:
    assert Destination(folder=Path("b.png")) == destination("b.png", folders={"b.png"})


def test_stdin_goes_to_stdout_or_to_a_file() -> None:
    assert Destination(is_stdout=True) == destination(None, "-")
    assert Destination(file=Path("b.png")) == destination("b.png", "-")


@pytest.mark.parametrize(
    ("output", "arguments", "one", "message"),
    [
        ("b.png", ("a.jpg", "c.jpg"), False, "several pictures need a folder"),
        ("b.gif", ("a.jpg",), True, r"the suffix must be one of \.png"),
        ("-", ("a.jpg", "c.jpg"), False, "the standard output holds one result"),
        (None, ("-", "a.jpg"), False, "must be the only picture"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    output: str | None, arguments: tuple[str, ...], one: bool, message: str
) -> None:
    with pytest.raises(UsageProblem, match=message):
        destination(output, *arguments, one=one)


def test_the_suffix_of_a_file_decides_the_format() -> None:
    assert "jpeg" == format_for(Destination(file=Path("b.JPG")), None)
    assert "jpeg" == format_for(Destination(file=Path("b.jpeg")), "JPG")
    assert "png" == format_for(Destination(), None)
    assert "webp" == format_for(Destination(folder=Path("out")), "image/webp")
    with pytest.raises(UsageProblem, match="the suffix does not match --format webp"):
        format_for(Destination(file=Path("b.png")), "webp")
