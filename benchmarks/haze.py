"""Haze: what deciding the unsure regions of a map gains, what it costs hair, and whether second looks agree.

    python -m benchmarks.haze --data ECSSD [--models u2net u2netp] [--precisions int8 float32]
    python -m benchmarks.haze --mattes ALPHAMATTING
    python -m benchmarks.haze --data ECSSD --second-look [--mirrored]
    python -m benchmarks.haze --sheet FILE.jpg --pictures DIR [--most 16] [--models u2net] [--precisions int8]

data         Alpha of cutouts (``matting=fast``) with ``haze=keep`` and ``haze=remove``, against true masks.
             *Haze* is the share of the picture at alpha 0.05 to 0.95 more than 10 pixels from the true
             contour; *IoU* and *boundary F* (relaxed, 3 pixels) are at half. Intervals are of the mean
             difference of a picture, 95 %, by bootstrap.
mattes       Errors in the trimap's unknown region from a perfect map, as in ``benchmarks.edges``.
second look  IoU and boundary F of the map without a second look, with each that is possible, and with those
             that agree. ``--mirrored`` measures pictures that no threshold was chosen on.
sheet        Pictures of a folder side by side: picture, ``haze=keep``, ``haze=remove``, over a chequer.
             ``--most`` draws only those whose alpha changes most, for better or worse, in that order.

``--maps DIR`` keeps the networks' raw maps in a folder, so that they are computed once.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import AlphaMatte, Mask, NetworkInput, Rgb, SaliencyMap
from app.engine.models.manifest import read_manifest, read_model
from app.imaging.matting.agreement import has_same_subject
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.haze import remove_haze
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.refine import blend_maps, choose_crop, map_of_part, prepare_crop
from app.imaging.matting.saliency import resize_saliency, stretch, to_grey
from app.imaging.prepare import prepare
from app.onnx_import.runner import Runner
from benchmarks.report import ROOT, print_machine, print_table
from model_export.matting_metrics import absolute_error, squared_error
from model_export.metrics import relaxed_boundary_f
from model_export.network_inputs import find_pictures
from model_export.samples import find_samples, read_grey
from tests.composites import ideal_map

FAR_PX = 10
HAZE_FROM, HAZE_TO = 0.05, 0.95
FIGURES = ("MAE", "IoU", "boundary F", "haze %")
RESAMPLES = 2000
TILE_PX = 240
CHEQUER = 12, 150, 210  # side of a square in pixels, and its two greys

_Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Network:
    """A graph, and the folder in which its raw maps are kept."""

    graph: Runner
    side_px: int
    maps: Path | None

    def raw(self, network_input: NetworkInput, name: str) -> SaliencyMap:
        """Return the raw map of one picture."""
        kept = None if self.maps is None else self.maps / f"{name}.npy"
        if kept is not None and kept.exists():
            return np.asarray(np.load(kept), np.float32)
        raw = np.asarray(self.graph.run(network_input[None])[0][0], np.float32)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, raw)
        return raw


def main() -> None:
    """Print the requested tables, or write the sheet."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--mattes", type=Path)
    parser.add_argument("--second-look", action="store_true")
    parser.add_argument("--mirrored", action="store_true")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--most", type=int)
    parser.add_argument("--models", nargs="+", default=["u2net", "u2netp"])
    parser.add_argument("--precisions", nargs="+", default=["int8", "float32"])
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--maps", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)  # as the worker threads do
    print_machine()
    if args.mattes is not None:
        measure_mattes(args.mattes)
    for model in args.models:
        for precision in args.precisions:
            name = f"{model}-{precision}-{(args.data or args.pictures or Path()).name}"
            folder = args.models_dir / model
            manifest = read_manifest(folder)
            maps = None if args.maps is None else args.maps / name
            graph = Runner.load(read_model(folder, manifest, precision))
            network = Network(graph, manifest.input_size_px, maps)
            if args.data is not None and args.second_look:
                measure_second_look(args.data, network, f"{model} {precision}", is_mirrored=args.mirrored)
            elif args.data is not None:
                measure_masks(args.data, network, f"{model} {precision}")
            if args.sheet is not None:
                write_sheet(find_pictures(args.pictures), network, args.sheet, most=args.most)
                return


def measure_masks(folder: Path, network: Network, title: str) -> None:
    """Print the figures of cutouts with and without haze, and their differences."""
    rows: dict[str, list[tuple[float, ...]]] = {"keep": [], "remove": []}
    took_s = 0.0
    for name, rgb, truth in _samples(folder):
        network_input = prepare(rgb, network.side_px)
        saliency = stretch(network.raw(network_input, name))
        before_s = time.process_time()
        decided = remove_haze(saliency, network_input)
        took_s += time.process_time() - before_s
        for kind, chosen in (("keep", saliency), ("remove", decided)):
            rows[kind].append(_figures(refine_alpha(rgb, chosen), truth))
    kept, removed = (np.array(values) for values in rows.values())
    count = len(kept)
    print(f"## {title}, {folder.name}, {count} pictures, {1e3 * took_s / count:.0f} ms a decision\n")
    table = [
        ("keep", *(f"{value:.4f}" for value in kept.mean(axis=0))),
        ("remove", *(f"{value:.4f}" for value in removed.mean(axis=0))),
        ("difference", *(interval(column) for column in (removed - kept).T)),
    ]
    print_table(("haze", *FIGURES), table)
    print(f"haze: {removed[:, 3].mean() / max(kept[:, 3].mean(), 1e-9) - 1:+.0%}\n", flush=True)


def measure_mattes(folder: Path) -> None:
    """Print the errors in the unknown region from perfect maps."""
    errors: dict[str, list[tuple[float, float]]] = {"keep": [], "remove": []}
    for sample in find_samples(folder).samples:
        assert sample.trimap is not None
        truth, unknown = read_grey(sample.truth), read_grey(sample.trimap) == 128
        saliency = np.clip(ideal_map(truth.astype(np.float32) / np.float32(255)), 0, 1)
        rgb = _read(sample.picture)
        decided = remove_haze(saliency, prepare(rgb, saliency.shape[0]))
        for kind, chosen in (("keep", saliency), ("remove", decided)):
            alpha = to_grey(refine_alpha(rgb, chosen))
            errors[kind].append((absolute_error(alpha, truth, unknown), squared_error(alpha, truth, unknown)))
    means = {kind: np.mean(values, axis=0) for kind, values in errors.items()}
    print(f"## {folder.name}, {len(errors['keep'])} mattes, perfect map, unknown region\n")
    rows = [(kind, f"{sad:.3f}", f"{mse:.5f}") for kind, (sad, mse) in means.items()]
    growth = means["remove"] / means["keep"] - 1
    print_table(("haze", "SAD/1000", "MSE"), [*rows, ("growth", *(f"{value:+.0%}" for value in growth))])


def measure_second_look(folder: Path, network: Network, title: str, *, is_mirrored: bool = False) -> None:
    """Print what a second look does to IoU and boundary F, and what it does where both looks agree."""
    rows = []
    side, suffix = (-1, "-mirrored") if is_mirrored else (1, "")
    for name, picture, mask in _samples(folder):
        rgb, truth = np.ascontiguousarray(picture[:, ::side]), mask[:, ::side]
        height, width = truth.shape
        first = stretch(network.raw(prepare(rgb, network.side_px), name + suffix))
        box = choose_crop(first, height, width)
        if box is None:
            continue
        crop = prepare_crop(rgb, box, network.side_px)
        second = stretch(network.raw(crop, f"{name}{suffix}-second"))
        is_same = has_same_subject(map_of_part(first, box, height, width, second.shape), second, crop)
        blended = blend_maps(first, second, box, height, width)
        none, always = (_overlap(each, truth) for each in (first, blended))
        rows.append((none, always, always if is_same else none))
    looks = np.array(rows).transpose(1, 2, 0)  # (3, 2, pictures)
    print(f"## {title}, {folder.name}{suffix}: a second look at {len(rows)} pictures\n")
    table = [
        (kind, *(f"{each.mean():.4f}" for each in look), *map(interval, gain), f"{gain[0].min():+.3f}")
        for kind, look, gain in zip(("none", "always", "if both agree"), looks, looks - looks[0], strict=True)
    ]
    print_table(("second look", "IoU", "boundary F", "IoU gain", "boundary F gain", "worst IoU gain"), table)
    print(flush=True)


def interval(differences: _Float) -> str:
    """Return the mean of differences and its 95 % interval."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, len(differences), (RESAMPLES, len(differences)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{differences.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def write_sheet(paths: Sequence[Path], network: Network, target: Path, *, most: int | None = None) -> None:
    """Write a contact sheet with three tiles a picture, two pictures a row; ``most`` names them as well."""
    drawn: list[tuple[float, str, Rgb]] = []
    for path in paths:
        rgb = _read(path)
        network_input = prepare(rgb, network.side_px)
        saliency = stretch(network.raw(network_input, path.stem))
        alphas = [refine_alpha(rgb, chosen) for chosen in (saliency, remove_haze(saliency, network_input))]
        tiles = [_tile(each) for each in (rgb, *(_over_chequer(rgb, alpha) for alpha in alphas))]
        change = float(np.abs(alphas[0] - alphas[1]).mean())
        drawn.append((change, path.name, np.concatenate(tiles, axis=1)))
    if most is not None:
        drawn = sorted(drawn, key=lambda each: -each[0])[:most]
        print("\n".join(f"{name}: alpha changes by {change:.4f}" for change, name, _ in drawn))
    strips = [strip for _, _, strip in drawn]
    blank = [np.full_like(strips[0], 255)] * (len(strips) % 2)
    rows = [np.concatenate(pair, axis=1) for pair in _pairs([*strips, *blank])]
    Image.fromarray(np.concatenate(rows, axis=0)).save(target, quality=82)


def _pairs(strips: list[Rgb]) -> Iterator[tuple[Rgb, Rgb]]:
    yield from zip(strips[::2], strips[1::2], strict=True)


def _over_chequer(rgb: Rgb, alpha: AlphaMatte) -> Rgb:
    side_px, dark, light = CHEQUER
    side_px = side_px * max(rgb.shape[:2]) // TILE_PX
    y, x = np.indices(alpha.shape) // side_px
    behind = np.where((x + y) % 2 == 0, dark, light)[:, :, None]
    mixed = alpha[:, :, None] * estimate_foreground(rgb, alpha) + (1 - alpha[:, :, None]) * behind
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _tile(rgb: Rgb) -> Rgb:
    scale = TILE_PX / max(rgb.shape[:2])
    height, width = (max(1, round(side * scale)) for side in rgb.shape[:2])
    shrunk = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    down, across = TILE_PX - height, TILE_PX - width
    borders = (down // 2, down - down // 2, across // 2, across - across // 2)
    return np.asarray(cv2.copyMakeBorder(shrunk, *borders, cv2.BORDER_CONSTANT, value=(255,) * 3), np.uint8)


def _samples(folder: Path) -> Iterator[tuple[str, Rgb, Mask]]:
    for sample in find_samples(folder).samples:
        yield sample.picture.stem, _read(sample.picture), read_grey(sample.truth) >= 128


def _read(path: Path) -> Rgb:
    with Image.open(path) as stored:
        return np.asarray(stored.convert("RGB"))


def _figures(alpha: AlphaMatte, truth: Mask) -> tuple[float, float, float, float]:
    inside = truth.astype(np.uint8)
    contour = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    far = cv2.distanceTransform((contour == 0).astype(np.uint8), cv2.DIST_L2, 5) > FAR_PX
    is_hazy = (alpha >= HAZE_FROM) & (alpha <= HAZE_TO) & far
    error = float(np.abs(alpha - truth).mean())
    return error, _iou(alpha >= 0.5, truth), relaxed_boundary_f(alpha, truth), 100 * float(is_hazy.mean())


def _overlap(saliency: SaliencyMap, truth: Mask) -> tuple[float, float]:
    enlarged = resize_saliency(saliency, *truth.shape)
    return _iou(enlarged >= 0.5, truth), relaxed_boundary_f(enlarged, truth)


def _iou(one: Mask, other: Mask) -> float:
    return float(np.count_nonzero(one & other) / max(1, np.count_nonzero(one | other)))


if __name__ == "__main__":
    main()
