"""Extended: extends the pictures of a set with masks to twice their sides, so that subjects are small.

    python -m benchmarks.extended FROM TO [--factor 4]
    .venv-export/bin/python -m model_export evaluate --data TO --option refine=crop …

Pictures are first enlarged ``--factor`` times (bicubic), so that details are finer than the network's
input; their border pixels are repeated outwards, and the new area is background. Only pictures whose subject
does not touch the border are used.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from model_export.samples import find_samples, read_grey


def main() -> None:
    """Write the extended set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--factor", type=int, default=4)
    args = parser.parse_args()
    for name in ("images", "masks"):
        (args.target / name).mkdir(parents=True, exist_ok=True)
    count = 0
    for sample in find_samples(args.source).samples:
        mask = read_grey(sample.truth)
        if max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) > 0:
            continue
        picture = cv2.imread(str(sample.picture))
        size = (mask.shape[1] * args.factor, mask.shape[0] * args.factor)
        height, width = size[1] // 2, size[0] // 2
        large = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        extended = cv2.copyMakeBorder(large, height, height, width, width, cv2.BORDER_REPLICATE)
        truth = np.pad(cv2.resize(mask, size, interpolation=cv2.INTER_CUBIC), ((height,) * 2, (width,) * 2))
        cv2.imwrite(str(args.target / "images" / f"{sample.picture.stem}.jpg"), extended)
        cv2.imwrite(str(args.target / "masks" / f"{sample.picture.stem}.png"), truth)
        count += 1
    print(f"{count} pictures in {args.target}")


if __name__ == "__main__":
    main()
