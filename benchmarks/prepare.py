"""Prepare: compares methods of shrinking a large, noisy picture by the maps that the network returns.

    python -m benchmarks.prepare --data DIR [--model u2netp] [--every 1] [--noise 0 5 10]

Each picture of a set with masks is enlarged (bicubic) to 12 megapixels, and camera noise is added. Each
method shrinks it to the network's input, and the stretched map is compared with the map of the original small
picture, resized with plain bilinear as by the authors (*moved*, the mean difference), and with the true mask
(*MAE*). The service uses ``app.imaging.prepare``.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.arrays import NetworkInput, Rgb, SaliencyMap
from app.engine.clock import SystemClock
from app.engine.models.device import probe
from app.engine.models.loading import Loader
from app.imaging.matting.saliency import stretch
from app.imaging.prepare import prepare
from app.imaging.tiles import shrink
from benchmarks.report import ROOT, print_machine, print_table
from model_export.samples import find_samples, read_grey

LARGE_PX = 12_000_000


def _bilinear(rgb: Rgb, side: int) -> NetworkInput:
    return np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _averaged_to(factor: int) -> Callable[[Rgb, int], NetworkInput]:
    """Average by a whole factor to at least ``factor`` network sizes, then resize like the authors."""
    return lambda rgb, side: _bilinear(shrink(rgb, max(1, min(rgb.shape[:2]) // (factor * side))), side)


METHODS: Mapping[str, Callable[[Rgb, int], NetworkInput]] = {
    "plain bilinear": _bilinear,
    "the service's": prepare,
    "averaged to 1 to 2 times": _averaged_to(1),
    "averaged to 3 times and more": _averaged_to(3),
    "area average": lambda rgb, side: np.asarray(
        cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8
    ),
}


def main() -> None:
    """Print a table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="u2netp")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--every", type=int, default=1, help="use every n-th picture")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 5.0, 10.0], help="levels of 255")
    args = parser.parse_args()
    print_machine()
    loader = Loader(
        args.models_dir, device="auto", probe=probe("auto"), threads=0, max_batch=1, clock=SystemClock()
    )
    session = loader.load(args.model).session
    side = session.manifest.input_size_px

    def saliency_of(network_input: NetworkInput) -> SaliencyMap:
        return stretch(session.infer(network_input[None])[0])

    figures: dict[tuple[str, float], list[tuple[float, float]]] = {}
    samples = find_samples(args.data).samples[:: args.every]
    for number, sample in enumerate(samples):
        with Image.open(sample.picture) as stored:
            small = np.asarray(stored.convert("RGB"))
        truth = read_grey(sample.truth) >= 128
        original = saliency_of(_bilinear(small, side))
        factor = (LARGE_PX / (small.shape[0] * small.shape[1])) ** 0.5
        large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        for sigma in args.noise:
            noise = np.random.default_rng(number).normal(0, sigma, large.shape).astype(np.float32)
            noisy = np.clip(np.rint(large + noise), 0, 255).astype(np.uint8)
            for method, shrunk in METHODS.items():
                saliency = saliency_of(shrunk(noisy, side))
                enlarged = cv2.resize(saliency, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
                moved, error = np.abs(saliency - original).mean(), np.abs(enlarged - truth).mean()
                figures.setdefault((method, sigma), []).append((float(moved), float(error)))
    print(f"## {args.model}, {len(samples)} pictures of {args.data.name}, enlarged to 12 megapixels\n")
    header = ("method", *(f"noise {sigma:g}: moved / MAE" for sigma in args.noise))
    means = {key: np.mean(values, axis=0) for key, values in figures.items()}
    rows = [(m, *(f"{means[m, s][0]:.4f} / {means[m, s][1]:.4f}" for s in args.noise)) for m in METHODS]
    print_table(header, rows)


if __name__ == "__main__":
    main()
