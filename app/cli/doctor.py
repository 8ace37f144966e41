"""``cutout doctor``: reports the device, models and settings that the server would use, and what is slow."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.logs import configure_logs
from app.settings import Settings, describe, read_settings

if TYPE_CHECKING:
    from app.cli.diagnosis import Machine, ModelState
    from app.cli.sample_run import Sample


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    sample: Annotated[
        bool, typer.Option("--sample/--no-sample", help="Process a picture of 6 megapixels with each model.")
    ] = True,
) -> None:
    """Show which device and models the server would use here, what is slow, and what would help."""
    # Imported here, because every command imports this module, and the supervisor must stay small.
    from app.cli.diagnosis import examine_machine, examine_models

    settings = read_settings()
    configure_logs(settings.log_format)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    machine = examine_machine(settings)
    if not as_json:
        _print_machine(console, machine)
    states = []
    for state in examine_models(settings, machine, has_sample=sample):
        states.append(state)
        if not as_json:
            _print_model(console, state)
    if as_json:
        typer.echo(json.dumps(_as_json(settings, machine, states), indent=2, ensure_ascii=False))
    else:
        _print_settings(console, settings)
    if any(state.problem is not None for state in states):
        raise typer.Exit(1)


def _print_machine(console: Console, machine: "Machine") -> None:
    console.print(f"onnxruntime       {machine.runtime}, built with {', '.join(machine.providers)}")
    console.print(f"device            {machine.device}")
    processor, memory = machine.processor, machine.memory
    quota = "no CPU quota"
    if processor.quota is not None:
        quota = f"CPU quota of {processor.quota.value:g}, from {processor.quota.source}"
    console.print(f"processor cores   {processor.cores}, {quota}; {processor.threads} threads a step")
    found = "unknown" if memory is None else f"{memory.value / 1e6:.0f} MB, from {memory.source}"
    console.print(f"memory            {found}")
    why = machine.why_not_cuda
    console.print(f"CUDA              {'available' if why is None else f'no: {why}'}")


def _print_model(console: Console, state: "ModelState") -> None:
    if state.problem is not None:
        console.print(f"model {state.name:<11} cannot be served: {state.problem}")
        return
    console.print(f"model {state.name:<11} runs on {state.provider}, sha256 verified")
    if state.precision is not None:
        console.print(f"  precision  {state.precision.precision}: {state.precision.reason}")
    if state.budget is not None:
        console.print(
            f"  budget     {state.budget.memory_bytes / 1e6:.0f} MB for pictures, "
            f"{state.budget.upload_bytes / 1e6:.0f} MB for uploads"
        )
    if state.sample is None:
        return
    _print_sample(console, state.sample)
    for sentence in state.advice or ("Nothing stands out as slow.",):
        console.print(f"  → {sentence}")


def _print_sample(console: Console, sample: "Sample") -> None:
    total_ms = sum(sample.steps_ms.values()) or 1.0
    console.print(
        f"  {sample.megapixels:g} megapixels in {sample.alone_s:.2f} s; "
        f"{sample.together_per_s:.2f} pictures/s with {sample.in_flight} in flight"
    )
    for name, duration_ms in sample.steps_ms.items():
        share = duration_ms / total_ms
        console.print(f"  {name:<10} {duration_ms:>8.1f} ms {share:>5.0%} {'█' * round(24 * share)}".rstrip())


def _print_settings(console: Console, settings: Settings) -> None:
    console.print("settings")
    for variable, _, _ in describe():
        console.print(f"  {variable:<36} {_value_of(settings, variable)}")


def _as_json(settings: Settings, machine: "Machine", states: list["ModelState"]) -> dict[str, object]:
    return {
        "machine": asdict(machine),
        "models": [asdict(state) for state in states],
        "settings": {variable: _value_of(settings, variable) for variable, _, _ in describe()},
    }


def _value_of(settings: Settings, variable: str) -> str:
    value: object = settings
    for part in variable.removeprefix("CUTOUT_").lower().split("__"):
        value = getattr(value, part)
    return ",".join(value) if isinstance(value, tuple) else str(value)
