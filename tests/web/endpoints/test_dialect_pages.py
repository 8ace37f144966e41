"""The pages for those who come from elsewhere name every parameter that is accepted, and no other."""

import re
from pathlib import Path

from app.web.endpoints import rembg, removebg

DOCS = Path(__file__).parents[3] / "docs"


def rows(page: str) -> dict[str, str]:
    """Return what the page's table says, by parameter."""
    table = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name: text for names, text in table for name in re.findall(r"`(\w+)`", names)}


def test_the_page_of_remove_bg_is_complete() -> None:
    known = set(removebg.PARAMETERS) | set(removebg.SOURCES) | set(removebg.BACKGROUNDS)

    assert set(rows("removebg.md")) == known


def test_what_makes_no_difference_is_said() -> None:
    said = rows("removebg.md")
    for name, parameter in removebg.PARAMETERS.items():
        assert ("accepted" in said[name]) is (not parameter.is_honoured), name


def test_the_page_of_rembg_is_complete() -> None:
    assert set(rows("rembg.md")) == {*rembg.OPTIONS, "file", "url"}
