"""Decode: the cost of decoding an upload, as a ratio to Pillow's ``convert("RGB")`` into an array.

    python -m benchmarks.decode [--megapixels 12] [--runs 7]

One thread. Each run times every decoder on every upload once, in turn, and the medians are compared. If no
profile is applied, the app's pixels must equal Pillow's. *Ours* includes everything: sniffing, metadata,
orientation and colour profile.
"""

import argparse
import io
import statistics
import struct
import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from benchmarks.pictures import photo
from benchmarks.report import Figure, print_figures, print_machine, print_table

NOISE = 4.0  # standard deviation of camera noise, of 255, added to that of the picture
MAX_RATIO = 0.5  # of Pillow's time
MAX_NO_OP_PROFILE_RATIO = 1.15  # cost of a profile that changes nothing, within the noise of a shared machine
MAX_PROFILE_RATIO = 2.0  # of Pillow's time, with a profile to apply
P3_COLUMNS = {  # CIE XYZ relative to D50
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}

PILLOW, WITHOUT_ARRAY, OPENCV, OURS = "Pillow to an array", "Pillow, no array", "OpenCV", "ours"


def main() -> None:
    """Print a table of times, and which limits hold."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    print_machine()
    cv2.setNumThreads(1)
    uploads = _uploads(args.megapixels)
    for name, upload in uploads.items():
        if "profile" not in name and not np.array_equal(_pillow_array(upload), _ours(upload)):
            raise SystemExit(f"{name}: ours and Pillow's pixels differ")
    times_s = _times(uploads, args.runs)
    print(f"{args.megapixels:g} megapixels, one thread; ratios to {PILLOW}\n")
    rows = [(name, *_row(times)) for name, times in times_s.items()]
    print_table(("upload", PILLOW, WITHOUT_ARRAY, OPENCV, OURS), rows)
    print_figures(_figures(times_s))


def _row(times: Mapping[str, float]) -> tuple[str, ...]:
    reference_s = times[PILLOW]
    others = (f"{times[name] / reference_s:.2f}" for name in (WITHOUT_ARRAY, OPENCV, OURS))
    return f"1 ({reference_s * 1e3:.0f} ms)", *others


def _figures(times_s: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """Return the figures with a limit."""
    plain, srgb, p3 = (times_s[f"JPEG 4:2:0, 85{kind}"] for kind in ("", ", sRGB profile", ", P3 profile"))
    limited = [name for name in times_s if name.startswith(("JPEG", "WebP")) and "profile" not in name]
    return [
        *(
            Figure(f"{name}: time of Pillow", times_s[name][OURS] / times_s[name][PILLOW], MAX_RATIO)
            for name in limited
        ),
        Figure("sRGB profile: time of none", srgb[OURS] / plain[OURS], MAX_NO_OP_PROFILE_RATIO),
        Figure(
            "P3 profile: time of Pillow, which does not apply it", p3[OURS] / p3[PILLOW], MAX_PROFILE_RATIO
        ),
    ]


def _times(uploads: Mapping[str, bytes], runs: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each decoder on each upload."""
    decoders: dict[str, Callable[[bytes], object]] = {
        PILLOW: _pillow_array,
        WITHOUT_ARRAY: _pillow,
        OPENCV: _opencv,
        OURS: _ours,
    }
    took_s: dict[tuple[str, str], list[float]] = {
        (name, decoder_name): [] for name in uploads for decoder_name in decoders
    }
    for _ in range(runs):
        for name, upload in uploads.items():
            for decoder_name, decoder in decoders.items():
                began_s = time.process_time()
                decoder(upload)
                took_s[name, decoder_name].append(time.process_time() - began_s)
    return {
        name: {decoder_name: statistics.median(took_s[name, decoder_name]) for decoder_name in decoders}
        for name in uploads
    }


def _ours(upload: bytes) -> NDArray[np.uint8]:
    return decode(upload, sniff(upload)).rgb


def _pillow(upload: bytes) -> Image.Image:
    return Image.open(io.BytesIO(upload)).convert("RGB")


def _pillow_array(upload: bytes) -> NDArray[np.uint8]:
    return np.asarray(_pillow(upload))


def _opencv(upload: bytes) -> object:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(upload, np.uint8), flags)


def _uploads(megapixels: float) -> dict[str, bytes]:
    rgb = photo(megapixels)
    noise = np.random.default_rng(0).normal(0, NOISE, rgb.shape)
    picture = Image.fromarray(np.clip(rgb + noise, 0, 255).astype(np.uint8))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "JPEG 4:2:0, 85": _encode(picture, "JPEG", quality=85),
        "JPEG 4:2:0, 85, sRGB profile": _encode(picture, "JPEG", quality=85, icc_profile=srgb),
        "JPEG 4:2:0, 85, P3 profile": _encode(picture, "JPEG", quality=85, icc_profile=_as_p3(srgb)),
        "JPEG 4:2:2, 92": _encode(picture, "JPEG", quality=92, subsampling=1),
        "JPEG 4:4:4, 95": _encode(picture, "JPEG", quality=95, subsampling=0),
        "JPEG progressive, 85": _encode(picture, "JPEG", quality=85, progressive=True),
        "JPEG grey, 85": _encode(picture.convert("L"), "JPEG", quality=85),
        "CMYK JPEG, 85": _encode(picture.convert("CMYK"), "JPEG", quality=85),
        "WebP, 85": _encode(picture, "WEBP", quality=85, method=0),
        "WebP lossless": _encode(picture, "WEBP", lossless=True, quality=0, method=0),
        "PNG": _encode(picture, "PNG", compress_level=4),
        "PNG palette": _encode(picture.quantize(256), "PNG", compress_level=4),
        "AVIF, 75": _encode(picture, "AVIF", quality=75, speed=10),
    }


def _encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


def _as_p3(srgb: bytes) -> bytes:
    """Put the primaries of Display P3 into an sRGB profile."""
    profile = bytearray(srgb)
    (count,) = struct.unpack_from(">I", profile, 128)
    for entry in range(132, 132 + 12 * count, 12):
        name, start, _ = struct.unpack_from(">4sII", profile, entry)
        if name in P3_COLUMNS:
            struct.pack_into(">3i", profile, start + 8, *(round(65536 * value) for value in P3_COLUMNS[name]))
    return bytes(profile)


if __name__ == "__main__":
    main()
