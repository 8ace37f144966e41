"""Options parser: checks named values against the options of an endpoint."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import InvalidOption, UnknownOption
from app.options import Conflict, Options

RENAMED: Mapping[str, str] = {"locates": "report_box"}
"""Former names of options, accepted until 1.0."""
OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(
    kind: type[OptionsT], fields: Mapping[str, object], *, typed: Collection[str] = ()
) -> OptionsT:
    """Check named values against the options of one endpoint.

    Args:
        kind: The options there are.
        fields: Values by name; a text stands for a number or a truth value as well.
        typed: Names whose values have a type already, which has to be the option's.

    Raises:
        UnknownOption: A name is not an option of this endpoint.
        InvalidOption: A value is out of its range, or two options exclude each other.
    """
    fields = {RENAMED.get(name, name): value for name, value in fields.items()}
    typed = {RENAMED.get(name, name) for name in typed}
    for name in fields:
        if name not in kind.model_fields:
            raise UnknownOption(name, tuple(kind.model_fields))
        if name in typed and not _has_type(fields[name], kind, name):
            raise InvalidOption(name, accepted_values(kind, name))
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        clash = first.get("ctx", {}).get("error")
        if isinstance(clash, Conflict):
            raise InvalidOption(clash.name, clash.accepted) from error
        name = str(first["loc"][0])
        raise InvalidOption(name, accepted_values(kind, name)) from error


def _has_type(value: object, kind: type[BaseModel], name: str) -> bool:
    """Tell whether a value is of an option's own type, as far as numbers and truth values go."""
    schema = _properties(kind)[name]
    types = {part.get("type") for part in schema.get("anyOf", [schema])}
    if isinstance(value, bool) or "boolean" in types:
        return "boolean" in types  # every spelling of it is one
    return not isinstance(value, str) or "string" in types


@cache
def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of all options; made once, as it takes milliseconds."""
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return properties


def accepted_values(kind: type[BaseModel], name: str) -> str:
    """Return in words what an option accepts, from its own declaration."""
    schema = _properties(kind)[name]
    choice = next((part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"), schema)
    if "enum" in choice:
        return ", ".join(map(str, choice["enum"]))
    if choice.get("type") == "boolean":
        return "true, false"
    if "minimum" in choice:
        return f"{choice['type']} from {choice['minimum']} to {choice['maximum']}"
    if "exclusiveMinimum" in choice:
        return f"{choice['type']} between {choice['exclusiveMinimum']} and {choice['exclusiveMaximum']}"
    return str(schema.get("description", choice.get("type")))
