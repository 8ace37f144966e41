"""``cutout remove``: processes one picture with the pipeline of the server."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.cli.options import settings_for
from app.cli.stopping import ends_at_once
from app.engine.capacity.admission import Admission
from app.engine.clock import SystemClock
from app.options import CutoutOptions, MaskOptions, parse_options
from app.settings import Settings

if TYPE_CHECKING:
    from app.pipeline.render import Result
    from app.telemetry import StepTimes

FORMAT_BY_SUFFIX = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".avif": "avif",
    ".zip": "zip",
}


def remove(
    source: Annotated[Path, typer.Argument(help="Picture to read: JPEG, PNG, WebP, GIF or AVIF.")],
    target: Annotated[Path, typer.Argument(help="File to write; its suffix decides the format.")],
    model: Annotated[str | None, typer.Option(help="Model to use.")] = None,
    matting: Annotated[str, typer.Option(help="fast, hq or none.")] = "fast",
    background: Annotated[str, typer.Option(help="transparent, or a colour.")] = "transparent",
    refine: Annotated[str, typer.Option(help="none, or crop: look again at a small subject.")] = "none",
    clean: Annotated[float, typer.Option(help="Specks and holes below this part of the picture go.")] = 0.0,
    quality: Annotated[int, typer.Option(help="Quality of WebP, AVIF and JPEG, 1 to 100.")] = 90,
    mask: Annotated[bool, typer.Option("--mask", help="Write the mask instead of the cutout.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Remove the background of one picture."""
    suffix = target.suffix.lower()
    if suffix not in FORMAT_BY_SUFFIX:
        raise ValueError(f"{target}: the suffix must be one of {', '.join(FORMAT_BY_SUFFIX)}")
    fields: dict[str, object] = {
        "format": FORMAT_BY_SUFFIX[suffix],
        "quality": quality,
        "refine": refine,
        "clean": clean,
    }
    fields |= {} if mask else {"matting": matting, "background": background}
    options = parse_options(MaskOptions, fields) if mask else parse_options(CutoutOptions, fields)
    settings = settings_for([model] if model else None)
    upload = source.read_bytes()
    with ends_at_once():  # a step cannot be stopped, and nothing is written yet
        result, steps = asyncio.run(_process(upload, options, settings))
    target.write_bytes(result.encoded)
    took = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in steps.seconds.items())
    info = result.info
    Console(stderr=True).print(
        f"{target}: {result.width_px} × {result.height_px} px, {info.model} on {info.provider}, "
        f"verdict {info.verdict.label} ({took})",
        highlight=False,
        soft_wrap=True,
    )
    for warning in info.warnings:
        Console(stderr=True).print(f"warning: {warning}", highlight=False)


async def _process(
    upload: bytes, options: MaskOptions | CutoutOptions, settings: Settings
) -> tuple["Result", "StepTimes"]:
    """Process one picture with the pipeline of the server."""
    # Imported here, because every command imports this module, and the supervisor must stay small.
    from app.main import budget_of, open_pipeline
    from app.pipeline.run import Job
    from app.telemetry import StepTimes, Telemetry

    clock = SystemClock()
    limits = settings.limits
    pipeline = await asyncio.to_thread(open_pipeline, settings, Telemetry())
    admission = Admission(budget_of(settings))
    steps = StepTimes(clock)
    try:
        with admission.enter() as permit:
            job = Job(permit, steps, clock.now_s() + limits.deadline_s)
            if isinstance(options, MaskOptions):
                return await pipeline.mask(upload, options, job), steps
            return await pipeline.cutout(upload, options, job), steps
    finally:
        pipeline.close()
