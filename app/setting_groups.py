"""Setting groups: the settings of each part of the service, with unit, default, bounds and description.

``app/settings.py`` joins them into ``Settings``.
"""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.origins import split_origins

MODEL_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
ModelName = Annotated[str, Field(pattern=MODEL_PATTERN)]


class Limits(BaseModel):
    """Limits on one request, and on all requests in flight together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upload_bytes: int = Field(20 * 2**20, ge=1024, le=2**31, description="Largest request body, in bytes.")
    picture_pixels: int = Field(50_000_000, ge=1, le=10**9, description="Largest picture, in pixels.")
    picture_side_px: int = Field(16_384, ge=1, le=65_535, description="Longest side of a picture, in pixels.")
    in_flight_requests: int = Field(
        64, ge=1, le=10_000, description="Maximum number of requests in flight at a time."
    )
    in_flight_bytes: int | None = Field(
        None,
        ge=1024,
        description="Size of all uploads in flight at a time, in bytes; unset: an eighth of the memory "
        "budget, at most 256 MiB.",
    )
    in_flight_pixels: int | None = Field(
        None,
        ge=1,
        description="Pixels of all pictures in flight at a time; unset: as many as fit the memory budget.",
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
        description="Time a client has to receive the next 256 KiB of the response, in seconds.",
    )
    deadline_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Time from the first byte of a request to its response, in seconds.",
    )
    batches: int = Field(4, ge=1, le=1000, description="Maximum number of batches in progress at a time.")
    batch_items: int = Field(1000, ge=1, le=100_000, description="Most pictures of a batch.")
    batch_bytes: int = Field(2**30, ge=1024, description="Largest body of a batch, in bytes.")
    batch_deadline_s: float = Field(
        3600.0, gt=0, le=86_400, description="Time from the first byte of a batch to its end, in seconds."
    )
    batch_concurrency: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Pictures of all batches that are processed at a time; unset: one per core, or as many "
        "as one run on CUDA takes.",
    )
    batch_unread_bytes: int = Field(
        16 * 2**20,
        ge=0,
        description="Results of a batch that are kept while its client sends but does not read, in bytes.",
    )


class Engine(BaseModel):
    """Threads, processes, batches and models in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int | None = Field(
        None, ge=1, le=256, description="Maximum pictures in one run; unset: 32 on CUDA, 1 on a CPU."
    )
    max_delay_s: float = Field(
        0.0, ge=0, le=1, description="Time an idle device waits for a batch to fill, in seconds."
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Cores used inside one run on a CPU; 0 uses all, or as many as the CPU quota allows.",
    )
    workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads in each of the pools that decode, matte and encode; 0 is one per core, or as "
        "many as the CPU quota allows.",
    )
    decoders: int = Field(
        0,
        ge=0,
        le=1024,
        description="Sandboxed child processes that decode, so that a crash of a decoder cannot reach the "
        "server; 0 decodes in threads.",
    )
    decode_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time after which such a process is killed, in seconds."
    )
    hq_budget_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="Time for `matting=hq`, and for strokes, on one picture, in seconds; then they stop at "
        "their next step.",
    )
    max_models: int = Field(
        3,
        ge=1,
        le=64,
        description="Models in memory at a time; those in `CUTOUT_MODELS` are never unloaded, others are "
        "loaded on request.",
    )
    models_bytes: int | None = Field(
        None,
        ge=2**20,
        description="Memory for models and their runs, in bytes; a model that does not fit is refused; "
        "unset: no limit but `CUTOUT_ENGINE__MAX_MODELS`.",
    )
    unload_after_s: float = Field(
        900.0, gt=0, description="Idle time after which a model loaded on request is unloaded, in seconds."
    )


class ModelFor(BaseModel):
    """Models by the type of subject that clients of remove.bg declare."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: ModelName | None = Field(
        None, description="Model for remove.bg's `type=person`; unset: the default model."
    )
    product: ModelName | None = Field(None, description="Model for `type=product`, likewise.")
    car: ModelName | None = Field(None, description="Model for `type=car`, likewise.")

    def named(self) -> dict[str, str]:
        """Return the models that are set, by type."""
        return {kind: name for kind, name in self.model_dump().items() if name is not None}


class Web(BaseModel):
    """Addresses, connections and browsers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: IPv4Address | IPv6Address = Field(IPv4Address("127.0.0.1"), description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 chooses a free port.")
    metrics_host: IPv4Address | IPv6Address = Field(
        IPv4Address("127.0.0.1"), description="Address of the metrics page."
    )
    metrics_port: int | None = Field(
        9000,
        ge=0,
        le=65_535,
        description="Port of the metrics page; 0 chooses a free port, `none` disables the page.",
    )

    connections_per_address: int | None = Field(
        64,
        ge=1,
        description="Maximum connections per address (for IPv6, per /64) at a time; `none` is unlimited, for "
        "a server behind a proxy.",
    )

    idle_timeout_s: int = Field(
        75,
        ge=1,
        le=86_400,
        description="Time a connection may be idle between requests, in seconds; set it longer than a "
        "proxy's own, or the proxy sends requests on connections that were just closed.",
    )

    cors_origins: str | None = Field(
        None,
        description="Origins whose web pages may read responses, comma-separated: `https://shop.example`, "
        "`capacitor://localhost` for an app, or `null`.",
    )

    path_prefix: str | None = Field(
        None,
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
        description="Path prefix under which a proxy forwards requests without removing it: `/cutout`.",
    )

    playground: bool = Field(
        default=True, description="Serve the page at `/` on which people try the service in a browser."
    )

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, text: str | None) -> str | None:
        if text is not None:
            split_origins(text)
        return text

    @field_validator("metrics_port", "connections_per_address", mode="before")
    @classmethod
    def _parse_none(cls, value: object) -> object:
        return None if value == "none" else value


class Access(BaseModel):
    """API keys and their quotas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: Path | None = Field(
        None, description="TOML file of API keys (`cutout keys new`); reloaded when it changes."
    )
    key_hashes: str | None = Field(
        None, max_length=100_000, description="SHA-256 digests of API keys in hex, comma-separated."
    )
    open: bool = Field(
        default=False, description="Allow listening on addresses other than loopback without API keys."
    )
    requests_per_minute: float | None = Field(
        None, gt=0, description="Requests per minute for keys without a rate of their own in the file."
    )
    megapixels_per_minute: float | None = Field(
        None, gt=0, description="Megapixels per minute for keys without a rate of their own in the file."
    )

    @property
    def is_decided(self) -> bool:
        """Whether the operator configured access: API keys, or open to all."""
        return self.open or self.keys_file is not None or bool(self.key_hashes)


class Remote(BaseModel):
    """Fetching of pictures by URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=False, description="Fetch the picture at a request's `image_url`, from public hosts only."
    )
    connect_timeout_s: float = Field(
        3.0, gt=0, le=60, description="Time to resolve and connect to the host of an `image_url`, in seconds."
    )
    timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time to fetch the picture at an `image_url`, in seconds."
    )
    in_flight: int = Field(16, ge=1, le=10_000, description="Maximum number of fetches at a time.")


class Lifecycle(BaseModel):
    """Shutdown and supervision of the server process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drain_delay_s: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Time to keep accepting requests after SIGTERM, while load balancers react, in seconds.",
    )
    drain_timeout_s: float = Field(
        30.0, ge=0, le=3600, description="Time to finish accepted requests after that, in seconds."
    )
    supervise: bool = Field(
        default=False, description="Run the server in a child process, and replace it when it dies or hangs."
    )
    hang_timeout_s: float = Field(
        10.0,
        ge=1,
        le=3600,
        description="Time without a heartbeat after which a supervised server process is replaced, in "
        "seconds.",
    )
