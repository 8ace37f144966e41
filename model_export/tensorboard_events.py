"""TensorBoard events: the rows of the curves become events, if the package ``tensorboard`` is installed."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from model_export.class_metrics import CLASS_FIGURES

FOLDER = "tensorboard"
FIGURES = ("loss", "rate", "mae", "max_f", *CLASS_FIGURES)


class ScalarWriter(Protocol):
    """The part of torch's ``SummaryWriter`` that is used here."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add one figure at a step."""
        ...

    def flush(self) -> None:
        """Write what was added."""
        ...


def open_writer(run_folder: Path, *, first_epoch: int) -> ScalarWriter | None:
    """Return a writer of events in the folder of a run; None if tensorboard is not installed.

    Args:
        run_folder: The folder of the run.
        first_epoch: Events of this epoch and later ones, from before a run was killed, are hidden.
    """
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    writer: ScalarWriter = SummaryWriter(str(run_folder / FOLDER), purge_step=first_epoch)
    return writer


def write_row(writer: ScalarWriter, row: Mapping[str, float]) -> None:
    """Write the figures of one epoch."""
    for name in FIGURES:
        if name in row:
            writer.add_scalar(name, row[name], int(row["epoch"]))
    writer.flush()
