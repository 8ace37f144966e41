"""The page of the options is what the models of the options say, word for word.

``python -m tests.test_option_page`` prints its table.
"""

import re
from pathlib import Path
from typing import Any

from app.options import CutoutOptions, MaskOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"
HEAD = ("| Option | Endpoint | Values | Default | Meaning |", "|---|---|---|---|---|")
BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("maxLength", "at most {} characters"),
)
KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}


def values_of(schema: dict[str, Any]) -> str:
    """Return the values of an option in words, from its JSON schema."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = [words.format(f"{schema[name]:g}") for name, words in BOUNDS if name in schema]
    return ", ".join([KINDS[schema["type"]], *bounds])


def rows() -> list[str]:
    """Return the rows of the table: one for an option that is the same at both endpoints, else two."""
    endpoints: dict[tuple[str, ...], list[str]] = {}
    for endpoint, model in (("mask", MaskOptions), ("cutout", CutoutOptions)):
        for name, schema in model.model_json_schema()["properties"].items():
            typed = next((each for each in schema.get("anyOf", ()) if each["type"] != "null"), schema)
            default = schema.get("default")
            text = "" if default is None else f"`{str(default).lower()}`"
            key = (name, values_of(typed), text, schema["description"])
            endpoints.setdefault(key, []).append(endpoint)
    order = [*CutoutOptions.model_fields, *MaskOptions.model_fields]
    table = sorted(endpoints.items(), key=lambda item: (order.index(item[0][0]), item[1]))
    return [
        f"| `{name}` | {' and '.join(where)} | {values} | {default} | {text} |"
        for (name, values, default, text), where in table
    ]


def test_the_page_has_every_option_word_for_word() -> None:
    assert rows() == re.findall(r"^\| `.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


if __name__ == "__main__":
    print(*HEAD, *rows(), sep="\n")  # noqa: T201 -- the table
