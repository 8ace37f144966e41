"""Degradations: what cameras, shops and networks do to pictures: other backgrounds, blur, noise, JPEG.

They change pictures only; masks stay as they are.
"""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BLUR_REACH = 3  # standard deviations to each side
HALF = 0.5  # of the pictures are degraded, so that the network also learns clean ones


def swap_backgrounds(
    pictures: Tensor, masks: list[Tensor], share: float, generator: torch.Generator
) -> tuple[Tensor, list[Tensor]]:
    """Put the subjects of some pictures in front of the background of the next picture of the batch.

    The subject of that other picture is filled with the colours around it. A picture without a subject keeps
    its background: it is a negative example as it is.

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        masks: The true masks, (N, 1, H, W) in [0, 1], then a teacher's maps, (N, 1, H', W'), if there are
            any. A teacher's map of a picture with another background is replaced by the mask.
        share: Of the pictures, from 0 to 1.
        generator: On the CPU.
    """
    truth = masks[0]
    is_chosen = (torch.rand(len(pictures), generator=generator) < share).to(pictures.device)
    is_chosen &= truth.flatten(1).any(1)
    others = fill_subjects(pictures, truth).roll(1, 0)
    swapped = truth * pictures + (1 - truth) * others
    chosen = is_chosen[:, None, None, None]
    teachers = [
        torch.where(chosen, functional.interpolate(truth, size=each.shape[-2:], mode="area"), each)
        for each in masks[1:]
    ]
    return torch.where(chosen, swapped, pictures), [truth, *teachers]


def fill_subjects(pictures: Tensor, truth: Tensor) -> Tensor:
    """Replace subjects by the colours around them: means of the background, over ever larger squares.

    Args:
        pictures: (N, 3, H, W) in [0, 1].
        truth: (N, 1, H, W) in [0, 1]. A picture that is all subject becomes grey.
    """
    weight = (truth < 1 / 255).to(pictures)
    levels = [(pictures * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append(tuple(functional.avg_pool2d(each, 2, ceil_mode=True) for each in levels[-1]))
    filled = torch.full_like(levels[-1][0], 0.5)
    for colours, share in reversed(levels):
        filled = functional.interpolate(filled, size=colours.shape[-2:], mode="bilinear")
        filled = torch.where(share > 0, colours / share.clamp(min=1e-6), filled)
    return filled


def blur(pictures: Tensor, max_sigma_px: float, generator: torch.Generator) -> Tensor:
    """Blur half of the pictures by a Gaussian of up to ``max_sigma_px``; borders are mirrored."""
    sigmas = _limits(len(pictures), max_sigma_px, generator)
    reach = min(max(1, round(BLUR_REACH * max_sigma_px)), min(pictures.shape[-2:]) - 1)
    steps = torch.arange(-reach, reach + 1).float()
    kernels = torch.exp(-(steps**2) / (2 * sigmas.clamp(min=1e-3)[:, None] ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(pictures).repeat_interleave(3, 0)
    padded = functional.pad(pictures, (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    groups = padded.shape[1]
    across = functional.conv2d(padded, kernels[:, None, None, :], groups=groups)
    return functional.conv2d(across, kernels[:, None, :, None], groups=groups).view_as(pictures)


def add_noise(pictures: Tensor, max_sigma: float, generator: torch.Generator) -> Tensor:
    """Add normal noise of a standard deviation of up to ``max_sigma`` to half of the pictures."""
    sigmas = _limits(len(pictures), max_sigma, generator).to(pictures)
    noise = torch.randn(pictures.shape, generator=generator).to(pictures)
    return (pictures + sigmas[:, None, None, None] * noise).clamp(0, 1)


def store_as_jpeg(pictures: Tensor, min_quality: int, generator: torch.Generator) -> Tensor:
    """Store half of the pictures as JPEG of a quality from ``min_quality`` to 100, and read them again."""
    qualities = 100 - _limits(len(pictures), 100 - min_quality, generator)
    return torch.stack(
        [
            _through_jpeg(picture, round(float(quality))) if quality < 100 else picture
            for picture, quality in zip(pictures, qualities, strict=True)
        ]
    )


def _limits(count: int, largest: float, generator: torch.Generator) -> Tensor:
    """Return (N,): 0 for about half of the pictures, and uniform values up to ``largest`` for the others."""
    values = largest * torch.rand(count, generator=generator)
    return values * (torch.rand(count, generator=generator) < HALF)


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    pixels = (255 * picture).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])
    return (torch.from_numpy(decoded).permute(2, 0, 1).float() / 255).to(picture)
