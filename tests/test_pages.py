"""The pages under ``docs/``, and the site that is made of them."""

import re
from pathlib import Path

import pytest
import yaml

from app.web.endpoints import table

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ = [*PAGES, *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))]
MAX_README_WORDS = 800


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def in_navigation(entries: object) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    assert not isinstance(values, str)
    return [page for entry in values for page in in_navigation(entry)]  # type: ignore[attr-defined]


def test_the_navigation_has_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    assert sorted(in_navigation(site["nav"])) == [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == DOCS], ids=name_of)
def test_a_page_says_first_whom_it_is_for(page: Path) -> None:
    title, empty, audience, *_ = page.read_text().splitlines()

    assert title.startswith("# ")
    assert empty == ""
    assert re.fullmatch(r"\*For .*\.\*", audience)


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", _without_code(page.read_text()))
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target.strip()).exists()
    ]

    assert missing == []


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:app|docs|tests|docker|deploy|benchmarks|model_export)/[\w./-]*\w)`", page.read_text()
    )

    assert [name for name in named if not list(ROOT.glob(re.sub("[A-Z]{4,}", "*", name) + "*"))] == []


def test_every_route_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)
    of_pages = (table.PLAYGROUND_FILE, table.DOCS_START)
    documented = (endpoint for endpoint in table.ENDPOINTS if endpoint not in of_pages)
    paths = {endpoint.path.partition("{")[0].rstrip("/") for endpoint in documented}

    assert [path for path in paths if path not in text] == []


def test_every_decision_is_listed_with_its_title() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    titles = {path: path.read_text(encoding="utf-8").splitlines()[0] for path in DOCS.glob("adr/*.md")}
    rows = [
        f"| {number} | [{title}](adr/{path.name}) |"
        for path, text in sorted(titles.items())
        for number, title in re.findall(r"^# (\d+)\. (.*)$", text)
    ]

    assert rows == re.findall(r"^\| \d+ \| .*\|$", page, re.MULTILINE)
    assert len(rows) == len(titles)


def test_the_readme_takes_three_minutes() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MAX_README_WORDS


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)
