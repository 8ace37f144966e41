"""Settings: all settings of the service, read once from the environment.

Each field has a unit, a default, bounds and a one-line description. The table in `docs/settings.md` is
generated from them, and a test compares the two.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.setting_groups import Access, Engine, Limits, ModelFor, ModelName, Remote
from app.setting_groups import Lifecycle as Lifecycle
from app.setting_groups import Web as Web

PREFIX = "CUTOUT_"
SERVED_FILE = "served.txt"
"""In the folder of models: the names of those to serve if no setting names any, one a line."""
API_KEY_VARIABLE = "CUTOUT_API_KEY"
"""The key that ``cutout remove --server`` sends: a variable of a client, and not a setting."""


class Settings(BaseSettings):
    """All settings; the variable of ``limits.upload_bytes`` is ``CUTOUT_LIMITS__UPLOAD_BYTES``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    models: Annotated[tuple[ModelName, ...], NoDecode] = Field(
        ("u2net",),
        min_length=1,
        description="Models to serve, comma-separated; the first is the default. Unset: those that "
        "`CUTOUT_MODELS_DIR/served.txt` lists, as an image has it, or the model in that folder if it holds "
        "exactly one.",
    )
    models_dir: Path = Field(Path("models"), description="Folder that holds one folder per model.")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto",
        description="`cuda` refuses to start if CUDA is not really active; `auto` falls back to the CPU and "
        "logs the reason.",
    )
    precision: Literal["auto", "float32", "int8", "fp16"] = Field(
        "auto",
        description="`int8` and `fp16` refuse to start if a model in `CUTOUT_MODELS` has no such graph; "
        "`auto` takes one if it is at least 1.3 times as fast here and its maps are right, else float32.",
    )
    memory_budget: int | None = Field(
        None,
        ge=64 * 2**20,
        description="Memory for the requests in flight, in bytes; unset: half of the machine's or the "
        "container's memory, or what the models leave of it.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="One JSON object or one line of text per request; `auto` is text on a terminal."
    )
    cache_bytes: int = Field(
        0,
        ge=0,
        description="Size of the result cache, by picture, options and model, in bytes; 0 disables it.",
    )
    limits: Limits = Limits()
    engine: Engine = Engine()
    model_for: ModelFor = ModelFor()
    web: Web = Web()
    access: Access = Access()
    remote: Remote = Remote()
    lifecycle: Lifecycle = Lifecycle()

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


class UnknownSetting(ValueError):
    """The environment has a ``CUTOUT_*`` variable that is not a setting."""


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings from the environment.

    Args:
        environ: The variables to check for unknown names; the process environment by default.
        overrides: Fields set on the command line, which take precedence.

    Raises:
        UnknownSetting: A ``CUTOUT_*`` variable is not a setting.
        pydantic.ValidationError: A value is invalid or out of its bounds.
    """
    names = os.environ if environ is None else environ
    known = {API_KEY_VARIABLE, *(variable for variable, _, _ in describe())}
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise UnknownSetting(f"Unknown settings: {', '.join(unknown)}. docs/settings.md lists the others.")
    settings = Settings(**overrides)  # type: ignore[arg-type] # pydantic checks them
    if "models" in settings.model_fields_set:
        return settings
    models = _models_of(settings.models_dir)
    return Settings(**{**overrides, "models": models}) if models else settings  # type: ignore[arg-type] # likewise


def _models_of(folder: Path) -> tuple[str, ...]:
    """Return the models that the folder's list names, or its only one; none if there is neither."""
    listed = folder / SERVED_FILE
    if listed.is_file():
        return tuple(listed.read_text(encoding="utf-8").split())
    found = tuple(path.parent.name for path in folder.glob("*/manifest.json"))
    return found if len(found) == 1 else ()


def describe() -> list[tuple[str, str, str]]:
    """Return (variable, default, description) of every setting, in order."""
    rows: list[tuple[str, str, str]] = []
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_field in group.model_fields.items():
                variable = f"{PREFIX}{name}__{inner}".upper()
                rows.append((variable, _default_text(inner_field.default), inner_field.description or ""))
            continue
        rows.append((f"{PREFIX}{name}".upper(), _default_text(field.default), field.description or ""))
    return rows


def _default_text(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
