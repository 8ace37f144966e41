"""Benchmark: what each option costs a megapixel, and whether that grows with the picture.

    python -m benchmarks.options [--megapixels 1 12 48] [--runs 2] [--only shadow]

Goes through every field and value of ``MaskOptions`` and ``CutoutOptions``, one at a time, by the functions
that serve, on a synthetic map. Processor time of one thread, the best of ``--runs``, per megapixel of the
picture, for each step of its own. A step that costs more than ``MAX_RATIO`` times as much a pixel for the
largest picture as for the smallest is marked; below ``MIN_MS`` a megapixel it is too small to tell. A field
of the models that nothing here varies is listed as not measured, so that the next option shows.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import cv2
import numpy as np

from app.arrays import Rgb, SaliencyMap
from app.engine.capacity.memory import tune_allocator
from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import Picture
from app.imaging.layout.region import frame_picture, saliency_from_mask
from app.imaging.matting.painting import paint
from app.imaging.matting.refine import blend_maps, choose_crop, prepare_crop
from app.imaging.prepare import prepare
from app.options import CutoutOptions, MaskOptions
from app.options_parser import parse_options
from app.pipeline.footprint import PictureLimits
from app.pipeline.values import Segmentation
from app.telemetry import StepTimes
from benchmarks.pictures import photo
from benchmarks.report import print_machine, print_table
from tests.fakes import SimulatedSource
from tests.rendering import result_of

MAX_RATIO, MIN_MS = 1.5, 2.0
LIMITS = PictureLimits(pixels=2**40, side_px=2**20, memory_bytes=2**40)
STEPS = ("prepare", "matte", "strokes", "compose", "encode")
_MAP_PX = 320

FREE = {
    "model": "chooses the network",
    "require_foreground": "looks at the map's maximum",
    "shadow_opacity": "a factor of shadow",
}
"""Fields that cost nothing here, and why."""
SAMPLES: Mapping[str, Sequence[Any]] = {
    "quality": (50, 100),
    "clean": (0.001,),
    "threshold": (0.5,),
    "background": ("#ff8800", "#ff880080", "blur"),
    "region": ("10% 10% 90% 90%",),
    "margin": ("10%", "50%"),
    "scale": ("30%", "100%"),
    "position": ("center", "10% 90%"),
    "megapixels": (0.5,),
    "strokes": ('[{"kind": "keep", "width": 40, "points": [[0, 0], [9000, 6000]]}]',),
}
"""Values of fields that are not a choice of a few."""
REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "quality": {"format": "webp"},
    "margin": {"crop": True},
    "zip": {},
    "jpeg": {"background": "white"},
}
"""Other options that a field, or a value, requires."""


@dataclass(frozen=True, slots=True)
class Case:
    """One option to measure, with a background, a client's mask, or alpha."""

    name: str
    kind: type[MaskOptions] | type[CutoutOptions]
    options: Mapping[str, Any] = field(default_factory=dict)
    backdrop_px: tuple[int, int] | None = None
    mask_part: float | None = None
    has_own_alpha: bool = False


class ProcessorClock:
    """The processor time of this process."""

    def now_s(self) -> float:
        """Return it in seconds."""
        return time.process_time()


def main() -> None:
    """Print a table of all options."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1.0, 12.0, 48.0])
    parser.add_argument("--runs", type=int, default=2, help="the best of so many counts")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    asked = parser.parse_args()
    print_machine()
    cv2.setNumThreads(1)  # as the worker threads do
    tune_allocator()
    cases = [case for case in cases_of_all_options() if asked.only in case.name]
    rows = (row for case in cases for row in _rows(case, asked.megapixels, asked.runs))
    sizes = [f"{size:g} MP" for size in asked.megapixels]
    print_table(("option", "step", *sizes, "ratio", "verdict"), rows)
    print(f"ms of a processor a megapixel; not measured: {', '.join(not_measured()) or 'nothing'}")


def cases_of_all_options() -> Iterator[Case]:
    """Yield the defaults of both endpoints, then each value of each option, then additional pictures."""
    for kind in (MaskOptions, CutoutOptions):
        matting = (
            {} if kind is MaskOptions else {"matting": "none"}
        )  # what costs the most is a case of its own
        label = kind.__name__.removesuffix("Options").lower()
        yield Case(f"{label}", kind, matting)
        for name in kind.model_fields:
            for value in _values(kind, name):
                required = {**REQUIRED.get(name, {}), **REQUIRED.get(str(value), {})}
                more = {key: required[key] for key in required if key in kind.model_fields}
                yield Case(f"{label} {name}={value}", kind, {**matting, **more, name: value})
        yield Case(f"{label} of a picture with alpha", kind, matting, has_own_alpha=True)
    plain = {"matting": "none"}
    for name, part in (("small", 0.3), ("as large as the picture", 1.0)):
        for options in (plain, {"matting": "fast"}, {**plain, "clean": 0.001}):
            chosen = " ".join(f"{key}={value}" for key, value in options.items())
            yield Case(f"cutout mask {name}, {chosen}", CutoutOptions, options, mask_part=part)
    for name, size in (("small", (60, 90)), ("tall", (1200, 10)), ("large", (3000, 4000))):
        yield Case(f"cutout picture behind, {name}", CutoutOptions, plain, backdrop_px=size)
    everything = {**plain, "crop": True, "margin": "20%", "shadow": "drop", "channels": "rgba"}
    yield Case(
        "cutout crop, margin, shadow, picture behind", CutoutOptions, everything, backdrop_px=(600, 900)
    )


def not_measured() -> list[str]:
    """Return the fields that no case varies."""
    return [
        f"{kind.__name__}.{name}"
        for kind in (MaskOptions, CutoutOptions)
        for name in kind.model_fields
        if name not in FREE and not _values(kind, name)
    ]


def _values(kind: type[MaskOptions] | type[CutoutOptions], name: str) -> list[Any]:
    """Return what to measure of a field: every choice but the default, or the samples."""
    declared = kind.model_fields[name]
    if name in SAMPLES or name in FREE:
        return list(SAMPLES.get(name, ()))
    choices = [True] if declared.annotation is bool else list(get_args(declared.annotation))
    return [value for value in choices if isinstance(value, str | bool) and value != declared.default]


def _rows(case: Case, sizes: Sequence[float], runs: int) -> Iterator[tuple[str, ...]]:
    """Measure one case at every size; a row for each step that takes any time."""
    per_size = [_measured(case, size, runs) for size in sizes]
    for step in STEPS:
        costs_ms = [costs.get(step, 0.0) for costs in per_size]
        if max(costs_ms) < MIN_MS / 4:
            continue
        ratio = costs_ms[-1] / max(costs_ms[0], 1e-9)
        grows = ratio > MAX_RATIO and costs_ms[-1] > MIN_MS
        verdict = "**GROWS**" if grows else "ok"
        yield (case.name, step, *(f"{cost:.1f}" for cost in costs_ms), f"{ratio:.2f}", verdict)


def _measured(case: Case, megapixels: float, runs: int) -> dict[str, float]:
    """Return milliseconds a megapixel of each step, the best of some runs."""
    rgb = photo(megapixels)
    own_alpha = np.full(rgb.shape[:2], 200, np.uint8) if case.has_own_alpha else None
    picture = Picture(rgb, own_alpha, ())
    options = parse_options(case.kind, case.options)
    saliency = _saliency(_MAP_PX, _MAP_PX)
    if case.mask_part is not None:
        part = case.mask_part**0.5
        saliency = _saliency(round(rgb.shape[0] * part), round(rgb.shape[1] * part))
    best: dict[str, float] = {}
    for _ in range(runs if megapixels > 4 else 4 * runs):
        steps = StepTimes(ProcessorClock())
        _run(case, options, picture, saliency, steps)
        for name, seconds in steps.seconds.items():
            cost_ms = 1e3 * seconds / (rgb.shape[0] * rgb.shape[1] / 1e6)
            best[name] = min(cost_ms, best.get(name, cost_ms))
    return best


def _run(
    case: Case,
    options: MaskOptions | CutoutOptions,
    picture: Picture,
    saliency: SaliencyMap,
    steps: StepTimes,
) -> None:
    """Do with a decoded picture what the service does."""
    segmentation = Segmentation(
        picture,
        saliency,
        is_empty=False,
        manifest=_manifest(),
        provider="none",
        precision="none",
        etag="",
        network_input=None if case.mask_part is not None else prepare(picture.rgb, _MAP_PX),
    )
    with steps.step("prepare"):
        if case.mask_part is not None:
            sent = np.repeat((saliency * 255).astype(np.uint8)[:, :, None], 3, axis=2)
            segmentation = replace(
                segmentation, saliency=saliency_from_mask(Picture(sent, None, ()), picture)
            )
        if options.refine == "crop":
            segmentation = replace(segmentation, saliency=_looked_at_again(picture.rgb, saliency))
        if isinstance(options, CutoutOptions) and (options.max_pixels or options.corners):
            picture, frame = frame_picture(picture, max_px=options.max_pixels, corners=options.corners)
            segmentation = replace(segmentation, picture=picture, frame=frame)
        if options.strokes is not None:
            painted = paint(*picture.rgb.shape[:2], strokes=options.painted_strokes)
            segmentation = replace(segmentation, painted=painted, provider="map")
    if case.backdrop_px is not None:
        segmentation = replace(segmentation, backdrop=cv2.resize(photo(0.1), case.backdrop_px[::-1]))
    result_of(segmentation, options, steps, hq_budget_s=1e9, limits=LIMITS)


def _looked_at_again(rgb: Rgb, saliency: SaliencyMap) -> SaliencyMap:
    """Cut out the subject and blend a second map, without the network's run between."""
    height, width = rgb.shape[:2]
    box = choose_crop(saliency, height, width) or (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    prepare_crop(rgb, box, _MAP_PX)
    return blend_maps(saliency, saliency, box, height, width)


def _saliency(height: int, width: int) -> SaliencyMap:
    """Build a map of a round subject with a soft edge, some specks and a hole, like that of ``photo``."""
    down, across = np.mgrid[0:64, 0:64].astype(np.float32) / 64 + 1 / 128
    distance = np.hypot(0.75 * (down - 0.5), across - 0.5)
    small = np.clip((0.25 - distance) / 0.05 + 0.5, 0, 1).astype(np.float32)
    small[3, 3] = small[60, 8] = 1
    small[32, 32] = 0.1
    return np.clip(np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)), 0, 1)


def _manifest() -> Manifest:
    return SimulatedSource(frozenset({"disc"})).load("disc").session.manifest


if __name__ == "__main__":
    main()
