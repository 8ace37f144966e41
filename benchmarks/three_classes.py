"""Three classes: writes a synthetic set of discs and squares with label maps, and a recipe that learns them.

    .venv-export/bin/python -m benchmarks.three_classes data/shapes

The set is in ``images/`` and ``masks/``, the recipe in ``recipe.toml``; ``docs/training.md`` has the commands
that train, judge, export and serve it.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("background", "disc", "square")
COUNT, SIDE_PX = 80, 96
DISC_RADII, SQUARE_SIDES = (0.14, 0.24), (0.2, 0.4)
"""Smallest and largest, as shares of the picture's side."""
COLOURS = ((70, 180, 90), (190, 90, 60))
"""RGB of discs and squares, before each picture's own light."""
PALETTE = (0, 0, 0, 70, 180, 90, 190, 90, 60)
RECIPE = """# Discs and squares: three classes, of which two are the subject.
[ours]
architecture = "unetpp_l1"
classes = ["background", "disc", "square"]
foreground_classes = ["disc", "square"]
loss = "class_cross_entropy"
optimizer = "adamw"
learning_rate = 3e-3
schedule = "cosine"
size_px = 64
batch = 4
epochs = 8
augmentation = { flip_horizontally = true, flip_vertically = true }
"""


def main() -> None:
    """Write the set and its recipe."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    args = parser.parse_args()
    write_set(args.folder, args.count)
    (args.folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    print(args.folder)


def write_set(folder: Path, count: int = COUNT) -> Path:
    """Write the pictures as PNG, and their label maps with a palette."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, labels = scene(number)
        Image.fromarray(picture).save(folder / "images" / f"{number:03}.png")
        label_map = Image.fromarray(labels)
        label_map.putpalette(PALETTE)
        label_map.save(folder / "masks" / f"{number:03}.png")
    return folder


def scene(seed: int, side_px: int = SIDE_PX) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture, (S, S, 3) uint8, of a disc and a square, and its label map, (S, S)."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px
    labels = np.zeros((side_px, side_px), np.uint8)
    for label in rng.permutation((1, 2)):
        centre_y, centre_x = rng.uniform(0.2, 0.8, 2)
        if label == 1:
            inside = np.hypot(y - centre_y, x - centre_x) <= rng.uniform(*DISC_RADII)
        else:
            inside = np.maximum(abs(y - centre_y), abs(x - centre_x)) <= rng.uniform(*SQUARE_SIDES) / 2
        labels[inside] = label
    grey = rng.uniform(80, 190) + rng.uniform(-60, 60) * (x + y - 1)
    background = grey[..., None] + rng.uniform(-12, 12, 3)
    colours = np.array((*COLOURS,)) + rng.uniform(-25, 25, (2, 3))
    picture = np.where(labels[..., None] > 0, colours[np.maximum(labels, 1) - 1], background)
    noisy = picture * rng.uniform(0.8, 1.1) + rng.normal(0, 6, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


if __name__ == "__main__":
    main()
