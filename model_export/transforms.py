"""Transforms: a batch of pictures and its masks are flipped, moved, bent and recoloured, alike.

Everything that moves pixels is one sampling field a picture, (H, W, 2), by which picture, mask and teacher
map are read in one and the same way; so they cannot come apart. It runs where the batch lies, on a GPU too,
and depends on nothing but the generator.

References:
    Ronneberger et al. 2015, arXiv:1505.04597, section 3.1 (elastic deformation on a coarse 3 × 3 grid).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model_export.architectures.layers import resize, size_of

COARSE = 3  # grid points a side of the elastic deformation
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a picture may be changed; with these defaults not at all.

    ``scale`` is how much larger the picture may become, from and to; what leaves the frame is cropped, what
    is missing is mirrored. ``elastic_px`` is σ of the displacements of the 3 × 3 grid, in pixels of the
    result. ``colour`` is how far brightness, contrast and saturation may differ from 1.
    """

    flip_horizontally: bool = False
    flip_vertically: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotate_degrees: float = 0.0
    elastic_px: float = 0.0
    colour: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether there is more to do than to flip."""
        return self.scale != (1.0, 1.0) or bool(self.shift or self.rotate_degrees or self.elastic_px)


def augment(
    pictures: Tensor,
    masks: list[Tensor],
    how: Augmentation,
    generator: torch.Generator,
    *,
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Change a batch, and bring it to a size.

    Args:
        pictures: (N, 3, H, W) float32 in [0, 1].
        masks: Maps that belong to them, (N, 1, H', W') float32 in [0, 1] of any sizes.
        how: How far.
        generator: On the CPU; the same state gives the same changes on every device.
        size: (H, W) of what is returned; the pictures' own if None.

    Returns:
        Pictures (N, 3, H, W) and masks (N, 1, H, W). Masks stay soft along moved borders.
    """
    size = size or size_of(pictures)
    field = sampling_field(pictures.shape[0], size, how, generator)
    if field is None:
        pictures, masks = resize(pictures, size), [resize(each, size) for each in masks]
    else:
        field = field.to(pictures.device)
        pictures, masks = _sampled(pictures, field), [_sampled(each, field) for each in masks]
    return recolour(pictures, how.colour, generator), masks


def sampling_field(
    count: int, size: tuple[int, int], how: Augmentation, generator: torch.Generator
) -> Tensor | None:
    """Return where each output pixel is read, (N, H, W, 2) in [-1, 1] as (x, y); None if nothing moves.

    Args:
        count: N.
        size: (H, W).
        how: How far.
        generator: On the CPU.
    """
    if not (how.moves or how.flip_horizontally or how.flip_vertically):
        return None

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def signs(flips: bool) -> Tensor:  # noqa: FBT001 - of a field
        return 1 - 2 * (torch.rand(count, generator=generator) < 0.5).float() if flips else torch.ones(count)

    zoom = 1 / torch.exp(uniform(math.log(how.scale[0]), math.log(how.scale[1])))
    angle = torch.deg2rad(uniform(-how.rotate_degrees, how.rotate_degrees))
    across, down = signs(how.flip_horizontally), signs(how.flip_vertically)
    # A picture that is enlarged may be looked at anywhere within; beside that it is shifted.
    room = (1 - zoom).clamp(min=0)
    height, width = size
    cosine, sine, aspect = torch.cos(angle) * zoom, torch.sin(angle) * zoom, height / width
    affine = torch.stack(
        (
            torch.stack((across * cosine, -down * sine * aspect, uniform(-1, 1) * (room + how.shift)), dim=1),
            torch.stack((across * sine / aspect, down * cosine, uniform(-1, 1) * (room + how.shift)), dim=1),
        ),
        dim=1,
    )
    field = functional.affine_grid(affine, [count, 1, height, width], align_corners=False)
    if how.elastic_px:
        field = field + elastic_field(count, size, how.elastic_px, generator)
    return field


def elastic_field(count: int, size: tuple[int, int], sigma_px: float, generator: torch.Generator) -> Tensor:
    """Return smooth displacements, (N, H, W, 2) as (x, y), in units in which a side is 2 long.

    Displacements of a coarse 3 × 3 grid are normal, of ``sigma_px``, and bicubic in between.
    """
    height, width = size
    coarse = sigma_px * torch.randn(count, 2, COARSE, COARSE, generator=generator)
    fine = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1) * torch.tensor((2 / width, 2 / height))


def recolour(pictures: Tensor, colour: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of each picture by factors up to ``1 ± colour``."""
    if not colour:
        return pictures
    factors = 1 + colour * (2 * torch.rand(3, pictures.shape[0], 1, 1, 1, generator=generator) - 1)
    brightness, contrast, saturation = factors.to(pictures)
    bright = pictures * brightness
    grey = (bright * torch.tensor(GREY).to(pictures)[None, :, None, None]).sum(1, keepdim=True)
    saturated = grey + saturation * (bright - grey)
    middle = grey.mean(dim=(2, 3), keepdim=True)
    return (middle + contrast * (saturated - middle)).clamp(0, 1)


def _sampled(maps: Tensor, field: Tensor) -> Tensor:
    return functional.grid_sample(
        maps, field, mode="bilinear", padding_mode="reflection", align_corners=False
    )
