"""Values: what a run of ``cutout remove`` passes from part to part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal, Protocol

Status = Literal["written", "skipped", "failed", "pending"]
"""``pending`` pictures were not started before the run was interrupted."""


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to read.

    Attributes:
        path: The file; ``-`` is the standard input.
        folder: Its folder, relative to the folder or glob of the command line that it was found in.
        is_named: Whether the command line names the file itself.
    """

    path: Path
    folder: PurePath = field(default_factory=PurePath)
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The files to write for one picture.

    Attributes:
        stem: The path of the result, without the suffix of its format.
        suffixes: The suffix by media type; more than one if the picture decides the format.
        mask: The path of the mask, if both results were requested.
    """

    stem: Path
    suffixes: Mapping[str, str]
    mask: Path | None = None

    @property
    def candidates(self) -> tuple[Path, ...]:
        """The paths that the result may get."""
        return tuple(self.path_for(media_type) for media_type in self.suffixes)

    def path_for(self, media_type: str) -> Path:
        """Return the path of a result of this media type."""
        return self.stem.with_name(self.stem.name + self.suffixes[media_type])


@dataclass(frozen=True, slots=True)
class Item:
    """A picture, and the files to write for it."""

    source: Source
    target: Target


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a picture failed: the slug, title and detail of a problem, as in the API."""

    type: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Processed:
    """A result, with the properties that the summary and the report contain.

    ``steps_ms`` are the durations of the steps in milliseconds, ``mask`` is the mask as PNG.
    """

    encoded: bytes
    media_type: str
    model: str
    provider: str
    precision: str
    verdict: str
    warnings: tuple[str, ...] = ()
    steps_ms: Mapping[str, float] = field(default_factory=dict)
    size_px: tuple[int, int] | None = None
    mask: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture; ``took_s`` is the time from its start to its end."""

    source: Path
    status: Status
    outputs: tuple[Path, ...] = ()
    problem: Problem | None = None
    processed: Processed | None = None
    took_s: float = 0.0


class Processor(Protocol):
    """Removes the background of pictures, several at a time."""

    in_flight: int
    """How many pictures to process at a time, so that the device is never idle."""

    async def start(self) -> None:
        """Prepare for the first picture.

        Raises:
            RunEnded: No picture can be processed.
        """

    async def close(self) -> None:
        """Release what ``start`` and the pictures needed."""

    async def process(self, upload: bytes) -> Processed:
        """Return the result for one picture.

        Raises:
            Rejected: The picture failed.
            RunEnded: No picture can be processed.
        """


class UsageProblem(ValueError):
    """The arguments of the command make no sense together."""


class Rejected(Exception):
    """One picture failed."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


class RunEnded(Exception):
    """Every further picture would fail for the same reason, such as a wrong key."""
