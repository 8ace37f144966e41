"""The code stays small: short functions, small modules, and a pipeline that fits on one screen."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG_MODULES = frozenset({"app/errors.py", "model_export/train.py"})
"""Their first docstrings give the reasons."""
MAX_MODULE_LINES, MEDIAN_MODULE_LINES, MAX_FUNCTION_LINES = 300, 110, 50
SCREEN_LINES, ROUTE_LINES = 60, 15


def modules() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each module that is not empty."""
    for folder in ("app", "model_export"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            if path.name != "__init__.py":
                yield str(path.relative_to(ROOT)), text


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function, without its decorators."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def function_in(path: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    tree = ast.parse((ROOT / path).read_text())
    (found,) = (function for function in functions(tree) if function.name == name)
    return found


def test_no_module_is_long() -> None:
    lengths = {path: text.count("\n") for path, text in modules()}

    assert {} == {p: n for p, n in lengths.items() if n > MAX_MODULE_LINES and p not in LONG_MODULES}
    assert statistics.median(lengths.values()) <= MEDIAN_MODULE_LINES


def test_no_function_is_long() -> None:
    lengths = {
        f"{path}:{function.name}": lines_of(function)
        for path, text in modules()
        for function in functions(ast.parse(text))
    }

    assert {} == {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_the_pipeline_fits_on_one_screen() -> None:
    """From ``run`` to the end of the last step that it awaits."""
    first, last = (function_in("app/pipeline/run.py", name) for name in ("run", "_segment"))
    assert last.end_lineno is not None

    assert last.end_lineno - first.lineno + 1 <= SCREEN_LINES


def test_the_route_of_a_cutout_is_short() -> None:
    assert lines_of(function_in("app/web/endpoints/v1.py", "cutout")) <= ROUTE_LINES
