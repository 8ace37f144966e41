"""Long pictures: a cutout beyond 3:1 gets a second look without being asked, over HTTP."""

import io

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.arrays import Rgb
from tests.conftest import ROOT
from tests.pictures import png
from tests.web.conftest import Live

SHORT_PX, RATIO = 360, 6
LONG_PX = RATIO * SHORT_PX
BACKGROUND, SUBJECT = (60, 110, 160), (225, 70, 40)


def scene(height: int, width: int) -> tuple[Rgb, NDArray[np.bool_]]:
    """Return a red comb in front of a blue background, and which pixels are the comb's.

    Its teeth are 5 pixels thick and lie across the longer side, which the network's square squeezes most.
    """
    long, short = max(height, width), min(height, width)
    truth = np.zeros((short, long), np.bool_)
    truth[50:-50, 500:700] = np.arange(200) % 10 < 5
    truth[-60:-50, 500:700] = True
    truth = truth if width == long else truth.T
    rgb = np.where(truth[:, :, None], np.array(SUBJECT, np.uint8), np.array(BACKGROUND, np.uint8))
    return rgb, truth


def subject_of(response: httpx.Response) -> NDArray[np.bool_]:
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(response.content)) as cutout:
        return np.asarray(cutout)[:, :, 3] >= 128


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("is_tall", [False, True], ids=["wide", "tall"])
def test_a_long_picture_is_cut_out_better_by_default(live: Live, *, is_tall: bool) -> None:
    sides = (SHORT_PX, LONG_PX)
    rgb, truth = scene(*(sides[::-1] if is_tall else sides))
    once, default = (
        live.client.post("/v1/cutout", params=options, content=png(rgb))
        for options in ({"refine": "none"}, {})
    )

    assert ("none", "crop") == (once.headers["x-cutout-refine"], default.headers["x-cutout-refine"])
    assert ["refine" in response.headers["server-timing"] for response in (once, default)] == [False, True]
    assert iou(subject_of(default), truth) > iou(subject_of(once), truth) + 0.1


def test_a_picture_of_three_to_one_and_a_mask_are_looked_at_once(live: Live) -> None:
    rgb, _ = scene(SHORT_PX, 3 * SHORT_PX)
    long, _ = scene(SHORT_PX, LONG_PX)
    cutout = live.client.post("/v1/cutout", content=png(rgb))
    mask = live.client.post("/v1/mask", content=png(long))

    assert ("none", "none") == (cutout.headers["x-cutout-refine"], mask.headers["x-cutout-refine"])


def test_a_person_in_a_long_picture_is_cut_out_better_by_default(live_u2netp: Live) -> None:
    """The published network, for a person of known outline in front of a coloured background of 6:1."""
    with Image.open(ROOT / "docs" / "images" / "astronaut-cutout.png") as stored:
        cutout = stored.convert("RGBA")
    cutout = cutout.crop(cutout.getchannel("A").getbbox())
    cutout.thumbnail((LONG_PX, 6 * SHORT_PX // 10))
    blots = Image.fromarray(np.random.default_rng(0).integers(60, 200, (6, 6 * RATIO, 3), np.uint8))
    picture = blots.resize((LONG_PX, SHORT_PX), Image.Resampling.BICUBIC)
    place = (3 * LONG_PX // 10, SHORT_PX - cutout.height)
    picture.paste(cutout, place, cutout)
    opacity = Image.new("L", picture.size)
    opacity.paste(cutout.getchannel("A"), place)
    truth = np.asarray(opacity) >= 128
    once, default = (
        live_u2netp.client.post("/v1/cutout", params=options, content=png(np.asarray(picture)))
        for options in ({"refine": "none"}, {})
    )

    assert ("none", "crop") == (once.headers["x-cutout-refine"], default.headers["x-cutout-refine"])
    assert iou(subject_of(default), truth) > max(0.9, iou(subject_of(once), truth) + 0.3)
