"""Footprint: measures the peak memory of each option, against what ``app/pipeline/footprint.py`` counts.

    python -m benchmarks.footprint [--megapixels 6] [--only TEXT] [--every 1]

Processes each option, and combinations of those that make arrays, from upload to encoded result, with a map
in place of the network. The increase of the process's high-water mark (``VmHWM``, reset beforehand) must not
exceed what is counted. Linux only: reads ``/proc``. Exits with 1 if a case takes more.
"""

import argparse
import gc
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, ImageCms

from app.engine.capacity.memory import give_back_freed_memory, tune_allocator
from app.engine.clock import SystemClock
from app.engine.models.manifest import Manifest, WeightsOrigin
from app.imaging.formats.sniff import sniff
from app.imaging.matting.saliency import resize_saliency
from app.options import CutoutOptions, MaskOptions
from app.options_parser import parse_options
from app.pipeline.encode import encode_result
from app.pipeline.footprint import footprint
from app.pipeline.render import RenderLimits, render
from app.pipeline.values import OWN_MASK_PROVIDER, ImageRequest, Segmentation
from app.telemetry import StepTimes
from benchmarks.pictures import photo
from benchmarks.report import print_machine, print_table
from benchmarks.server import forget_peak, status_bytes
from tests.rendering import LIMITS, admitted, prepared

SPARE_BYTES = 3 * 2**20
"""Memory that does not depend on the pixels: code and tables that a library loads at its first use."""
UPLOADS = (
    *("jpeg", "progressive", "turned", "cmyk", "png", "png alpha", "png 16"),
    *("png 16 linear", "png hlg", "jpeg without end", "webp", "gif", "bmp", "avif"),
    *("jpeg with profile", "png with profile", "progressive cmyk"),
)
COLOUR_CHUNKS = {
    "png 16 linear": (b"gAMA", (100_000).to_bytes(4, "big")),
    "png hlg": (b"cICP", bytes((9, 18, 0, 1))),
}
"""The chunk that declares the colour space of a PNG that is not sRGB, by the kind of upload."""
ORIGIN = WeightsOrigin(source="none", sha256="0" * 64, license="CC0-1.0", authors="none")
MANIFEST = Manifest(
    name="map",
    architecture="none",
    sha256="0" * 64,
    size_bytes=0,
    opset=18,
    input_size_px=320,
    output="saliency",
    precision="float32",
    parameters=0,
    weights=ORIGIN,
    quality={},
)


@dataclass(frozen=True, slots=True)
class Case:
    """One path: endpoint, options, upload, and the sizes of the other pictures relative to it.

    ``is_soft`` replaces the map by one that is sure of nothing, so that matting works on every pixel.
    """

    endpoint: str
    options: Mapping[str, object] = field(default_factory=dict)
    upload: str = "jpeg"
    backdrop: float = 0.0
    mask: float = 0.0
    drawn: float = 0.0
    is_soft: bool = False

    @property
    def name(self) -> str:
        """The case in words."""
        options = " ".join(f"{name}={value}" for name, value in self.options.items()) or "defaults"
        extra = f", background {self.backdrop:g}×" if self.backdrop else ""
        extra += f", mask {self.mask:g}×" if self.mask else ""
        extra += f", keep and remove {self.drawn:g}×" if self.drawn else ""
        extra += ", soft everywhere" if self.is_soft else ""
        return f"{self.upload} → {self.endpoint}, {options}{extra}"


@dataclass(frozen=True, slots=True)
class Measured:
    """The memory that one case took and that is counted for it, in bytes."""

    case: Case
    taken: int
    counted: int


STROKES = json.dumps([{"kind": "keep", "width": 90, "points": [[100, 100], [600, 400]]}])
CUTOUT_OPTIONS: tuple[dict[str, object], ...] = (
    {},
    *({"format": name} for name in ("webp", "avif", "zip")),
    *({"format": name, "background": "white"} for name in ("jpeg", "avif", "webp", "png")),
    *({"format": "webp", "quality": 100}, {"format": "avif", "quality": 100}),
    *({"matting": name} for name in ("none", "hq")),
    *({"clean": 0.01}, {"refine": "crop"}, {"threshold": 0.5}, {"results": "mask,cutout"}),
    *({"haze": "keep"}, {"matting": "none", "refine": "crop"}),
    *({"background": "blur"}, {"background": "#ff880080"}, {"channels": "alpha"}, {"report_box": True}),
    *({"crop": True, "margin": "50%"}, {"crop": True, "margin": "50%", "shadow": "drop"}),
    *({"scale": "100%"}, {"scale": "20%", "position": "10% 80%"}, {"position": "center"}),
    *({"shadow": "drop"}, {"shadow": "drop", "background": "white"}, {"region": "10% 10% 90% 90%"}),
    *({"strokes": STROKES}, {"strokes": STROKES, "matting": "none"}, {"strokes": STROKES, "matting": "hq"}),
    *({"megapixels": 1}, {"channels": "rgba", "background": "white"}),
    {"crop": True, "margin": "50%", "shadow": "drop", "background": "red", "format": "avif"},
    {"crop": True, "margin": "50%", "shadow": "drop", "background": "#ff880080", "format": "webp"},
)
MASK_OPTIONS: tuple[dict[str, object], ...] = (
    {},
    *({"format": name} for name in ("webp", "jpeg", "avif")),
    *({"matting": name} for name in ("fast", "hq")),
    *({"threshold": 0.5}, {"size": "network"}, {"clean": 0.01}, {"refine": "crop"}),
    {"strokes": STROKES},
)
DRAWN = ("keep", "remove")
CROPPED = {"crop": True, "margin": "50%", "shadow": "drop"}
EXTRA_PICTURES = (
    Case("cutout", backdrop=1.0),
    Case("cutout", {"format": "avif"}, backdrop=3.0),
    Case("cutout", CROPPED, "png alpha", backdrop=3.0),
    *(Case("cutout", {"channels": "rgba"}, backdrop=part) for part in (0.1, 1.0, 3.0)),
    Case("cutout", mask=1.0),
    Case("cutout", {"matting": "none"}, mask=1.0),
    Case("cutout", {"matting": "hq"}, mask=2.0),
    Case("cutout", {"clean": 0.01}, mask=2.0),
    Case("cutout", {**CROPPED, "format": "webp"}, "png alpha", backdrop=2.0, mask=2.0),
    Case("mask", mask=1.0, drawn=1.0),
    Case("mask", drawn=3.0),
    Case("cutout", mask=1.0, drawn=1.0),
    Case("cutout", {**CROPPED, "strokes": STROKES}, "png alpha", backdrop=1.0, drawn=2.0),
)


SOFT_OPTIONS: tuple[dict[str, object], ...] = ({}, {"refine": "crop"}, {"matting": "hq"}, {"clean": 0.01})


def cases() -> Iterator[Case]:
    """Yield every case."""
    yield from (Case("mask", options) for options in MASK_OPTIONS)
    yield from (Case("cutout", options) for options in CUTOUT_OPTIONS)
    for upload in UPLOADS[1:]:
        yield from (Case(endpoint, upload=upload) for endpoint in ("mask", "cutout"))
    yield Case("mask", {"matting": "fast", "threshold": 0.5}, "png alpha")
    yield Case("cutout", {"format": "avif", "refine": "crop"}, "png alpha")
    yield from (
        Case("cutout", options, "png alpha") for options in ({"background": "blur"}, {"megapixels": 1})
    )
    yield from EXTRA_PICTURES
    yield from (Case("cutout", options, is_soft=True) for options in SOFT_OPTIONS)
    yield Case("mask", {"matting": "fast"}, is_soft=True)


def measure(case: Case, megapixels: float) -> Measured:
    """Process one case, and read its peak memory."""
    options = parse_options(MaskOptions if case.endpoint == "mask" else CutoutOptions, case.options)
    upload = upload_of(case.upload, megapixels)
    header = sniff(upload)
    extra = {
        role: None if part == 0 else upload_of(kind, part * megapixels)
        for role, kind, part in (
            ("backdrop", "png alpha", case.backdrop),
            ("mask", "png alpha" if case.upload == "png alpha" else "png", case.mask),
            *((name, "png alpha" if case.upload == "png alpha" else "png", case.drawn) for name in DRAWN),
        )
    }
    headers = {role: None if sent is None else sniff(sent) for role, sent in extra.items()}
    longest = max(len(sent) for sent in (upload, *extra.values()) if sent is not None)
    counted = footprint(header, options, limit_px=LIMITS.pixels, upload_bytes=longest, **headers)
    request = admitted(upload, options, **extra)
    gc.collect()
    give_back_freed_memory()
    held_bytes = status_bytes("self", "VmRSS")
    forget_peak("self")
    _process(request, is_soft=case.is_soft)
    return Measured(case, status_bytes("self", "VmHWM") - held_bytes, counted.memory_bytes)


def _process(request: ImageRequest, *, is_soft: bool) -> None:
    steps, options = StepTimes(SystemClock()), request.options
    decoded = prepared(request, steps, manifest=MANIFEST)
    segmentation = Segmentation(
        decoded.picture,
        decoded.own_mask if decoded.own_mask is not None else _map(options, is_soft=is_soft),
        is_empty=False,
        manifest=MANIFEST,
        provider=OWN_MASK_PROVIDER if decoded.own_mask is not None else "map",
        precision="none" if decoded.own_mask is not None else "float32",
        etag=decoded.etag,
        is_refined=options.refine == "crop",
        network_input=decoded.network_input,
        frame=decoded.frame,
        backdrop=decoded.backdrop,
        painted=decoded.painted,
    )
    del decoded
    rendered = render(segmentation, options, steps, RenderLimits(60.0, LIMITS))
    del segmentation
    encode_result(rendered, options, steps)


def _map(
    options: MaskOptions | CutoutOptions, *, is_soft: bool
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return a map with a large subject, soft edges, and a soft quarter that ``hq`` must solve."""
    y, x = np.mgrid[0:320, 0:320].astype(np.float32) / 320
    saliency = np.clip((0.49 - np.hypot(x - 0.5, y - 0.5)) * 20, 0, 1).astype(np.float32)
    saliency[:160, :160] = np.minimum(saliency[:160, :160], 0.5)
    if is_soft:
        saliency = np.random.default_rng(0).uniform(0.3, 0.6, saliency.shape).astype(np.float32)
    return saliency if options.refine != "crop" else resize_saliency(saliency, 960, 960)


def upload_of(kind: str, megapixels: float) -> bytes:
    """Build an upload of a kind of ``UPLOADS``."""
    if kind in COLOUR_CHUNKS:
        name, payload = COLOUR_CHUNKS[kind]
        plain = upload_of("png 16" if "16" in kind else "png", megapixels)
        chunk = (
            len(payload).to_bytes(4, "big") + name + payload + zlib.crc32(name + payload).to_bytes(4, "big")
        )
        return plain[:33] + chunk + plain[33:]
    if kind == "jpeg without end":
        return upload_of("jpeg", megapixels)[:-2]
    rgb = photo(megapixels)
    if kind == "png 16":
        deep = rgb.astype(np.uint16) * np.uint16(257)
        return bytes(cv2.imencode(".png", deep, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    picture = Image.fromarray(rgb)
    exif = Image.Exif()
    if kind in ("turned", "png alpha", "progressive cmyk") or "profile" in kind:
        exif[0x0112] = 6
    if kind in ("png alpha", "png with profile"):
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    name = next((name for name in ("png", "webp", "gif", "bmp", "avif") if kind.startswith(name)), "jpeg")
    is_progressive = kind in ("progressive", "progressive cmyk", "jpeg with profile")
    how: dict[str, object] = {
        "jpeg": {"quality": 85, "exif": exif, "progressive": is_progressive, "subsampling": 0},
        "png": {"compress_level": 1, "exif": exif},
        "webp": {"quality": 80, "method": 0},
        "avif": {"speed": 10, "subsampling": "4:4:4"},
    }.get(name, {})
    encoded = io.BytesIO()
    if "profile" in kind:
        how["icc_profile"] = _profile()
    (picture.convert("CMYK") if "cmyk" in kind else picture).save(encoded, name, **how)
    return encoded.getvalue()


def _profile() -> bytes:
    """Return the profile of a colour space that is not sRGB: that of sRGB, with another red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entry = profile.index(b"rXYZ")
    red = int.from_bytes(profile[entry + 4 : entry + 8], "big") + 8
    profile[red : red + 4] = (0x7000).to_bytes(4, "big")
    return bytes(profile)


def main() -> int:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--megapixels", type=float, default=6.0, help="size of the picture")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--every", type=int, default=1, help="only every n-th case")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    tune_allocator()
    print_machine()
    chosen = [case for case in cases() if arguments.only in case.name][:: arguments.every]
    for case in chosen:
        measure(case, 0.05)  # warms up the libraries
    results = [measure(case, arguments.megapixels) for case in chosen]
    pixels = arguments.megapixels * 1e6
    print_table(
        ("path", "taken, bytes per pixel", "counted", "taken / counted", ""),
        [
            (
                one.case.name,
                f"{one.taken / pixels:.1f}",
                f"{one.counted / pixels:.1f}",
                f"{one.taken / one.counted:.2f}",
                "" if one.taken <= one.counted + SPARE_BYTES else "**MORE**",
            )
            for one in results
        ],
    )
    return int(any(one.taken > one.counted + SPARE_BYTES for one in results))


if __name__ == "__main__":
    sys.exit(main())
