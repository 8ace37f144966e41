"""Transforms: flips, moves, deforms, recolours and degrades a batch of pictures together with its masks.

All geometric changes of a picture form one sampling field, (H, W, 2), through which picture, mask and teacher
map are sampled in the same way, so they stay aligned. The transforms run on the device of the batch and
depend only on the generator.

References:
    Ronneberger et al. 2015, arXiv:1505.04597, section 3.1 (elastic deformation on a coarse 3 × 3 grid).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from model_export.architectures.layers import resize, size_of
from model_export.degradations import add_noise, blur, store_as_jpeg, swap_backgrounds

ELASTIC_GRID = 3  # grid points per side of the elastic deformation
LUMA = (0.299, 0.587, 0.114)  # RGB, ITU-R BT.601
Sampling = Literal["bilinear", "nearest"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The limits of random changes to a picture; the defaults change nothing.

    ``scale`` is the range of the enlargement; parts outside the frame are cropped, missing ones mirrored.
    ``elastic_px`` is the σ of the displacements of the 3 × 3 grid, in pixels of the result. ``colour`` is how
    far the factors of brightness, contrast and saturation may differ from 1. ``swap_background`` is the share
    of pictures that get the background of another picture of the batch. Half of the pictures each are blurred
    by a Gaussian of up to ``blur_px``, get noise of a standard deviation of up to ``noise``, of 1, and are
    stored as JPEG of ``jpeg_quality`` or better; 100 stores none.
    """

    flip_horizontally: bool = False
    flip_vertically: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotate_degrees: float = 0.0
    elastic_px: float = 0.0
    colour: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 100
    swap_background: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether there are geometric changes other than flips."""
        return self.scale != (1.0, 1.0) or bool(self.shift or self.rotate_degrees or self.elastic_px)


def augment(
    pictures: Tensor,
    masks: list[Tensor],
    augmentation: Augmentation,
    generator: torch.Generator,
    *,
    size: tuple[int, int] | None = None,
    sampling: Sampling = "bilinear",
) -> tuple[Tensor, list[Tensor]]:
    """Change a batch at random, and resize it.

    Args:
        pictures: (N, 3, H, W) float32 in [0, 1].
        masks: Maps of these pictures, (N, 1, H', W') float32 in [0, 1], of any size; or label maps.
        augmentation: The limits of the changes.
        generator: On the CPU; the same state gives the same changes on every device.
        size: (H, W) of the result; the size of the pictures if None.
        sampling: How to sample the masks; label maps must not be mixed: ``nearest``.

    Returns:
        Pictures (N, 3, H, W) and masks (N, 1, H, W). Bilinear masks are soft along moved borders.
    """
    size = size or size_of(pictures)
    if augmentation.swap_background:
        pictures, masks = swap_backgrounds(pictures, masks, augmentation.swap_background, generator)
    field = sampling_field(pictures.shape[0], size, augmentation, generator)
    if field is None:
        pictures, masks = resize(pictures, size), [_resize(mask, size, sampling) for mask in masks]
    else:
        field = field.to(pictures.device)
        pictures, masks = _sample(pictures, field), [_sample(mask, field, sampling) for mask in masks]
    return degrade(recolour(pictures, augmentation.colour, generator), augmentation, generator), masks


def sampling_field(
    count: int, size: tuple[int, int], augmentation: Augmentation, generator: torch.Generator
) -> Tensor | None:
    """Return the sampling position of each output pixel, (N, H, W, 2) in [-1, 1] as (x, y), or None.

    The result is None if nothing moves.

    Args:
        count: N.
        size: (H, W).
        augmentation: The limits of the changes.
        generator: On the CPU.
    """
    if not (augmentation.moves or augmentation.flip_horizontally or augmentation.flip_vertically):
        return None

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def signs(flips: bool) -> Tensor:  # noqa: FBT001 - a field of Augmentation
        return 1 - 2 * (torch.rand(count, generator=generator) < 0.5).float() if flips else torch.ones(count)

    zoom = 1 / torch.exp(uniform(math.log(augmentation.scale[0]), math.log(augmentation.scale[1])))
    angle = torch.deg2rad(uniform(-augmentation.rotate_degrees, augmentation.rotate_degrees))
    sign_x, sign_y = signs(augmentation.flip_horizontally), signs(augmentation.flip_vertically)
    # An enlarged picture may be cropped anywhere; ``shift`` is added to that.
    max_shift = (1 - zoom).clamp(min=0) + augmentation.shift
    height, width = size
    cosine, sine, aspect = torch.cos(angle) * zoom, torch.sin(angle) * zoom, height / width
    affine = torch.stack(
        (
            torch.stack((sign_x * cosine, -sign_y * sine * aspect, uniform(-1, 1) * max_shift), dim=1),
            torch.stack((sign_x * sine / aspect, sign_y * cosine, uniform(-1, 1) * max_shift), dim=1),
        ),
        dim=1,
    )
    field = functional.affine_grid(affine, [count, 1, height, width], align_corners=False)
    if augmentation.elastic_px:
        field = field + elastic_field(count, size, augmentation.elastic_px, generator)
    return field


def elastic_field(count: int, size: tuple[int, int], sigma_px: float, generator: torch.Generator) -> Tensor:
    """Return smooth displacements, (N, H, W, 2) as (x, y), in units of half a side.

    The displacements of a coarse 3 × 3 grid are normally distributed with σ = ``sigma_px``; between the grid
    points they are interpolated bicubically. A dense field of noise, smoothed by a Gaussian, would bend edges
    within an object, and needs the width of the smoothing in addition.
    """
    height, width = size
    coarse = sigma_px * torch.randn(count, 2, ELASTIC_GRID, ELASTIC_GRID, generator=generator)
    fine = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1) * torch.tensor((2 / width, 2 / height))


def recolour(pictures: Tensor, colour: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of each picture by factors up to ``1 ± colour``."""
    if not colour:
        return pictures
    factors = 1 + colour * (2 * torch.rand(3, pictures.shape[0], 1, 1, 1, generator=generator) - 1)
    brightness, contrast, saturation = factors.to(pictures)
    bright = pictures * brightness
    grey = (bright * torch.tensor(LUMA).to(pictures)[None, :, None, None]).sum(1, keepdim=True)
    saturated = grey + saturation * (bright - grey)
    middle = grey.mean(dim=(2, 3), keepdim=True)
    return (middle + contrast * (saturated - middle)).clamp(0, 1)


def _resize(maps: Tensor, size: tuple[int, int], sampling: Sampling) -> Tensor:
    if sampling == "nearest":
        return functional.interpolate(maps, size=size, mode="nearest-exact")
    return resize(maps, size)


def _sample(maps: Tensor, field: Tensor, sampling: Sampling = "bilinear") -> Tensor:
    return functional.grid_sample(maps, field, mode=sampling, padding_mode="reflection", align_corners=False)


def degrade(pictures: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Blur pictures, add noise to them and store them as JPEG, within the limits."""
    if augmentation.blur_px:
        pictures = blur(pictures, augmentation.blur_px, generator)
    if augmentation.noise:
        pictures = add_noise(pictures, augmentation.noise, generator)
    if augmentation.jpeg_quality < 100:
        pictures = store_as_jpeg(pictures, augmentation.jpeg_quality, generator)
    return pictures
