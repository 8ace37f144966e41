"""``cutout doctor``: prints the device, models and settings that the server would use."""

import typer
from rich.console import Console

from app.errors import ModelUnavailable, ProviderUnavailable
from app.settings import Settings, describe, read_settings


def doctor() -> None:
    """Show which device and models the server would use on this machine, and why."""
    # Imported here, because every command imports this module, and the supervisor must stay small.
    from app.engine.models.device import probe, usable_cores
    from app.engine.models.onnxruntime_loader import onnxruntime
    from app.pipeline.build import open_pipeline
    from app.telemetry import Telemetry

    settings = read_settings()
    found = probe(settings.device)
    console = Console(highlight=False, soft_wrap=True)
    providers = ", ".join(onnxruntime.get_available_providers())
    console.print(f"onnxruntime       {onnxruntime.__version__}, built with {providers}")
    console.print(f"device            {settings.device}")
    console.print(f"processor cores   {usable_cores()}")
    console.print(
        f"CUDA              {'available' if found.why_not_cuda is None else 'no: ' + found.why_not_cuda}"
    )
    failed = False
    for name in settings.models:
        try:
            pipeline = open_pipeline(settings.model_copy(update={"models": (name,)}), Telemetry())
            console.print(f"model {name:<11} runs on {pipeline.models.provider}, sha256 verified")
            pipeline.close()
        except ModelUnavailable as error:
            failed = True
            console.print(f"model {name:<11} cannot be served: {error.reason}")
        except ProviderUnavailable as error:
            failed = True
            console.print(f"model {name:<11} cannot be served: {error}")
    console.print("settings")
    for variable, _, _ in describe():
        console.print(f"  {variable:<36} {_value_of(settings, variable)}")
    if failed:
        raise typer.Exit(1)


def _value_of(settings: Settings, variable: str) -> str:
    value: object = settings
    for part in variable.removeprefix("CUTOUT_").lower().split("__"):
        value = getattr(value, part)
    return ",".join(value) if isinstance(value, tuple) else str(value)
