"""Edges: errors of alpha and colours against the truth, compared with other tools on the same map.

    python -m benchmarks.edges --mattes DIR [--skip N] [--peers PYTHON]
    python -m benchmarks.edges --photographs DIR [--megapixels 12] [--seeds 4]

mattes       True mattes of a set in the layout of alphamatting.com (images/, alphas/, trimaps/). Each is
             shrunk to 320 × 320 and blurred by a pixel: the map of a perfect network. Every path computes a
             matte from it; errors are counted in the trimap's unknown region. ``--skip`` leaves out the first
             mattes by name, on which a path was tuned. With ``--peers``, an interpreter with PyMatting
             (``make peers``), its closed form is measured as well: on rembg's trimap of that map (above 240,
             below 10, both eroded by 10 pixels), and on the trimap of the set.
photographs  Scenes with exactly known alpha and subject colours, including hair (``tests/composites.py``),
             over photographs of a folder. Two tables: colours with the true alpha given, and whole paths from
             the ideal map. *Colour* is the mean of |F - F*| where the true alpha is neither 0 nor 1, weighted
             by the path's own alpha, because that is how much a colour is visible. *Over white* and *over
             black* are mean differences between the finished picture and the true one there. All in levels of
             255. rembg's default enlarges the map by Lanczos and leaves the colours unchanged.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import AlphaMatte, Grey, Rgb, SaliencyMap
from app.imaging.matting.closed_form import solve_alpha
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import resize_saliency, to_grey
from benchmarks.report import ROOT, Figure, print_figures, print_machine, print_table
from model_export.matting_metrics import absolute_error, gradient_error, squared_error
from model_export.samples import find_samples, read_grey
from tests.composites import Composite, composite, ideal_map, photographs_in

MAX_COLOUR_RATIO = 0.6
TRIMAP_SUBJECT, TRIMAP_BACKGROUND, TRIMAP_ERODED_PX = 240, 10, 10  # rembg's defaults
REMBG = "rembg's default: Lanczos"
SET_TRIMAP, REMBG_TRIMAP = "PyMatting closed form, the set's trimap", "PyMatting closed form, rembg's trimap"

MatteOf = Callable[[Rgb, SaliencyMap], AlphaMatte]


def _lanczos(rgb: Rgb, saliency: SaliencyMap) -> AlphaMatte:
    """Enlarge the 8-bit map as rembg does, with Pillow."""
    enlarged = Image.fromarray(to_grey(saliency)).resize(rgb.shape[1::-1], Image.Resampling.LANCZOS)
    return np.asarray(enlarged, dtype=np.float32) / np.float32(255)


MATTES: Mapping[str, MatteOf] = {
    "bilinear (none)": lambda rgb, saliency: resize_saliency(saliency, *rgb.shape[:2]),
    REMBG: _lanczos,
    "fast": refine_alpha,
    "hq": lambda rgb, saliency: solve_alpha(rgb, saliency, is_time_left=lambda: True).alpha,
}
WITH_ESTIMATION = frozenset({"fast", "hq"})
UNTOUCHED = ", colours untouched"


def main() -> None:
    """Print the requested tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--mattes", type=Path)
    parser.add_argument("--skip", type=int, default=0, help="number of mattes to leave out at the start")
    parser.add_argument("--peers", type=Path, help="a Python interpreter with PyMatting")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    print_machine()
    if args.mattes is not None:
        measure_mattes(args.mattes, args.peers, skip=args.skip)
    measure_composites(args.photographs, args.megapixels, args.seeds)


def measure_mattes(folder: Path, peers: Path | None, *, skip: int) -> None:
    """Print errors against true mattes."""
    scenes = list(_scenes(folder))[skip:]
    alphas_of: dict[str, list[Grey]] = {
        name: [to_grey(matte(rgb, saliency)) for rgb, _, _, saliency in scenes]
        for name, matte in MATTES.items()
    }
    if peers is None:
        print("PyMatting is left out: `make peers`, then --peers .venv-peers/bin/python\n")
    else:
        trimaps = {
            SET_TRIMAP: [trimap for _, _, trimap, _ in scenes],
            REMBG_TRIMAP: [_rembg_trimap(rgb, saliency) for rgb, _, _, saliency in scenes],
        }
        for name, chosen in trimaps.items():
            alphas_of[name] = _closed_forms(peers, [rgb for rgb, *_ in scenes], chosen)
    print(f"## {folder.name}, {len(scenes)} mattes, ideal 320 × 320 map, unknown region\n")
    errors = {
        name: [_matte_errors(alpha, scene[1], scene[2]) for alpha, scene in zip(alphas, scenes, strict=True)]
        for name, alphas in alphas_of.items()
    }
    means = {name: np.mean(rows, axis=0) for name, rows in errors.items()}
    header = ("alpha", "SAD/1000", "MSE", "Grad/1000")
    print_table(header, [(n, f"{s:.2f}", f"{m:.4f}", f"{g:.2f}") for n, (s, m, g) in means.items()])
    print_figures(
        [
            Figure(f"fast, {error_name} of {name}", means["fast"][column] / means[name][column], 1, " ×")
            for name in means
            if name not in WITH_ESTIMATION
            for column, error_name in ((1, "MSE"), (2, "Grad"))
        ]
    )


def _scenes(folder: Path) -> Iterator[tuple[Rgb, Grey, Grey, SaliencyMap]]:
    for sample in find_samples(folder).samples:
        if sample.trimap is None:
            raise SystemExit(f"{folder} has no trimaps/")
        truth = read_grey(sample.truth)
        saliency = np.clip(ideal_map(truth.astype(np.float32) / np.float32(255)), 0, 1)
        with Image.open(sample.picture) as stored:
            yield np.asarray(stored.convert("RGB")), truth, read_grey(sample.trimap), saliency


def _matte_errors(alpha: Grey, truth: Grey, trimap: Grey) -> tuple[float, float, float]:
    unknown = trimap == 128
    return tuple(error(alpha, truth, unknown) for error in (absolute_error, squared_error, gradient_error))


def _rembg_trimap(rgb: Rgb, saliency: SaliencyMap) -> Grey:
    enlarged = to_grey(_lanczos(rgb, saliency))
    square = np.ones((TRIMAP_ERODED_PX, TRIMAP_ERODED_PX), dtype=np.uint8)
    subject, background = (
        cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
        for mask in (enlarged > TRIMAP_SUBJECT, enlarged < TRIMAP_BACKGROUND)
    )
    return np.where(subject, np.uint8(255), np.where(background, np.uint8(0), np.uint8(128)))


def _closed_forms(peers: Path, pictures: list[Rgb], trimaps: list[Grey]) -> list[Grey]:
    """Return PyMatting's mattes, computed in its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (rgb, trimap) in enumerate(zip(pictures, trimaps, strict=True)):
            np.savez(Path(folder) / f"{number:04}.npz", rgb=rgb, trimap=trimap)
        script = ROOT / "benchmarks" / "peer_matting.py"
        subprocess.run([str(peers), str(script), folder], check=True)
        return [to_grey(np.load(path)) for path in sorted(Path(folder).glob("*.npy"))]


def measure_composites(photographs: Path | None, megapixels: float, seeds: int) -> None:
    """Print errors of colours and of finished pictures on exactly known scenes."""
    pictures = [] if photographs is None else photographs_in(photographs, 6 * seeds)
    colour_errors: dict[str, list[float]] = {}
    errors_of_path: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        scene = composite(megapixels, seed, pictures)
        saliency = np.clip(ideal_map(scene.alpha), 0, 1)
        estimated = estimate_foreground(scene.rgb, scene.alpha)
        for name, colours in (("no estimation", scene.rgb), ("ours", estimated)):
            colour_errors.setdefault(name, []).append(_colour_error(colours, scene.alpha, scene))
        for name, matte in MATTES.items():
            alpha = matte(scene.rgb, saliency)
            if name in WITH_ESTIMATION:
                errors_of_path.setdefault(f"{name}{UNTOUCHED}", []).append(
                    path_errors(scene.rgb, alpha, scene)
                )
            colours = estimate_foreground(scene.rgb, alpha) if name in WITH_ESTIMATION else scene.rgb
            errors_of_path.setdefault(name, []).append(path_errors(colours, alpha, scene))
    source = "clouds" if photographs is None else "photographs"
    print(f"## {seeds} scenes of {megapixels:g} megapixels, {source}, levels of 255\n")
    rows = [(name, f"{np.mean(errors):.2f}") for name, errors in colour_errors.items()]
    print_table(("colours, true alpha given", "colour"), rows)
    means = {name: np.mean(errors, axis=0) for name, errors in errors_of_path.items()}
    header = ("whole path", "colour", "over white", "over black")
    print_table(header, [(name, *(f"{value:.2f}" for value in row)) for name, row in means.items()])
    ratio = float(np.mean(colour_errors["ours"]) / np.mean(colour_errors["no estimation"]))
    figures = [Figure("colour, of no estimation, true alpha given", ratio, MAX_COLOUR_RATIO, " ×")]
    for name in sorted(WITH_ESTIMATION):
        limits = (MAX_COLOUR_RATIO, 1, 1)
        for error_name, value, other, limit in zip(
            header[1:], means[name], means[REMBG], limits, strict=True
        ):
            figures.append(Figure(f"{name}, {error_name}, of rembg's default", value / other, limit, " ×"))
        ratio = means[name][0] / means[f"{name}{UNTOUCHED}"][0]
        figures.append(Figure(f"{name}, colour, of no estimation", ratio, MAX_COLOUR_RATIO, " ×"))
    print_figures(figures)


def _colour_error(colours: Rgb, alpha: AlphaMatte, scene: Composite) -> float:
    mixed = (scene.alpha > 0) & (scene.alpha < 1)
    difference = np.abs(colours[mixed].astype(np.float32) - scene.foreground[mixed]).mean(axis=1)
    return float(np.average(difference, weights=alpha[mixed]))


def path_errors(colours: Rgb, alpha: AlphaMatte, scene: Composite) -> tuple[float, float, float]:
    """Return the errors of the colours, and of the picture over white and over black, in levels."""
    return _colour_error(colours, alpha, scene), *(
        _finished_error(colours, alpha, scene, background) for background in (255.0, 0.0)
    )


def _finished_error(colours: Rgb, alpha: AlphaMatte, scene: Composite, background: float) -> float:
    """Return the mean difference along the edge between a cutout and the true one over a grey."""
    mixed = (scene.alpha > 0) & (scene.alpha < 1)

    def finished(subject: Rgb, opacity: AlphaMatte) -> NDArray[np.float32]:
        share = opacity[mixed][:, None]
        return share * subject[mixed] + (1 - share) * np.float32(background)

    return float(np.abs(finished(colours, alpha) - finished(scene.foreground, scene.alpha)).mean())


if __name__ == "__main__":
    main()
