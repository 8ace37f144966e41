"""Service: the parts that the routes share; there is no pipeline until the models are warm."""

from dataclasses import dataclass

from starlette.requests import Request

from app.engine.capacity.admission import Admission
from app.engine.capacity.idempotency import IdempotencyKeys
from app.engine.clock import Clock
from app.errors import NotReady
from app.pipeline.run import Pipeline
from app.settings import Settings
from app.telemetry import Telemetry
from app.web.api_keys import ApiKeys
from app.web.drain import Drain
from app.web.lingering import DropRate
from app.web.request.fetch import PictureFetcher


@dataclass(slots=True)
class Service:
    """The parts of a running service.

    ``pipeline`` appears once models are loaded and warm; without ``fetcher`` no picture is fetched by URL.
    """

    settings: Settings
    telemetry: Telemetry
    admission: Admission
    clock: Clock
    drain: Drain
    keys: ApiKeys
    idempotency_keys: IdempotencyKeys
    drop_rate: DropRate
    fetcher: PictureFetcher | None = None
    pipeline: Pipeline | None = None
    failure: Exception | None = None

    def ready_pipeline(self) -> Pipeline:
        """Return the pipeline.

        Raises:
            NotReady: The models are not loaded yet, or cannot be.
        """
        if self.pipeline is None:
            raise NotReady(
                "The model could not be loaded." if self.failure else "The model is still loading."
            )
        return self.pipeline


def service_of(request: Request) -> Service:
    """Return the service that a request is for."""
    service = request.app.state.service
    assert isinstance(service, Service)  # noqa: S101 - create_app puts it there
    return service
