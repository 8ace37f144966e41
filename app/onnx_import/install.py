"""Install: stages a model next to the others, shows it, and puts it in place when it is accepted.

Rule 1: nothing is written outside the staging folder before the model is accepted, and the folder is removed
whatever happens. The whole folder is moved at once, so a model is complete or not there.
Rule 2: only models are replaced; other files and folders of that name are the user's own.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.engine.models.manifest import MANIFEST_FILE, Manifest, read_manifest
from app.onnx_import.child import PREVIEW_FILE as PREVIEW_FILE
from app.onnx_import.child import TIMEOUT_S, build_in_child


@contextmanager
def staged(
    order: dict[str, Any], models_dir: Path, *, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[Manifest, Path]]:
    """Build a model in a staging folder, which is removed at the end of the block.

    Args:
        order: As for ``build_in_child``.
        models_dir: The folder of models; created if missing.
        timeout_s: The time for building it.

    Yields:
        The manifest, and the staging folder.

    Raises:
        GraphRefused: The file cannot become a model.
        OSError: A file cannot be read or written.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=f".{order['name']}-") as folder:
        staging = Path(folder) / str(order["name"])
        staging.mkdir()
        build_in_child(order, staging, timeout_s=timeout_s)
        yield read_manifest(staging), staging


def holds_model(target: Path) -> bool:
    """Return whether a folder holds a model, and not nothing.

    Raises:
        FileExistsError: There is something else, which would be lost.
    """
    if (target / MANIFEST_FILE).exists():
        return True
    if os.path.lexists(target):
        raise FileExistsError(
            f"{target} is there already and is no model, so it is not replaced. Move it to another folder, "
            "or choose another name by --name"
        )
    return False


def put_in_place(staging: Path, models_dir: Path) -> Path:
    """Move a staged model into the folder of models, in place of an earlier one, and return its folder.

    Raises:
        FileExistsError: There is something of that name that is no model.
    """
    target = models_dir / staging.name
    if holds_model(target):
        target.rename(staging.parent / "replaced")
    return staging.rename(target)
