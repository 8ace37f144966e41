"""Fixtures of the export tests, and a hook that skips them without torch.

The export has an environment of its own. Its modules cannot be imported in the serving environment, so each
test module that needs torch is skipped, with the reason, before it is imported.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import disc_alpha, photo

NEEDS_NO_TORCH = {
    "test_annotations.py",
    "test_card.py",
    "test_class_metrics.py",
    "test_evaluate.py",
    "test_malloc.py",
    "test_judge_matting.py",
    "test_label_maps.py",
    "test_masks.py",
    "test_matting_metrics.py",
    "test_metrics.py",
    "test_pictures.py",
    "test_progress_display.py",
    "test_samples.py",
}
REASON = (
    "torch is not in this environment; run: .venv-export/bin/python -m pytest -m torch tests/model_export"
)


class ModuleWithoutTorch(pytest.Module):
    """A test module that is skipped without being imported."""

    def collect(self) -> list[pytest.Item]:
        """Skip the module, with the command that runs it as the reason."""
        pytest.skip(REASON, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Replace modules that need torch if torch is missing."""
    if module_path.name in NEEDS_NO_TORCH or importlib.util.find_spec("torch"):
        return None
    return ModuleWithoutTorch.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def weights_folder() -> Path:
    """The folder of published weights; ``make test`` fills it."""
    folder = Path(__file__).resolve().parents[2] / "models" / "weights"
    if not (folder / "u2netp.onnx").is_file():
        pytest.fail("models/weights/u2netp.onnx is missing: run the tests by `make test`")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of a disc in front of clouds."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("T-Image", "T-Mask"):
        (folder / name).mkdir()
    for number in range(10):
        alpha = disc_alpha(64, 64, centre=(0.35 + 0.03 * number, 0.65 - 0.03 * number))[..., None]
        mixed = alpha * (40, 190, 60 + 15 * number) + (1 - alpha) * photo(64, 64, number)
        Image.fromarray(mixed.astype(np.uint8)).save(folder / "T-Image" / f"{number}.png")
        Image.fromarray(((alpha[..., 0] >= 0.5) * 255).astype(np.uint8)).save(
            folder / "T-Mask" / f"{number}.png"
        )
    return folder
