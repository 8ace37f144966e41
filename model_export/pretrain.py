"""Pretrain: a folder of pictures in classes and a recipe become the weights that STDC-Seg begins with.

    python -m model_export pretrain stdc1 --data DIR

``DIR/train/CLASS/`` and ``DIR/val/CLASS/`` hold the pictures, as those of ImageNet. They are decoded anew in
each epoch, so the set may be larger than the memory.

References:
    Fan et al. 2021, arXiv:2104.13188; He et al., "Bag of Tricks for Image Classification",
    2019, arXiv:1812.01187 (warm-up, cosine, label smoothing).
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.stdc import STDC1_BLOCKS, STDC2_BLOCKS, STDCClassifier
from model_export.batches import generator_of, normalised
from model_export.datasets import read_picture
from model_export.errors import CommandFailed
from model_export.progress_display import with_progress
from model_export.recipe import Pretraining

BLOCKS = {"stdc1": STDC1_BLOCKS, "stdc2": STDC2_BLOCKS}
BEST = "best.safetensors"
READER_THREADS = 8
MARGIN = 256 / 224  # of a picture's shorter side to the crop's


class PretrainingFailed(CommandFailed):
    """The pictures are not in classes, or the loss is no longer finite."""


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """Files of pictures with the number of their class, in the order of names."""

    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]


def pretrain(
    name: str, recipe: Pretraining, data: Path, out: Path, *, device: torch.device, console: Console
) -> float:
    """Train the classifier, and write the network with the highest accuracy to ``out``.

    Args:
        name: ``stdc1`` or ``stdc2``.
        recipe: The table ``[pretrain]``.
        data: A folder with ``train`` and ``val``.
        out: The folder of the run.
        device: Where to train.
        console: Shows a line for each epoch.

    Returns:
        The highest accuracy of an epoch: the share of pictures in ``val`` whose highest score is right.

    Raises:
        PretrainingFailed: The folder holds a run, the classes of the two folders differ, there are fewer
            pictures than a batch has, or the loss is no longer finite.
        SamplesInvalid: A picture cannot be decoded.
    """
    if (out / BEST).exists():
        raise PretrainingFailed(f"{out} holds a run already. Name another folder: --out DIR")
    learned, held_out = find_classes(data / "train"), find_classes(data / "val")
    _check_classes(learned, held_out, recipe.batch)
    torch.manual_seed(recipe.seed)
    network = STDCClassifier(BLOCKS[name], classes=len(learned.classes)).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    out.mkdir(parents=True, exist_ok=True)
    best = -1.0
    for epoch in range(recipe.epochs):
        loss = _train_epoch(network, optimizer, recipe, learned, epoch, console)
        accuracy = _accuracy(network, recipe, held_out)
        console.print(f"epoch {epoch + 1}/{recipe.epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}")
        if accuracy > best:
            best = accuracy
            _save(network, out / BEST)
    return best


def find_classes(folder: Path) -> ClassFolder:
    """Find the pictures of a folder with one subfolder for each class.

    Raises:
        PretrainingFailed: There are not at least two classes with pictures.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    folders = [path for path in inside if path.is_dir() and not path.name.startswith(".")]
    files = tuple(
        (file, number)
        for number, path in enumerate(folders)
        for file in sorted(path.iterdir())
        if file.is_file() and not file.name.startswith(".")
    )
    if len({number for _, number in files}) < max(2, len(folders)):
        raise PretrainingFailed(f"{folder} needs a subfolder with pictures for each class, two at least.")
    return ClassFolder(tuple(path.name for path in folders), files)


def pretraining_rate(recipe: Pretraining, progress_epochs: float) -> float:
    """Return the learning rate: it rises in a line during warm-up, and then falls along half a cosine.

    Args:
        recipe: The recipe.
        progress_epochs: Epochs done, with fractions.
    """
    warm_up = recipe.warm_up_epochs
    if progress_epochs < warm_up:
        share = progress_epochs / warm_up
        return recipe.warm_up_from + share * (recipe.learning_rate - recipe.warm_up_from)
    share = (progress_epochs - warm_up) / max(1e-9, recipe.epochs - warm_up)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _check_classes(learned: ClassFolder, held_out: ClassFolder, batch: int) -> None:
    """Check that both folders have the same classes, and that there is a batch of pictures to learn from.

    Raises:
        PretrainingFailed: They have not, or there is none.
    """
    different = sorted(set(learned.classes) ^ set(held_out.classes))
    if different:
        raise PretrainingFailed(
            f"train/ and val/ need the same classes; only one of them has {', '.join(different[:5])}."
        )
    if len(learned.files) < batch:
        raise PretrainingFailed(
            f"train/ has {len(learned.files)} pictures, fewer than a batch. Make batches smaller: "
            f"--set batch={max(2, len(learned.files) // 2)}"
        )


def _save(network: nn.Module, path: Path) -> None:
    """Write the weights; if the process is killed meanwhile, the earlier file stays intact."""
    part = path.with_name(f".{path.name}.part")
    save_file({key: each.contiguous().cpu() for key, each in network.state_dict().items()}, part)
    part.replace(path)


def _train_epoch(
    network: STDCClassifier,
    optimizer: torch.optim.Optimizer,
    recipe: Pretraining,
    learned: ClassFolder,
    epoch: int,
    console: Console,
) -> float:
    """Train on all pictures once, and return the mean loss."""
    network.train()
    generator = generator_of(recipe.seed, epoch)
    order = torch.randperm(len(learned.files), generator=generator).tolist()
    count = len(order) // recipe.batch
    chosen = [learned.files[index] for index in order[: count * recipe.batch]]
    losses = []
    batches = with_progress(
        console,
        _batches(chosen, recipe, generator, next(network.parameters()).device),
        total=count,
        title=f"epoch {epoch + 1}/{recipe.epochs}",
    )
    for number, (pictures, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = pretraining_rate(recipe, epoch + number / count)
        loss = functional.cross_entropy(network(pictures), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise PretrainingFailed(f"The loss is {losses[-1]} in epoch {epoch + 1}; lower learning_rate.")
    return float(np.mean(losses))


def _accuracy(network: nn.Module, recipe: Pretraining, held_out: ClassFolder) -> float:
    network.eval()
    right = 0
    with torch.inference_mode():
        for pictures, labels in _batches(held_out.files, recipe, None, next(network.parameters()).device):
            right += int((network(pictures).argmax(1) == labels).sum())
    return right / len(held_out.files)


def _batches(
    files: Sequence[tuple[Path, int]],
    recipe: Pretraining,
    generator: torch.Generator | None,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalised pictures (N, 3, S, S) and labels (N,); cropped at random if there is a generator."""
    with ThreadPoolExecutor(READER_THREADS) as readers:
        for start in range(0, len(files), recipe.batch):
            part = files[start : start + recipe.batch]
            chances = (
                [(0.5, 0.5, 1.0)] * len(part)  # the centre, not mirrored
                if generator is None
                else torch.rand(len(part), 3, generator=generator).tolist()
            )
            crops = readers.map(_crop, (file for file, _ in part), repeat(recipe.size_px), chances)
            pictures = torch.from_numpy(np.stack(list(crops))).to(device).permute(0, 3, 1, 2).float() / 255
            yield normalised(pictures), torch.tensor([label for _, label in part], device=device)


def _crop(file: Path, size_px: int, chances: Sequence[float]) -> NDArray[np.uint8]:
    """Resize the shorter side to ``MARGIN`` times a square's, crop the square, and mirror it or not.

    Args:
        file: The picture.
        size_px: S, the side of the square.
        chances: Three numbers in [0, 1]: the place of the square from the top and from the left, and
            whether it is mirrored, below 0.5.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    picture = Image.fromarray(read_picture(file))
    scale = round(size_px * MARGIN) / min(picture.size)
    width, height = (max(size_px, round(side * scale)) for side in picture.size)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    down, right, mirror = chances
    top, left = round(down * (height - size_px)), round(right * (width - size_px))
    crop = resized[top : top + size_px, left : left + size_px]
    return crop[:, ::-1] if mirror < 0.5 else crop
