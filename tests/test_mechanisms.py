"""The table of mechanisms in docs/training.md names code and tests that exist."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## Mechanisms of the papers"
SYSTEMS = {"U²-Net", "FCN", "U-Net", "U-Net++", "STDC-Seg"}
PLACE = re.compile(r"`([\w./]+\.(?:py|toml))`:((?:,? `[^`]+`)+)")


def rows() -> list[tuple[str, str, str, str]]:
    section = (ROOT / "docs" / "training.md").read_text().split(HEADING, 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    return [row for row in cells if len(row) == 4]  # type: ignore[misc]


ROWS = rows()


def class_losses() -> dict[str, str]:
    """Return the losses of classes and their tests, as the documentation lists them."""
    section = (ROOT / "docs" / "training.md").read_text().split("## Several classes", 1)[1]
    return dict(re.findall(r"^\| `(class_\w+)` \| .* \| `(test_\w+)` \|$", section, re.MULTILINE))


def names_in(path: Path) -> set[str]:
    """Return the names that a module defines, or the tables and fields of a recipe."""
    if path.suffix == ".toml":
        tables = tomllib.loads(path.read_text())
        return {f"[{table}]" for table in tables} | {name for table in tables.values() for name in table}
    nodes = list(ast.walk(ast.parse(path.read_text())))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored = (node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return defined | {node.id for node in stored}


def places(cell: str) -> list[tuple[str, str]]:
    """Return the files and names in a cell."""
    return [(path, name) for path, names in PLACE.findall(cell) for name in re.findall(r"`([^`]+)`", names)]


def test_every_system_of_the_papers_has_rows() -> None:
    assert {row[0] for row in ROWS} == SYSTEMS
    assert len({row[1] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]}: {row[1]}" for row in ROWS])
def test_a_mechanism_has_code_and_a_test_that_exist(row: tuple[str, str, str, str]) -> None:
    code, tests = places(row[2]), places(row[3])
    missing = [(path, name) for path, name in (*code, *tests) if name not in names_in(ROOT / path)]

    assert missing == []
    assert code
    assert all(path.startswith("model_export/") for path, _ in code)
    assert tests
    assert all(path.startswith("tests/") for path, _ in tests)
    assert all(name.startswith(("test_", "Test")) for _, name in tests)


def test_every_loss_of_classes_is_documented_with_its_test() -> None:
    losses = class_losses()
    recipe = (ROOT / "model_export/recipe.py").read_text()

    assert list(losses) == re.findall(r'"(class_(?:cross|focal)\w*)",', recipe)
    assert losses.keys() <= names_in(ROOT / "model_export/class_losses.py")
    assert set(losses.values()) <= names_in(ROOT / "tests/model_export/test_class_losses.py")
