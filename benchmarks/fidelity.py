"""Fidelity: compares the service's masks with the maps of the network's authors, over HTTP.

    CUTOUT_PRECISION=float32 cutout serve --model u2net --model u2netp &
    python -m benchmarks.fidelity DATA [--url http://127.0.0.1:8000] [--model u2net ...]

DATA holds ``u2net-reference/`` (pictures with the authors' own maps), ``rembg-reference/`` (a picture with
rembg's stored cutouts) and ``ecssd-100/`` (pictures with ground truth). The reference run over ECSSD
preprocesses the input of the published ONNX file like the authors, in floating point, without any code of
``app``.
"""

import argparse
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.engine.models.onnxruntime_loader import onnxruntime
from benchmarks.report import print_machine
from model_export.metrics import max_f_beta, mean_absolute_error

Grey = NDArray[np.uint8]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENLARGED_PX = 12_000_000


@dataclass(frozen=True)
class Quality:
    """Figures over a set with ground truth, by the papers' protocol."""

    mae: float
    max_f: float


def fetch_mask(client: httpx.Client, upload: bytes, model: str) -> Grey:
    """Request a mask with ``matting=none`` and otherwise default options."""
    response = client.post("/v1/mask", params={"model": model, "matting": "none"}, content=upload)
    response.raise_for_status()
    return np.asarray(Image.open(io.BytesIO(response.content)))


def differences_to_authors(client: httpx.Client, data: Path, model: str) -> dict[str, float]:
    """Return the mean absolute difference from the authors' map for each picture, in [0, 1]."""
    differences: dict[str, float] = {}
    for path in sorted((data / "u2net-reference" / "images").iterdir()):
        theirs = np.asarray(Image.open(data / "u2net-reference" / model / f"{path.stem}.png").convert("L"))
        differences[path.stem] = difference(fetch_mask(client, path.read_bytes(), model), theirs)
    return differences


def differences_when_enlarged(client: httpx.Client, data: Path, model: str) -> dict[str, float]:
    """Return the difference between the mask of a 12-megapixel enlargement and that of the original."""
    differences: dict[str, float] = {}
    for path in sorted((data / "u2net-reference" / "images").iterdir()):
        original = fetch_mask(client, path.read_bytes(), model)
        height, width = original.shape
        factor = (ENLARGED_PX / (height * width)) ** 0.5
        size = round(width * factor), round(height * factor)
        large = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        encoded = io.BytesIO()
        large.save(encoded, "JPEG", quality=95)
        mask = fetch_mask(client, encoded.getvalue(), model)
        shrunk = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        differences[path.stem] = difference(shrunk, original)
    return differences


def difference_to_rembg(client: httpx.Client, data: Path, model: str) -> float:
    """Return the mean absolute difference from the alpha of rembg's stored cutout."""
    folder = data / "rembg-reference"
    theirs = np.asarray(Image.open(folder / f"anime-girl-1.{model}.png").convert("RGBA"))[:, :, 3]
    return difference(fetch_mask(client, (folder / "anime-girl-1.jpg").read_bytes(), model), theirs)


def quality_of_service(client: httpx.Client, data: Path, model: str, *, every: int = 1) -> Quality:
    """Judge the service's masks over every n-th picture of ECSSD, n being ``every``."""
    return _quality(
        (fetch_mask(client, path.read_bytes(), model), truth) for path, truth in _ecssd(data, every)
    )


def quality_of_reference(weights: Path, data: Path, *, every: int = 1) -> Quality:
    """Judge the published ONNX file over ECSSD, with the authors' preprocessing."""
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    return _quality((_reference_mask(session, path), truth) for path, truth in _ecssd(data, every))


def difference(one: Grey, other: Grey) -> float:
    """Return the mean absolute difference as a fraction of full scale."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean() / 255)


def _reference_mask(session: onnxruntime.InferenceSession, path: Path) -> Grey:
    rgb = np.asarray(Image.open(path).convert("RGB"))
    small = cv2.resize(rgb.astype(np.float64) / 255, (320, 320), interpolation=cv2.INTER_LINEAR)
    tensor = (small / small.max() - IMAGENET_MEAN) / IMAGENET_STD
    name = session.get_inputs()[0].name
    fused = session.run(None, {name: tensor.transpose(2, 0, 1)[None].astype(np.float32)})[0][0, 0]
    stretched = (fused - fused.min()) / (fused.max() - fused.min())
    map_8_bit = Image.fromarray((stretched * 255).astype(np.uint8))
    return np.asarray(map_8_bit.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.BILINEAR))


def _ecssd(data: Path, every: int) -> Iterator[tuple[Path, Grey]]:
    for path in sorted((data / "ecssd-100" / "images").iterdir())[::every]:
        yield path, np.asarray(Image.open(data / "ecssd-100" / "masks" / f"{path.stem}.png").convert("L"))


def _quality(pairs: Iterator[tuple[Grey, Grey]]) -> Quality:
    judged = [(mask.astype(np.float32) / np.float32(255), truth > 127) for mask, truth in pairs]
    return Quality(float(np.mean([mean_absolute_error(*pair) for pair in judged])), max_f_beta(judged))


def report(client: httpx.Client, data: Path, model: str, weights: Path) -> None:
    """Print the tables of one model."""
    authors = differences_to_authors(client, data, model)
    enlarged = differences_when_enlarged(client, data, model)
    print(f"\n## {model}\n")
    print("| Picture | to the authors' map | 12 MP enlargement to its original |\n|---|---|---|")
    for name, value in authors.items():
        print(f"| {name} | {value:.5f} | {enlarged[name]:.5f} |")
    means = [np.mean(list(differences.values())) for differences in (authors, enlarged)]
    print(f"| **mean** | **{means[0]:.5f}** | **{means[1]:.5f}** |")
    print(f"\nTo rembg's stored cutout: {difference_to_rembg(client, data, model):.5f}")
    print("\n| ECSSD-100 | MAE | maxF (paper) |\n|---|---|---|")
    for name, quality in (
        ("service", quality_of_service(client, data, model)),
        ("published weights, plain run", quality_of_reference(weights, data)),
    ):
        print(f"| {name} | {quality.mae:.4f} | {quality.max_f:.4f} |", flush=True)


def main() -> None:
    """Print the tables of docs/fidelity.md."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("data", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", action="append")
    parser.add_argument("--weights-dir", type=Path, default=Path("models/weights"))
    args = parser.parse_args()
    print_machine()
    with httpx.Client(base_url=args.url, timeout=120) as client:
        for model in args.model or ["u2net", "u2netp"]:
            report(client, args.data, model, args.weights_dir / f"{model}.onnx")


if __name__ == "__main__":
    main()
