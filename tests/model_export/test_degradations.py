"""Degradations: pictures change within the limits, and masks stay true."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from model_export.degradations import add_noise, blur, fill_subjects, store_as_jpeg, swap_backgrounds
from model_export.transforms import Augmentation, augment
from tests.pictures import photo

pytestmark = pytest.mark.torch


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def pictures(count: int = 8, side: int = 32) -> torch.Tensor:
    stack = np.stack([photo(side, side, number) for number in range(count)])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def squares(count: int, side: int = 32) -> torch.Tensor:
    truth = torch.zeros(count, 1, side, side)
    truth[:, :, 8:20, 8:20] = 1
    return truth


def changed(before: torch.Tensor, after: torch.Tensor) -> list[bool]:
    return [not torch.allclose(one, other, atol=1e-5) for one, other in zip(before, after, strict=True)]


def test_a_blurred_picture_is_one_gaussian_of_itself_and_about_half_stay_sharp() -> None:
    before = pictures()
    after = blur(before, 2.0, generator())
    moved = changed(before, after)
    errors = []
    for number in np.flatnonzero(moved):
        candidates = [
            gaussian_filter(before[number, 0].numpy(), sigma, mode="mirror")
            for sigma in np.arange(0.02, 2.01, 0.02)
        ]
        errors.append(min(np.abs(each - after[number, 0].numpy()).max() for each in candidates))

    assert 1 <= sum(moved) < 8
    assert max(errors) < 0.02


def test_noise_stays_within_its_limit() -> None:
    grey = torch.full((16, 3, 64, 64), 0.5)
    deviations = (add_noise(grey, 0.1, generator()) - 0.5).flatten(1).std(1)

    assert 1 <= int((deviations == 0).sum()) < 16
    assert 0.02 < float(deviations.max()) < 0.105


def test_jpeg_changes_half_of_the_pictures_a_little() -> None:
    before = pictures()
    after = store_as_jpeg(before, 40, generator())

    assert 1 <= sum(changed(before, after)) < 8
    assert 0 < float((after - before).abs().mean()) < 0.1
    assert torch.equal(store_as_jpeg(before, 40, generator()), after)


def test_a_filled_subject_has_the_colours_around_it() -> None:
    plain = torch.full((1, 3, 32, 32), 0.25)
    subject = torch.where(squares(1) > 0, torch.tensor(0.9), plain)

    assert torch.allclose(fill_subjects(subject, squares(1)), plain, atol=1e-5)
    assert float(fill_subjects(subject, torch.ones(1, 1, 32, 32)).mean()) == 0.5


def test_a_swapped_background_keeps_the_subject_the_mask_and_the_negatives() -> None:
    shades = torch.tensor((0.1, 0.4, 0.7)).view(3, 1, 1, 1).expand(3, 3, 32, 32)
    truth = squares(3)
    truth[2] = 0
    before = torch.where(truth > 0, torch.tensor(0.95), shades)
    teacher = torch.full((3, 1, 16, 16), 0.3)
    after, (kept, taught) = swap_backgrounds(before, [truth, teacher], 1.0, generator())

    assert torch.equal(kept, truth)
    assert torch.allclose(after[:2][truth[:2].expand(-1, 3, -1, -1) > 0], torch.tensor(0.95))
    assert torch.allclose(after[:2, :, 0, 0], torch.tensor([[0.7], [0.1]]), atol=1e-5)
    assert torch.equal(after[2], before[2])
    assert torch.equal(taught[2], teacher[2])
    assert float(taught[0].max()) == 1
    assert float(taught[0].min()) == 0


def test_degradations_are_off_by_default_and_leave_the_masks() -> None:
    before, truth = pictures(), squares(8)
    unchanged, _ = augment(before, [truth], Augmentation(), generator())
    degraded, (kept,) = augment(
        before, [truth], Augmentation(blur_px=1.5, noise=0.05, jpeg_quality=50), generator()
    )

    assert torch.equal(unchanged, before)
    assert torch.equal(kept, truth)
    assert sum(changed(before, degraded)) >= 4
    assert 0 <= float(degraded.min()) < float(degraded.max()) <= 1
