"""U²-Net as most programs run it: Pillow in, ONNX Runtime, Pillow out. Shared by the programs of this folder.

The network's input and the stretch of its map are those of its authors' test script.

References:
    Qin et al., "U²-Net", Pattern Recognition 106, 2020.
"""

import io

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SIDE = 320
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def open_session(weights: str) -> onnxruntime.InferenceSession:
    """Load the published weights with the defaults of ONNX Runtime."""
    return onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])


def read_picture(upload: bytes) -> Image.Image:
    """Decode an upload to an upright RGB picture."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(upload))).convert("RGB")


def network_input(picture: Image.Image) -> np.ndarray:
    """Return the network's input, float32 (1, 3, 320, 320)."""
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    normalised = (small / max(float(small.max()), 1e-6) - MEAN) / DEVIATION
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def run(session: onnxruntime.InferenceSession, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return the saliency map (320, 320) of each input; in one run, if the file allows batches."""
    name = session.get_inputs()[0].name
    if isinstance(session.get_inputs()[0].shape[0], int):  # the published files are made for one picture
        return [session.run(None, {name: each})[0][0, 0] for each in inputs]
    return list(session.run(None, {name: np.concatenate(inputs)})[0][:, 0])


def stretched_mask(saliency: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return the map, stretched to 0…255, at the picture's size."""
    low, high = float(saliency.min()), float(saliency.max())
    stretched = (saliency - low) / max(high - low, 1e-6)
    grey = Image.fromarray((stretched * 255).astype(np.uint8), "L")
    return grey.resize(size, Image.Resampling.LANCZOS)


def render(picture: Image.Image, saliency: np.ndarray, operation: str) -> bytes:
    """Return the mask or the cutout of a picture as a PNG."""
    result = stretched_mask(saliency, picture.size)
    if operation != "mask":
        cutout = picture.convert("RGBA")
        cutout.putalpha(result)
        result = cutout
    encoded = io.BytesIO()
    result.save(encoded, "PNG")
    return encoded.getvalue()


def remove_background(session: onnxruntime.InferenceSession, upload: bytes, operation: str) -> bytes:
    """Run all steps of one request."""
    picture = read_picture(upload)
    (saliency,) = run(session, [network_input(picture)])
    return render(picture, saliency, operation)
