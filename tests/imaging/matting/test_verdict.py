import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging.matting.verdict import Verdict, judge
from tests.peaks import peak_bytes
from tests.pictures import disc_alpha


def test_the_verdict_on_a_binary_rectangle_is_exact() -> None:
    saliency = np.zeros((320, 320), dtype=np.float32)
    saliency[80:160, 32:64] = 1
    actual = judge(saliency, 640, 1000)

    assert (
        Verdict(
            coverage=0.025, uncertainty=0.0, box=(100, 160, 200, 320), touches_border=False, is_empty=False
        )
        == actual
    )
    assert "ok" == actual.label


@pytest.mark.parametrize("is_empty", [True, False])
def test_the_verdict_without_a_subject_has_no_box(is_empty: bool) -> None:
    saliency = np.full((20, 20), 1.0 if is_empty else 0.05, dtype=np.float32)
    actual = judge(saliency, 30, 40, is_empty=is_empty)

    assert Verdict(coverage=0.0, uncertainty=0.0, box=None, touches_border=False, is_empty=True) == actual
    assert "no_foreground" == actual.label


@pytest.mark.parametrize("edge", [np.s_[0, 5], np.s_[-1, 5], np.s_[5, 0], np.s_[5, -1]])
def test_a_subject_at_any_border_touches_it(edge: tuple[int, int]) -> None:
    saliency = np.zeros((10, 12), dtype=np.float32)
    saliency[edge] = 0.5

    assert judge(saliency, 100, 120).touches_border


def test_a_map_of_halves_has_an_uncertainty_of_one() -> None:
    actual = judge(np.full((16, 16), 0.5, dtype=np.float32), 16, 16)

    assert (1.0, "uncertain") == (actual.uncertainty, actual.label)


def test_a_softer_edge_is_more_uncertain() -> None:
    sharp, soft = (judge(disc_alpha(100, 100, softness=s), 100, 100).uncertainty for s in (0.02, 0.2))

    assert sharp < soft


@given(
    side=st.integers(1, 40), height=st.integers(1, 5000), width=st.integers(1, 5000), seed=st.integers(0, 99)
)
def test_the_box_lies_in_the_picture_and_contains_every_visible_cell(
    side: int, height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    saliency = (rng.random((side, side)) > 0.95).astype(np.float32)
    box = judge(saliency, height, width).box
    if box is None:
        assert not saliency.any()
        return
    left, top, right, bottom = box

    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    for y, x in np.argwhere(saliency > 0):
        assert left <= x * width / side
        assert right >= (x + 1) * width / side - 1e-6
        assert top <= y * height / side
        assert bottom >= (y + 1) * height / side - 1e-6


def test_a_large_mask_is_judged_in_strips_as_in_one() -> None:
    mask = disc_alpha(1500, 2000, softness=0.2)
    doubt = 1 - np.abs(2 * mask.astype(float) - 1)
    verdict = judge(mask, 1500, 2000)

    assert verdict.uncertainty == pytest.approx((mask * doubt).sum() / mask.astype(float).sum(), rel=1e-5)
    assert verdict.coverage == np.mean(mask >= 0.5)
    assert peak_bytes(lambda: judge(mask, 1500, 2000)) <= 2 * mask.size + 20 * 2**20
