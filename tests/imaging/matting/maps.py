"""Maps: builders of saliency maps of different kinds."""

import cv2
import numpy as np

from app.arrays import SaliencyMap
from app.imaging.matting.saliency import resize_saliency
from tests.pictures import disc_alpha

KINDS = ("flat", "random", "smooth", "sharp", "small subject", "specks")


def saliency_map(kind: str, height: int, width: int, *, seed: int) -> SaliencyMap:
    """Build a map: one value, noise, clouds, a sharp mask of 8 bits, a disc, or a disc with specks."""
    rng = np.random.default_rng(seed)
    random = rng.random((height, width)).astype(np.float32)
    if kind == "flat":
        return np.full((height, width), rng.choice([0, 0.01, 0.02, 0.5, 0.98, 0.99, 1]), np.float32)
    if kind == "random":
        return random
    if kind == "smooth":
        small = np.clip(rng.normal(0.5, 0.8, (5, 6)), 0, 1).astype(np.float32)
        return resize_saliency(small, height, width)
    if kind == "sharp":
        blurred = np.asarray(cv2.GaussianBlur(random, (0, 0), 3)).reshape(height, width)
        return (blurred > 0.5).astype(np.float32)
    centre = (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)))
    disc = disc_alpha(height, width, radius=float(rng.uniform(0.02, 0.3)), softness=0.05, centre=centre)
    return np.maximum(disc, random > 0.9995) if kind == "specks" else disc
