"""Local: processes pictures in this process, with the server's own pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.removal.requests import RequestTemplate
from app.cli.removal.values import Problem, Processed, Rejected
from app.errors import CutoutError, ModelUnavailable
from app.pipeline.local import LocalPipeline, open_local_pipeline
from app.settings import Settings
from app.web.problems import PROBLEMS


class LocalProcessor:
    """Runs requests through a pipeline in this process."""

    def __init__(self, pipeline: LocalPipeline, template: RequestTemplate, *, timeout_s: float) -> None:
        self.in_flight = pipeline.in_flight
        self.pipeline = pipeline
        self._template = template
        # The pictures in flight share the machine, so each may take as long as all of them one by one.
        self._timeout_s = timeout_s * self.in_flight

    async def start(self) -> None:
        """Do nothing: the models are loaded already."""

    async def close(self) -> None:
        """Do nothing: the pipeline belongs to ``open_local``."""

    async def process(self, upload: bytes) -> Processed:
        """Return the result for one picture.

        Raises:
            Rejected: A step refuses the picture.
        """
        try:
            request = self._template.parse(upload)
            result, steps = await self.pipeline.run_when_admitted(request, timeout_s=self._timeout_s)
        except CutoutError as error:
            raise Rejected(problem_of(error)) from error
        info = result.info
        return Processed(
            result.encoded,
            result.media_type,
            info.model,
            info.provider,
            info.precision,
            info.verdict.label,
            info.warnings,
            {name: round(seconds * 1e3, 2) for name, seconds in steps.seconds.items()},
            (result.width_px, result.height_px),
            result.mask,
        )


def problem_of(error: CutoutError) -> Problem:
    """Return an error as the API would describe it; the detail of a model's error is for operators."""
    kind = next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)
    detail = error.reason if isinstance(error, ModelUnavailable) else str(error)
    return Problem(kind.slug, kind.title, detail)


@contextmanager
def open_local(settings: Settings, template: RequestTemplate) -> Iterator[LocalProcessor]:
    """Load the models, for the block.

    Raises:
        ModelUnavailable: The model is missing, or does not match its manifest.
        ProviderUnavailable: CUDA was requested and is not active.
    """
    with open_local_pipeline(settings) as pipeline:
        yield LocalProcessor(pipeline, template, timeout_s=settings.limits.deadline_s)
