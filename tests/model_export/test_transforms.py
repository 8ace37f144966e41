"""Transforms: pictures and masks stay aligned, and changes stay within their limits."""

import pytest
import torch
from torch import Tensor

from model_export.transforms import Augmentation, augment, elastic_field, recolour, sampling_field

pytestmark = pytest.mark.torch

STRONG = Augmentation(
    flip_horizontally=True,
    flip_vertically=True,
    scale=(0.6, 1.8),
    shift=0.2,
    rotate_degrees=40,
    elastic_px=9,
)


def scene(count: int = 4, size: tuple[int, int] = (60, 80)) -> tuple[Tensor, Tensor]:
    """Return pictures of smooth blobs whose red channel is the mask, and the masks."""
    generator = torch.manual_seed(8)
    rough = torch.rand(count, 3, 6, 8, generator=generator)
    pictures = torch.nn.functional.interpolate(rough, size=size, mode="bicubic").clamp(0, 1)
    return pictures, pictures[:, :1].clone()


@pytest.mark.parametrize("seed", range(8))
def test_picture_and_mask_move_the_same(seed: int) -> None:
    pictures, masks = scene()
    moved, (mask,) = augment(pictures, [masks], STRONG, torch.manual_seed(seed))

    assert torch.allclose(moved[:, :1], mask, atol=1e-5)
    assert not torch.allclose(mask, masks, atol=0.1)


def test_a_smaller_map_of_the_same_picture_moves_the_same() -> None:
    pictures, masks = scene(size=(128, 128))
    half = torch.nn.functional.avg_pool2d(masks, 2)
    moved, (small,) = augment(pictures, [half], STRONG, torch.manual_seed(1))

    assert float((moved[:, :1] - small).abs().mean()) < 0.01


def test_the_same_generator_gives_the_same_changes() -> None:
    pictures, masks = scene()
    first, again = (augment(pictures, [masks], STRONG, torch.manual_seed(3))[0] for _ in range(2))

    assert torch.equal(first, again)


def test_the_default_augmentation_changes_nothing() -> None:
    pictures, masks = scene()
    same, (mask,) = augment(pictures, [masks], Augmentation(), torch.manual_seed(0))

    assert torch.equal(same, pictures)
    assert torch.equal(mask, masks)


def test_flips_occur_along_both_axes() -> None:
    pictures, masks = scene(32)
    augmentation = Augmentation(flip_horizontally=True, flip_vertically=True)
    flipped, _ = augment(pictures, [masks], augmentation, torch.manual_seed(0))
    kinds = []
    for before, after in zip(pictures, flipped, strict=True):
        found = [
            axes for axes in ((), (1,), (2,), (1, 2)) if torch.allclose(before.flip(axes), after, atol=1e-4)
        ]
        assert len(found) == 1
        kinds += found

    assert set(kinds) == {(), (1,), (2,), (1, 2)}


def test_an_enlarged_picture_is_a_crop_of_itself() -> None:
    """At twice the size, the visible part is half as wide and inside the picture."""
    field = sampling_field(64, (40, 40), Augmentation(scale=(2, 2)), torch.manual_seed(0))
    assert field is not None
    across = field[..., 0]

    assert float(field.abs().max()) <= 1
    assert torch.allclose(across[:, 0, -1] - across[:, 0, 0], torch.tensor(0.975), atol=1e-4)
    assert float(across.mean(dim=(1, 2)).std()) > 0.2  # anywhere within


def test_a_crop_of_a_larger_picture_has_its_pixels() -> None:
    """288 of 320 pixels, by an enlargement of 320 / 288: neighbours stay neighbours."""
    crops = Augmentation(scale=(320 / 288, 320 / 288))
    field = sampling_field(64, (288, 288), crops, torch.manual_seed(0))
    assert field is not None
    in_pixels = field * 320 / 2

    assert torch.allclose(in_pixels[:, :, 1:, 0] - in_pixels[:, :, :-1, 0], torch.tensor(1.0), atol=1e-3)
    assert float(field.abs().max()) <= 1
    ramp = torch.arange(320.0).expand(1, 3, 320, 320) / 320
    crop, _ = augment(
        ramp, [], Augmentation(scale=(320 / 288, 320 / 288)), torch.manual_seed(1), size=(288, 288)
    )
    assert tuple(crop.shape) == (1, 3, 288, 288)
    assert float(crop[0, 0, 0, -1] - crop[0, 0, 0, 0]) == pytest.approx(287 / 320, abs=1e-4)


def test_a_rotation_keeps_distances_in_pixels() -> None:
    field = sampling_field(16, (50, 100), Augmentation(rotate_degrees=90), torch.manual_seed(0))
    assert field is not None
    pixels = field * torch.tensor((100.0, 50.0)) / 2
    across = (pixels[:, 10, 60] - pixels[:, 10, 20]).norm(dim=1)
    down = (pixels[:, 40, 20] - pixels[:, 10, 20]).norm(dim=1)

    assert torch.allclose(across, torch.tensor(40.0), atol=1e-3)
    assert torch.allclose(down, torch.tensor(30.0), atol=1e-3)


def test_elastic_displacements_are_normal_at_nine_points_and_smooth_between() -> None:
    field = elastic_field(400, (65, 65), 10.0, torch.manual_seed(0)) * 65 / 2
    at_points = field[:, ::32, ::32]

    assert tuple(at_points.shape) == (400, 3, 3, 2)
    assert float(at_points.std()) == pytest.approx(10, rel=0.05)
    assert float((field[:, 1:] - field[:, :-1]).abs().max()) < 10 / 32 * 8


def test_colours_change_within_the_limit_and_masks_do_not() -> None:
    pictures = torch.full((200, 3, 2, 2), 0.4)
    changed = recolour(pictures, 0.25, torch.manual_seed(0))
    masks = torch.rand(200, 1, 2, 2)
    _, (kept,) = augment(pictures, [masks], Augmentation(colour=0.25), torch.manual_seed(0))

    assert 0.3 <= float(changed.min()) < 0.32
    assert 0.48 < float(changed.max()) <= 0.5
    assert torch.equal(kept, masks)
