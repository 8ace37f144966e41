"""Options parser: turns named values into the options of an endpoint."""

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
    """Parse named values as the options of one endpoint.

    Args:
        kind: The options of the endpoint.
        fields: Values by name; numbers and truth values may also be texts.
        typed: Names of values that have a JSON type, which must be the option's.

    Raises:
        UnknownOption: A name is not an option of this endpoint.
        InvalidOption: A value is not accepted, or two options exclude each other.
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
    """Return whether a value has the type of an option: a number, a truth value or a text."""
    schema = _properties(kind)[name]
    types = {part.get("type") for part in schema.get("anyOf", [schema])}
    if isinstance(value, bool) or "boolean" in types:
        return "boolean" in types  # any spelling of yes and no is accepted
    return not isinstance(value, str) or "string" in types


@cache
def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of all options; cached, because it takes milliseconds."""
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return properties


def accepted_values(kind: type[BaseModel], name: str) -> str:
    """Return a description of the values that an option accepts, from its declaration."""
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
