"""Writes the published weights as the .pth that backgroundremover loads, and checks both networks agree.

python backgroundremover_weights.py WEIGHTS.onnx u2netp OUT.pth

Runs in the environment of backgroundremover, with this repository in PYTHONPATH: the original .pth files are
not in the package index; the published ONNX files have the same weights, with the normalisations folded in.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from backgroundremover_server import declare_operators

from model_export.port import port
from model_export.weights import read_convolutions

MAX_DIFFERENCE = 1e-4


def main(weights: Path, model: str, target: Path) -> None:
    """Convert, compare both networks on noise, and write."""
    operators = declare_operators()
    from backgroundremover.u2net import u2net  # it imports torchvision

    network = {"u2netp": u2net.U2NETP, "u2net": u2net.U2NET}[model](3, 1)
    port(network, read_convolutions(weights))
    noise = np.random.default_rng(0).standard_normal((1, 3, 320, 320), np.float32)
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    published = session.run(None, {session.get_inputs()[0].name: noise})[0]
    with torch.inference_mode():
        difference = float(np.abs(network(torch.from_numpy(noise))[0].numpy() - published).max())
    if difference > MAX_DIFFERENCE:
        raise SystemExit(f"The converted network differs by {difference:.2g}.")
    torch.save(network.state_dict(), target)
    del operators


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
