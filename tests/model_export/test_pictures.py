import numpy as np

from model_export.pictures import synthetic_pictures


def test_one_seed_gives_the_same_pictures_each_time() -> None:
    assert np.array_equal(synthetic_pictures(64), synthetic_pictures(64))


def test_the_pictures_include_bright_dark_and_black_ones() -> None:
    one, two, dark, black = synthetic_pictures(64)

    assert one.max() > 200
    assert two.max() > 200
    assert 0 < dark.max() < 128
    assert not black.any()
    assert not np.array_equal(one, two)
