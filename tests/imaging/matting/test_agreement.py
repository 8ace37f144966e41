import numpy as np
import pytest
from numpy.testing import assert_allclose

from app.arrays import NetworkInput, SaliencyMap
from app.imaging.matting.agreement import has_same_subject
from app.imaging.matting.refine import map_of_part
from app.imaging.matting.saliency import resize_saliency
from tests.pictures import disc_alpha, noise

SMALL, LARGE = (disc_alpha(64, 64, radius=radius) for radius in (0.2, 0.4))
NONE = np.zeros((64, 64), np.float32)


def picture_of(subject: SaliencyMap) -> NetworkInput:
    """A bright subject before a dark background, with noise."""
    return (40 + 150 * (subject[:, :, None] >= 0.5) + noise((64, 64, 3)) // 8).astype(np.uint8)


@pytest.mark.parametrize("true", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("first", "second"), [(SMALL, LARGE), (LARGE, SMALL)], ids=["adds", "drops"])
def test_colours_decide_between_two_subjects(
    first: SaliencyMap, second: SaliencyMap, true: SaliencyMap
) -> None:
    assert (second is true) == has_same_subject(first, second, picture_of(true))


def hazy(value: float) -> SaliencyMap:
    """A first map that is sure of the small subject, and gives the rest of the large one a value."""
    return np.where(SMALL >= 0.5, SMALL, value * (LARGE >= 0.5)).astype(np.float32)


def doubt(saliency: SaliencyMap) -> float:
    """The unsure area in areas of the subject, by a plain loop."""
    values = saliency.ravel().tolist()
    return sum(4 * value * (1 - value) for value in values) / sum(value >= 0.5 for value in values)


@pytest.mark.parametrize(
    ("value", "for_second", "neutral", "against"),
    [(0.6, True, True, True), (0.8, True, True, False), (0.9, True, False, False)],
    ids=["lost", "unsure", "sure"],
)
def test_the_more_the_first_map_doubts_the_less_the_colours_must_say(
    value: float, for_second: bool, neutral: bool, against: bool
) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)  # all of one colour: no evidence

    assert against == (doubt(hazy(value)) >= 0.7)
    assert neutral == (doubt(hazy(value)) >= 0.4)
    assert for_second == has_same_subject(hazy(value), SMALL, picture_of(SMALL))
    assert neutral == has_same_subject(hazy(value), SMALL, grey)
    assert against == has_same_subject(hazy(value), SMALL, picture_of(LARGE))


def test_a_second_map_that_doubts_as_well_needs_the_colours() -> None:
    second = np.maximum(SMALL, 0.3 * (LARGE >= 0.5)).astype(np.float32)

    assert doubt(second) >= 0.6 * doubt(hazy(0.6))
    assert not has_same_subject(hazy(0.6), second, picture_of(LARGE))


def test_a_second_map_that_doubts_more_is_not_used_whatever_the_colours() -> None:
    second = np.maximum(SMALL, 0.4 * (LARGE >= 0.5)).astype(np.float32)

    assert doubt(second) > doubt(hazy(0.6))
    assert not has_same_subject(hazy(0.6), second, picture_of(SMALL))


@pytest.mark.parametrize("true", [SMALL, LARGE, NONE])
def test_subjects_that_are_nearly_the_same_agree_whatever_the_colours(true: SaliencyMap) -> None:
    nearly = disc_alpha(64, 64, radius=0.393)

    assert has_same_subject(LARGE, nearly, picture_of(true))


@pytest.mark.parametrize(
    ("first", "second"),
    [(NONE, NONE), (NONE, LARGE), (LARGE, NONE), (LARGE, 1 - LARGE), (1 - NONE, SMALL)],
    ids=["nothing", "first nothing", "second nothing", "opposite", "no background"],
)
def test_maps_that_share_no_subject_or_no_background_do_not_agree(
    first: SaliencyMap, second: SaliencyMap
) -> None:
    assert not has_same_subject(first, second, picture_of(LARGE))


@pytest.mark.parametrize("side", [320, 1024])
def test_maps_of_other_sizes_are_decided_alike(side: int) -> None:
    first, second = (resize_saliency(each, side, side) for each in (LARGE, SMALL))

    assert has_same_subject(first, second, picture_of(SMALL))
    assert not has_same_subject(first, second, picture_of(LARGE))


def test_the_map_of_a_part_is_in_its_place() -> None:
    """The whole picture's disc of 0.2 is one of 0.4 in the middle half."""
    whole = disc_alpha(64, 64, radius=0.2, softness=0.2)
    part = map_of_part(whole, (100, 50, 300, 150), 200, 400, (64, 64))

    assert_allclose(disc_alpha(64, 64, radius=0.4, softness=0.4), part, atol=0.02)
    assert_allclose(whole, map_of_part(whole, (0, 0, 400, 200), 200, 400, (64, 64)), atol=1e-6)
