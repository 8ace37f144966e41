"""Peer matting: runs PyMatting's closed form on a folder of pictures, with its own Python (``make peers``).

    python benchmarks/peer_matting.py FOLDER

Reads every NAME.npz (``rgb`` uint8, ``trimap`` uint8) and writes NAME.npy, alpha as float32.
"""

import sys
from pathlib import Path

import numpy as np
from pymatting import estimate_alpha_cf

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    scene = np.load(path)
    alpha = estimate_alpha_cf(scene["rgb"] / 255.0, scene["trimap"] / 255.0)
    np.save(path.with_suffix(".npy"), alpha.astype(np.float32))
