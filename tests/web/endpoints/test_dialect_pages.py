"""The pages of the dialects list exactly the parameters that are accepted."""

import re
from pathlib import Path

from app.web.endpoints import rembg, removebg

DOCS = Path(__file__).parents[3] / "docs"


def rows(page: str) -> dict[str, str]:
    """Return the descriptions in the page's table, by parameter."""
    table = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name: text for names, text in table for name in re.findall(r"`(\w+)`", names)}


def test_the_page_of_remove_bg_is_complete() -> None:
    known = set(removebg.PARAMETERS) | set(removebg.SOURCES) | set(removebg.BACKGROUNDS)

    assert set(rows("removebg.md")) == known


def test_parameters_without_effect_are_listed_as_accepted() -> None:
    documented = rows("removebg.md")
    for name, parameter in removebg.PARAMETERS.items():
        assert ("accepted" in documented[name]) is (not parameter.is_honoured), name


def test_the_page_of_rembg_is_complete() -> None:
    assert set(rows("rembg.md")) == {*rembg.OPTIONS, "file", "url"}
