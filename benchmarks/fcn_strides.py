"""FCN strides: how well can scores with a stride of 8, 16 or 32 pixels represent eight pictures at best?

    .venv-export/bin/python -m benchmarks.fcn_strides --data DIR [--sizes 96 160 224 320 512] [--spread]

FCN enlarges its last scores with fixed bilinear kernels. Here those scores are free parameters, fitted
directly to the masks without a network. The result is about the best that an FCN with that stride can reach
on pictures of that size, and so the bound of what ``benchmarks.overfit`` can require. The pictures are the
first eight of a folder, or eight spread evenly over it, judged by the papers' maxF.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.overfit import lay_out_data
from benchmarks.report import print_machine, print_table
from model_export.architectures.fcn import FINAL_CROP_PX, Bilinear
from model_export.datasets import decode_sources, find_sources
from model_export.losses import bce_dice
from model_export.metrics import max_f_of_means, precision_and_recall
from model_export.splits import read_split

ITERATIONS, RATE = 300, 0.5


def main() -> None:
    """Print the best maxF by size and stride."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=(96, 160, 224, 320, 512))
    parser.add_argument("--spread", action="store_true", help="use eight pictures spread over the folder")
    args = parser.parse_args()
    print_machine()
    strides = sorted(FINAL_CROP_PX)
    rows = []
    for size_px in args.sizes:
        truth = masks_of(args.data, size_px, is_spread=args.spread)
        rows.append((str(size_px), *(f"{best_max_f(truth, stride):.3f}" for stride in strides)))
    print_table(("pixels", *(f"FCN-{stride}s" for stride in strides)), rows)


def masks_of(data: Path, size_px: int, *, is_spread: bool) -> Tensor:
    """Return the masks of the judged pictures of ``benchmarks.overfit``, (8, 1, S, S) float32 of 0 and 1."""
    with tempfile.TemporaryDirectory() as name:
        folder = lay_out_data(data, Path(name), is_spread=is_spread)
        judged = decode_sources(find_sources(folder).only(read_split(folder / "judged.txt")), size_px)
    return torch.from_numpy(judged.masks > 0).unsqueeze(1).float()


def best_max_f(truth: Tensor, stride: int) -> float:
    """Fit scores to masks, and return the papers' maxF of the resulting maps."""
    size_px, crop = truth.shape[-1], FINAL_CROP_PX[stride]
    side = -(-(size_px + crop) // stride) + 1
    enlarge = Bilinear(1, stride)
    scores = torch.zeros(len(truth), 1, side, side, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=RATE)
    for _ in range(ITERATIONS):
        logits = enlarge(scores)[:, :, crop : crop + size_px, crop : crop + size_px]
        loss = bce_dice([logits], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    maps = torch.sigmoid(logits.detach()).squeeze(1).numpy()
    masks = truth.squeeze(1).numpy() > 0
    return max_f_of_means([precision_and_recall(each, mask) for each, mask in zip(maps, masks, strict=True)])


if __name__ == "__main__":
    main()
