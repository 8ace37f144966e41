"""Settings: every knob of the service, read once from the environment.

Each field states unit, default, bounds and one line of meaning; the table in the README is made
from them and a test compares the two.
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.origins import split_origins

PREFIX = "CUTOUT_"
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class Limits(BaseModel):
    """Bounds on one request and on all of them together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_bytes: int = Field(20 * 2**20, ge=1024, le=2**31, description="Largest request body, in bytes.")
    picture_pixels: int = Field(50_000_000, ge=1, le=10**9, description="Largest picture, in pixels.")
    picture_side_px: int = Field(16_384, ge=1, le=65_535, description="Longest side of a picture, in pixels.")
    in_flight_requests: int = Field(64, ge=1, le=10_000, description="Requests being worked on at a time.")
    in_flight_bytes: int = Field(
        256 * 2**20, ge=1024, description="Bytes of all uploads being worked on at a time."
    )
    in_flight_pixels: int | None = Field(
        None,
        ge=1,
        description="Pixels of all pictures being worked on at a time; unset: what the memory budget holds.",
    )
    upload_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Time a client has to send its body, in seconds."
    )
    head_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Time a client has to send a request's headers, in seconds."
    )
    write_timeout_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Time a client has to take the next 256 KiB of its answer, in seconds.",
    )
    deadline_s: float = Field(
        60.0, gt=0, le=3600, description="Time from the first byte to the answer, in seconds."
    )


class Engine(BaseModel):
    """How the network is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int | None = Field(
        None, ge=1, le=256, description="Pictures in one run; unset means 32 on CUDA and 1 on a CPU."
    )
    max_delay_s: float = Field(
        0.0, ge=0, le=1, description="Time a picture waits for company while the device is idle, in seconds."
    )
    threads: int = Field(0, ge=0, le=1024, description="Cores inside one run on a CPU; 0 takes all.")
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads that decode, as many that matte, as many that encode; 0 takes one a core.",
    )
    decoders: int = Field(
        0,
        ge=0,
        le=1024,
        description="Child processes that decode, each with limits of its own, so that a decoder's fault "
        "cannot reach the server; 0 decodes in threads.",
    )
    decode_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time after which such a process is ended, in seconds."
    )
    hq_budget_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Time that `matting=hq` may take for one picture, in seconds; then it stops at its next "
        "step.",
    )
    max_models: int = Field(
        3,
        ge=1,
        le=64,
        description="Models in memory at a time; those of `CUTOUT_MODELS` stay, others come on request.",
    )
    unload_after_s: float = Field(
        900.0, gt=0, description="Time after which a model that came on request leaves if unused, in seconds."
    )


class Web(BaseModel):
    """Where the service listens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: IPv4Address | IPv6Address = Field(IPv4Address("127.0.0.1"), description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    metrics_host: IPv4Address | IPv6Address = Field(
        IPv4Address("127.0.0.1"), description="Address of the metrics page."
    )
    metrics_port: int | None = Field(
        9000, ge=0, le=65_535, description="Port of the metrics page; 0 takes a free one, `none` has no page."
    )

    connections_per_address: int | None = Field(
        64,
        ge=1,
        description="Connections that one address (of IPv6, one /64) may have at a time; `none` is any "
        "number, for a server behind a proxy.",
    )

    idle_timeout_s: int = Field(
        75,
        ge=1,
        le=86_400,
        description="Time that a connection may be idle between requests, in seconds; longer than a proxy "
        "keeps those it has, or it sends a request into one that was just closed.",
    )

    cors_origins: str | None = Field(
        None,
        description="Origins whose web pages may read answers, comma-separated: `https://shop.example`, "
        "`capacitor://localhost` of an app, or `null`.",
    )

    path_prefix: str | None = Field(
        None,
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
        description="Path under which a proxy serves this server without cutting it off: `/cutout`.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str | None) -> str | None:
        if text is not None:
            split_origins(text)
        return text

    @field_validator("metrics_port", "connections_per_address", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        return None if value == "none" else value


class Access(BaseModel):
    """Who may come in, and how much each may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: Path | None = Field(
        None, description="TOML file of keys (`cutout keys new`); read again when it changes."
    )
    key_hashes: str | None = Field(
        None, max_length=100_000, description="SHA-256 digests of keys in hex, comma-separated."
    )
    open: bool = Field(
        default=False, description="Listen on other addresses than this machine's own without any key."
    )
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests a minute of a key whose table in the file has no number of its own."
    )
    megapixels_per_minute: float | None = Field(None, gt=0, description="Megapixels a minute of such a key.")

    @property
    def is_decided(self) -> bool:
        """Whether the operator said who may come in: whoever has a key, or everybody."""
        return self.open or self.keys_file is not None or bool(self.key_hashes)


class Remote(BaseModel):
    """Pictures that are fetched by their URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=False, description="Fetch pictures that requests name by `image_url`, from public hosts only."
    )
    connect_timeout_s: float = Field(
        3.0, gt=0, le=60, description="Time to find and reach the host of an `image_url`, in seconds."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time until its picture has to be here, in seconds."
    )
    in_flight: int = Field(16, ge=1, le=10_000, description="Pictures being fetched at a time.")


class Lifecycle(BaseModel):
    """How the process ends, and who starts it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain_delay_s: float = Field(
        5.0, ge=0, le=300, description="Time to serve on after SIGTERM, while routing adapts, in seconds."
    )
    drain_timeout_s: float = Field(
        30.0, ge=0, le=3600, description="Time to finish accepted requests after that, in seconds."
    )
    supervise: bool = Field(
        default=False, description="Serve in a worker process, and replace it when it dies or hangs."
    )
    hang_timeout_s: float = Field(
        10.0, ge=1, le=3600, description="Silence after which a supervised worker is replaced, in seconds."
    )


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
        ("u2net",), min_length=1, description="Models to serve, comma-separated; the first is the default."
    )
    models_dir: Path = Field(Path("models"), description="Folder with one folder a model.")
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="`cuda` refuses to start when CUDA is not really active; `auto` says why not."
    )
    memory_budget: int | None = Field(
        None,
        ge=64 * 2**20,
        description="Bytes that pictures being worked on may take; unset means half of the machine's.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="One JSON object or one readable line a request; `auto` is text on a terminal."
    )
    cache_bytes: int = Field(
        0,
        ge=0,
        description="Bytes of answers to remember, by picture, options and model; 0 remembers none.",
    )
    limits: Limits = Limits()
    engine: Engine = Engine()
    web: Web = Web()
    access: Access = Access()
    remote: Remote = Remote()
    lifecycle: Lifecycle = Lifecycle()

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


class UnknownSetting(ValueError):
    """The environment holds a ``CUTOUT_*`` variable that means nothing."""


def read_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings from the environment.

    Args:
        environ: Where to look for unknown names; the process environment by default.
        overrides: Fields that the command line decides.

    Raises:
        UnknownSetting: A ``CUTOUT_*`` variable names no setting.
        pydantic.ValidationError: A value is out of its bounds.
    """
    names = os.environ if environ is None else environ
    known = {variable for variable, _, _ in describe()}
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise UnknownSetting(f"Unknown settings: {', '.join(unknown)}. The README lists those that exist.")
    return Settings(**overrides)  # type: ignore[arg-type] # pydantic checks them


def describe() -> list[tuple[str, str, str]]:
    """Return (variable, default, meaning) of every setting, in order."""
    rows: list[tuple[str, str, str]] = []
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_field in group.model_fields.items():
                variable = f"{PREFIX}{name}__{inner}".upper()
                rows.append((variable, _shown(inner_field.default), inner_field.description or ""))
            continue
        rows.append((f"{PREFIX}{name}".upper(), _shown(field.default), field.description or ""))
    return rows


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
