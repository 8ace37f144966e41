"""Diagnosis: collects what ``cutout doctor`` reports."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.cli.advice import Situation, advise
from app.cli.sample_run import Sample, run_sample
from app.engine.capacity.admission import Budget
from app.engine.capacity.cgroup import Limit
from app.engine.capacity.memory import available_memory
from app.engine.capacity.processor import Processor, usable_processor
from app.engine.models.device import CPU, Probe, probe
from app.engine.models.onnxruntime_loader import onnxruntime
from app.engine.models.precision import PrecisionChoice
from app.errors import ModelUnavailable, ProviderUnavailable
from app.imaging.formats.sniff import Header
from app.options import CutoutOptions
from app.pipeline.footprint import footprint
from app.pipeline.local import open_local_pipeline
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Machine:
    """What the network can run on, and the limits of this process; ``memory`` is in bytes."""

    runtime: str
    providers: tuple[str, ...]
    device: str
    processor: Processor
    memory: Limit | None
    why_not_cuda: str | None


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether a model can be served.

    ``problem`` is why not, ``precision`` what it is served in, ``budget`` what it leaves for requests.
    """

    name: str
    provider: str | None = None
    precision: PrecisionChoice | None = None
    problem: str | None = None
    budget: Budget | None = None
    sample: Sample | None = None
    advice: tuple[str, ...] = ()


def examine_machine(settings: Settings) -> Machine:
    """Return what the network can run on."""
    found: Probe = probe(settings.device)
    return Machine(
        onnxruntime.__version__,
        tuple(onnxruntime.get_available_providers()),
        settings.device,
        usable_processor(),
        available_memory(),
        found.why_not_cuda,
    )


def examine_models(settings: Settings, machine: Machine, *, has_sample: bool) -> Iterator[ModelState]:
    """Load one model after the other, and yield its state.

    Args:
        settings: The settings of the server.
        machine: The machine.
        has_sample: Whether to process a sample picture with each.
    """
    for name in settings.models:
        load = _load_of_machine()
        try:
            with open_local_pipeline(settings.model_copy(update={"models": (name,)})) as local:
                session = local.pipeline.models.sessions[name]
                provider, choice = session.provider, session.choice
                budget = local.pipeline.budget
                sample = run_sample(local) if has_sample else None
        except ModelUnavailable as error:
            yield ModelState(name, problem=error.reason)
        except ProviderUnavailable as error:
            yield ModelState(name, problem=str(error))
        else:
            state = ModelState(name, provider, choice, budget=budget, sample=sample)
            yield replace(state, advice=tuple(_advice(settings, machine, state, load)))


def _advice(settings: Settings, machine: Machine, state: ModelState, load: float | None) -> list[str]:
    sample, budget = state.sample, state.budget
    if sample is None or budget is None:
        return []
    header = Header("jpeg", 4000, 3000, "image/jpeg")
    phone = footprint(header, CutoutOptions(), limit_px=settings.limits.picture_pixels)
    return advise(
        Situation(
            model=state.name,
            steps_ms=sample.steps_ms,
            alone_s=sample.alone_s,
            together_per_s=sample.together_per_s,
            is_on_cpu=state.provider == CPU,
            why_not_cuda=machine.why_not_cuda,
            cores=machine.processor.threads,
            threads=settings.engine.threads,
            load=load,
            fitting=budget.memory_bytes // phone.memory_bytes,
            in_flight=sample.in_flight,
            deadline_s=settings.limits.deadline_s,
        )
    )


def _load_of_machine() -> float | None:
    """Return how many programs wanted a core on average in the last minute, if that is known."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
