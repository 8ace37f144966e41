"""Large model: makes a model of about IS-Net's work, for ``benchmarks/two_models.py``.

    .venv-export/bin/python -m benchmarks.large_model FOLDER

U²-Net† at 1024 px instead of 320 takes 203 billion multiply-adds; IS-Net takes 160. Its maps are of no use,
since the network was trained at 320 px. Needs the environment of the export, and the weights of u2netp in
``models/weights``.
"""

import argparse
import shutil
from pathlib import Path

from app.engine.models.manifest import WeightsOrigin
from app.weights.fetch import published
from benchmarks.server import ROOT
from model_export.architectures import ARCHITECTURES
from model_export.export import describe, export_served, put_in_place
from model_export.port import port
from model_export.weights import read_convolutions

SMALL, LARGE, SIZE_PX = "u2netp", "large", 1024


def main() -> None:
    """Write the large model, and copy the small one next to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the folder of models to write")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    args = parser.parse_args()
    convolutions = read_convolutions(args.models_dir / "weights" / f"{SMALL}.onnx")
    network = port(ARCHITECTURES[SMALL](), convolutions)
    model_bytes = export_served(network, graph_name=LARGE, size_px=SIZE_PX)
    origin = published(SMALL)
    manifest = describe(
        network,
        model_bytes,
        name=LARGE,
        architecture=SMALL,
        size_px=SIZE_PX,
        weights=WeightsOrigin(origin.url, origin.sha256, origin.license, origin.authors),
        quality={},
    )
    args.folder.mkdir(parents=True, exist_ok=True)
    put_in_place(manifest, model_bytes, args.folder, {})
    shutil.copytree(args.models_dir / SMALL, args.folder / SMALL, dirs_exist_ok=True)
    print(f"{args.folder}: {SMALL}, {LARGE}")


if __name__ == "__main__":
    main()
