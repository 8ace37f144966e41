"""Compares the documented arguments of every docstring with the signature."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECTION = re.compile(
    r"^\s*Args:\n(.*?)(?=^\s*(?:Returns|Raises|Yields|References|Example|Attributes)s?:|\Z)", re.S | re.M
)


def documented() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, str]]:
    for folder in ("app", "model_export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    text = ast.get_docstring(node) or ""
                    if "Args:" in text:
                        yield f"{path.relative_to(ROOT)}:{node.name}", node, text


FOUND = list(documented())


@pytest.mark.parametrize(("node", "text"), [found[1:] for found in FOUND], ids=[found[0] for found in FOUND])
def test_documented_arguments_are_those_of_the_signature(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, text: str
) -> None:
    section = SECTION.search(text)
    assert section is not None
    lines = section.group(1).splitlines()
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    names = [m.group(1) for line in lines if (m := re.match(rf" {{{indent}}}\*{{0,2}}(\w+):", line))]

    assert names == _arguments(node)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> list[str]:
    if isinstance(node, ast.ClassDef):
        node = next(
            part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"
        )
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args]
    rest = [arguments.vararg] if arguments.vararg else []
    every = [*named, *rest, *arguments.kwonlyargs, *([arguments.kwarg] if arguments.kwarg else [])]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]
