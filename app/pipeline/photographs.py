"""Photographs: two real pictures, as inputs of a network.

They are the samples of the playground: a person and a thing, each with a soft edge and a busy background.
Networks and precisions are compared with them, because noise and drawings have other maps than photographs.
"""

from importlib.resources import files

import numpy as np

from app.arrays import NetworkInput
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from app.imaging.prepare import prepare

NAMES = ("astronaut.jpg", "vase.jpg")


def photographs(input_size_px: int) -> NetworkInput:
    """Return the photographs as inputs of a network.

    Args:
        input_size_px: Side of the network's input, S.

    Returns:
        (K, S, S, 3) uint8.
    """
    folder = files("app").joinpath("web", "page", "samples")
    uploads = [folder.joinpath(name).read_bytes() for name in NAMES]
    return np.stack([prepare(decode(upload, sniff(upload)).rgb, input_size_px) for upload in uploads])
