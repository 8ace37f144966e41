import numpy as np
import pytest

from model_export.judge_matting import MattingJudge
from model_export.matting_metrics import absolute_error, squared_error
from tests.pictures import disc_alpha, noise


def test_figures_are_means_over_pictures_by_region() -> None:
    judge = MattingJudge()
    truths = [(disc_alpha(30, 40 + n, softness=0.4) * 255).astype(np.uint8) for n in range(3)]
    alphas = [truth // 2 + noise(truth.shape, n) // 4 for n, truth in enumerate(truths)]
    trimaps = [np.where((t > 50) & (t < 200), 128, t).astype(np.uint8) // 128 * 128 for t in truths]
    for alpha, truth, trimap in zip(alphas, truths, trimaps, strict=True):
        judge.add(alpha, truth, trimap)
    found = judge.figures()

    assert list(found) == ["unknown", "whole"]
    for name, region in (("unknown", lambda t: t == 128), ("whole", lambda t: t > -1)):
        for figure, metric in (("SAD/1000", absolute_error), ("MSE", squared_error)):
            each = [metric(a, t, region(m)) for a, t, m in zip(alphas, truths, trimaps, strict=True)]

            assert found[name][figure] == pytest.approx(np.mean(each))


def test_without_trimaps_only_the_whole_picture_is_judged() -> None:
    judge = MattingJudge()
    truth = (disc_alpha(30, 40) * 255).astype(np.uint8)
    judge.add(truth, truth, None)

    assert judge.figures() == {"whole": {"SAD/1000": 0.0, "MSE": 0.0, "Grad/1000": 0.0, "Conn/1000": 0.0}}
