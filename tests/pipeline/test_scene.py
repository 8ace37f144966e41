from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.errors import NoForeground
from app.imaging.formats.decode import Picture
from app.imaging.matting.saliency import stretch
from app.options import CutoutOptions, MaskOptions
from app.pipeline.scene import (
    blend,
    planned_runs,
    refinement_box,
    segmentation_of,
)
from app.pipeline.values import OWN_MASK_PROVIDER, PreparedPicture, Segmentation
from app.telemetry import StepTimes
from tests.fakes import ManualClock, SimulatedSession
from tests.pictures import disc_alpha, photo, png
from tests.rendering import MANIFEST, admitted

SIZE = (120, 160)
SMALL_DISC = disc_alpha(32, 32, radius=0.2, softness=0.2)
LARGE_DISC = disc_alpha(32, 32, radius=0.4, softness=0.2)
"""The same disc in a box of half the picture's sides."""
CROPPED = np.full((32, 32, 3), 128, np.uint8)
FLAT = np.full((32, 32), 0.01, np.float32)
CROP = CutoutOptions(refine="crop")


def prepared(*, own_mask: np.ndarray | None = None, is_own_mask_empty: bool = False) -> PreparedPicture:
    network_input = None if own_mask is not None else np.zeros((32, 32, 3), np.uint8)
    return PreparedPicture(
        "tag",
        Picture(photo(*SIZE), None, ()),
        network_input,
        own_mask=own_mask,
        is_own_mask_empty=is_own_mask_empty,
    )


def segmented(
    raw: np.ndarray | None, options: CutoutOptions | MaskOptions = CROP, **own: object
) -> Segmentation:
    return segmentation_of(prepared(**own), raw, options, SimulatedSession(MANIFEST, "CPU"))  # type: ignore[arg-type]


def test_a_map_with_a_subject_is_stretched() -> None:
    segmentation = segmented(0.8 * SMALL_DISC)

    assert not segmentation.is_empty
    assert ("CPU", "tag") == (segmentation.provider, segmentation.etag)
    assert_array_equal(segmentation.saliency, stretch(0.8 * SMALL_DISC))


def test_a_flat_map_is_an_empty_scene() -> None:
    segmentation = segmented(FLAT)

    assert segmentation.is_empty
    assert 0 == segmentation.saliency.max()


@pytest.mark.parametrize("kind", [CutoutOptions, MaskOptions])
def test_an_empty_scene_is_refused_if_a_subject_is_required(kind: type[CutoutOptions]) -> None:
    with pytest.raises(NoForeground):
        segmented(FLAT, kind(require_foreground=True))


def test_a_mask_of_the_callers_own_is_taken_as_it_is() -> None:
    segmentation = segmented(None, own_mask=FLAT)

    assert_array_equal(segmentation.saliency, FLAT)
    assert (OWN_MASK_PROVIDER, False) == (segmentation.provider, segmentation.is_empty)


def test_a_mask_that_shows_nothing_is_an_empty_scene() -> None:
    assert segmented(None, own_mask=SMALL_DISC, is_own_mask_empty=True).is_empty
    with pytest.raises(NoForeground):
        segmented(None, CutoutOptions(require_foreground=True), own_mask=SMALL_DISC, is_own_mask_empty=True)


def test_a_second_look_is_at_a_small_subject_alone() -> None:
    box = refinement_box(segmented(SMALL_DISC), CROP)

    assert box is not None
    left, top, right, bottom = box
    assert 0 < left < 80 < right < 160
    assert 0 < top < 60 < bottom < 120


@pytest.mark.parametrize(
    ("raw", "own_mask", "options"),
    [
        (SMALL_DISC, None, CutoutOptions()),
        (FLAT, None, CROP),
        (np.ones((32, 32), np.float32), None, CROP),
        (None, SMALL_DISC, CROP),
        (disc_alpha(1024, 1024, radius=0.1), None, CROP),
    ],
    ids=["not requested", "empty", "fills the picture", "own mask", "as fine as a second map"],
)
def test_there_is_no_second_look_where_it_is_no_use(
    raw: np.ndarray | None, own_mask: np.ndarray | None, options: CutoutOptions
) -> None:
    assert refinement_box(segmented(raw, options, own_mask=own_mask), options) is None


def test_an_empty_second_look_changes_nothing() -> None:
    segmentation = segmented(SMALL_DISC)

    assert blend(segmentation, FLAT, CROPPED, (40, 30, 120, 90), StepTimes(ManualClock())) is segmentation


def test_a_second_look_refines_the_map() -> None:
    steps = StepTimes(ManualClock())
    refined = blend(segmented(SMALL_DISC), LARGE_DISC, CROPPED, (40, 30, 120, 90), steps)

    assert refined.is_refined
    assert refined.saliency.shape > SMALL_DISC.shape
    assert ["refine"] == list(steps.seconds)


def test_a_second_look_at_another_subject_changes_nothing() -> None:
    segmentation = segmented(SMALL_DISC)

    assert (
        blend(segmentation, SMALL_DISC, CROPPED, (40, 30, 120, 90), StepTimes(ManualClock())) is segmentation
    )


LONG, SQUARE = (40, 160), (120, 160)


@pytest.mark.parametrize(
    ("options", "size", "has_own_mask", "runs"),
    [
        (CutoutOptions(), SQUARE, False, 1),
        (CutoutOptions(), (40, 120), False, 1),
        (CutoutOptions(), (40, 121), False, 2),
        (CutoutOptions(), (121, 40), False, 2),
        (CutoutOptions(refine="none"), LONG, False, 1),
        (CutoutOptions(results="mask,cutout"), LONG, False, 1),
        (CutoutOptions(region="0% 0% 50% 50%"), LONG, False, 1),
        (MaskOptions(), LONG, False, 1),
        (CROP, SQUARE, False, 2),
        (MaskOptions(refine="crop"), SQUARE, False, 2),
        (CROP, SQUARE, True, 0),
    ],
)
def test_the_planned_runs_of_the_network(
    options: CutoutOptions | MaskOptions, size: tuple[int, int], has_own_mask: bool, runs: int
) -> None:
    upload = png(photo(*size))
    mask = png(photo(*size)[:, :, 0]) if has_own_mask else None

    assert runs == planned_runs(admitted(upload, options, mask=mask))


@pytest.mark.parametrize(("size", "expected"), [(SQUARE, False), (LONG, True)])
def test_a_long_picture_is_looked_at_twice_by_default(size: tuple[int, int], expected: bool) -> None:
    decoded = replace(prepared(), picture=Picture(photo(*size), None, ()))
    segmentation = segmentation_of(decoded, SMALL_DISC, CutoutOptions(), SimulatedSession(MANIFEST, "CPU"))  # type: ignore[arg-type]

    assert expected == (refinement_box(segmentation, CutoutOptions()) is not None)
    assert refinement_box(segmentation, CutoutOptions(refine="none")) is None
