"""Hidden colours of a picture have no influence, and transparent parts of a backdrop are laid over white."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from app.engine.clock import SystemClock
from app.imaging.matting.saliency import is_empty, weigh
from app.options import CutoutOptions, MaskOptions
from app.pipeline.prepare import prepare_refinement
from app.pipeline.values import PreparedPicture, Result, Segmentation
from app.telemetry import StepTimes
from tests.pictures import disc_alpha, flat, noise, opened, photo, png, webp
from tests.rendering import MANIFEST, admitted, prepared, result_of

SIZE = (60, 80)
MAP = disc_alpha(32, 32, radius=0.45, softness=0.3)
ALPHA = (255 * disc_alpha(*SIZE, softness=0.2)).astype(np.uint8)
EMPTY = np.zeros(SIZE, np.uint8)


def rgba(hidden: NDArray[np.uint8], alpha: NDArray[np.uint8] = ALPHA) -> NDArray[np.uint8]:
    """A photo with alpha, and the colours ``hidden`` where alpha is 0."""
    return np.dstack([np.where(alpha[:, :, None] > 0, photo(*SIZE), hidden), alpha])


def prepared_picture(
    upload: bytes,
    options: MaskOptions | CutoutOptions,
    *,
    backdrop: bytes | None = None,
    mask: bytes | None = None,
) -> PreparedPicture:
    request = admitted(upload, options, backdrop=backdrop, mask=mask)
    return prepared(request, StepTimes(SystemClock()))


def rendered(
    upload: bytes, options: MaskOptions | CutoutOptions, *, backdrop: bytes | None = None
) -> tuple[PreparedPicture, Result]:
    """Run all steps on an upload, with a disc in place of the network's map."""
    steps, picture = StepTimes(SystemClock()), prepared_picture(upload, options, backdrop=backdrop)
    segmentation = Segmentation(
        picture.picture,
        MAP,
        is_empty=False,
        manifest=MANIFEST,
        provider="none",
        precision="none",
        etag="",
        frame=picture.frame,
        backdrop=picture.backdrop,
    )
    return picture, result_of(segmentation, options, steps, hq_budget_s=60)


@pytest.mark.parametrize("encode", [png, lambda pixels: webp(pixels, lossless=True)], ids=["png", "webp"])
@pytest.mark.parametrize(
    "options",
    [
        CutoutOptions(),
        CutoutOptions(matting="none"),
        CutoutOptions(matting="hq"),
        CutoutOptions(background="blur"),
        CutoutOptions(background="#ff880080"),
        CutoutOptions(megapixels=0.001),
        CutoutOptions(megapixels=0.002, background="white", format="jpeg"),
        CutoutOptions(scale="90%", shadow="drop"),
        CutoutOptions(crop=True, margin="5px"),
        CutoutOptions(region="5px 5px 70px 50px"),
        CutoutOptions(results="mask,cutout"),
        CutoutOptions(threshold=0.2),
        CutoutOptions(format="webp", quality=50),
        MaskOptions(),
        MaskOptions(matting="fast"),
        MaskOptions(size="network"),
    ],
    ids=lambda options: options.model_dump_json(exclude_defaults=True),
)
def test_hidden_colours_change_nothing(encode, options) -> None:  # type: ignore[no-untyped-def]
    results = [
        rendered(encode(rgba(hidden)), options)
        for hidden in (flat(*SIZE, colour=(0, 0, 0)), flat(*SIZE, colour=(255, 255, 255)), noise((*SIZE, 3)))
    ]

    assert 1 == len({(result.encoded, result.mask) for _, result in results})
    for picture, _ in results:
        assert picture.network_input is not None
        assert_array_equal(picture.network_input, results[0][0].network_input)


def test_the_network_gets_a_transparent_picture_over_white() -> None:
    pixels = np.dstack([flat(32, 32, (200, 100, 0)), np.full((32, 32), 51, np.uint8)])  # a fifth
    picture = prepared_picture(png(pixels), MaskOptions())
    expected = [[255 - 11, 255 - 31, 255 - 51]]

    assert picture.network_input is not None
    assert_array_equal(
        picture.network_input.reshape(-1, 3), np.repeat(expected, picture.network_input.size // 3, axis=0)
    )
    assert picture.visible is not None
    assert {51} == set(picture.visible.ravel().tolist())


def test_the_second_run_gets_a_transparent_picture_over_white_too() -> None:
    picture = prepared_picture(png(rgba(noise((*SIZE, 3)), EMPTY)), CutoutOptions())
    segmentation = Segmentation(
        picture.picture, MAP, is_empty=False, manifest=MANIFEST, provider="", precision="none", etag=""
    )
    actual = prepare_refinement(segmentation, (10, 10, 50, 50), StepTimes(SystemClock()))

    assert 255 == actual.min()


@pytest.mark.parametrize(
    ("alpha", "raw", "expected"),
    [
        (255, 1.0, False),
        (0, 1.0, True),
        (255, 0.49, True),
        (200, 1.0, False),
        (100, 1.0, False),  # transparent everywhere: judged relative to its opacity
        (100, 0.4, True),
        (20, 1.0, True),  # hardly visible at all
    ],
)
def test_emptiness_is_judged_by_visible_pixels(alpha: int, raw: float, expected: bool) -> None:
    saliency = np.full((4, 4), raw, np.float32)

    assert expected == is_empty(saliency, np.full((4, 4), alpha, np.uint8))


def test_a_hidden_subject_does_not_count_even_if_other_pixels_are_visible() -> None:
    saliency = np.array([[1.0, 0.2]], np.float32)

    assert is_empty(saliency, np.array([[0, 255]], np.uint8))
    assert not is_empty(saliency, np.array([[255, 0]], np.uint8))
    assert weigh(saliency, np.array([[128, 255]], np.uint8)).tolist() == [pytest.approx([128 / 255, 0.2])]


@pytest.mark.parametrize(("alpha", "is_mask_empty"), [(EMPTY, True), (ALPHA, False)])
def test_a_mask_that_selects_no_visible_pixel_is_empty(
    alpha: NDArray[np.uint8], *, is_mask_empty: bool
) -> None:
    upload, white = png(rgba(photo(*SIZE), alpha)), png(np.full(SIZE, 255, np.uint8))
    picture = prepared_picture(upload, CutoutOptions(), mask=white)

    assert is_mask_empty == picture.is_own_mask_empty


def test_shrinking_weights_colours_by_their_alpha() -> None:
    """Red next to hidden green: the mean of the visible pixels is red, at half the opacity."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, ::2], pixels[:, 1::2] = (255, 0, 0, 255), (0, 255, 0, 0)
    picture = prepared_picture(png(pixels), CutoutOptions(megapixels=0.0001)).picture
    tiled = png(np.tile(pixels, (4, 4, 1)))
    halved = prepared_picture(tiled, CutoutOptions(megapixels=0.000256)).picture

    assert (8, 8) == picture.rgb.shape[:2]
    assert (16, 16) == halved.rgb.shape[:2]
    assert [[255, 0, 0]] == np.unique(halved.rgb.reshape(-1, 3), axis=0).tolist()
    assert halved.own_alpha is not None
    assert {128} == set(halved.own_alpha.ravel().tolist())


BLUE = (0, 0, 255)


def backdrop_of(colour: tuple[int, int, int], alpha: int, size: tuple[int, int] = SIZE) -> bytes:
    return png(np.dstack([flat(*size, colour), np.full(size, alpha, np.uint8)]))


@pytest.mark.parametrize("size", [SIZE, (30, 40), (120, 160), (7, 300), (300, 7)])
@pytest.mark.parametrize(
    ("alpha", "expected"), [(255, BLUE), (0, (255, 255, 255)), (51, (204, 204, 255)), (128, (127, 127, 255))]
)
def test_a_transparent_backdrop_is_laid_over_white(
    size: tuple[int, int], alpha: int, expected: tuple[int, int, int]
) -> None:
    """(1 - a) 255 + a c of each channel, for any hidden colours and any scale."""
    result = rendered(
        png(photo(*SIZE)), CutoutOptions(matting="none"), backdrop=backdrop_of(BLUE, alpha, size)
    )[1]
    actual = opened(result.encoded)

    assert (*SIZE, 3) == actual.shape
    assert_array_equal(actual[0, 0], expected)


@pytest.mark.parametrize("size", [SIZE, (30, 40), (120, 160), (7, 300), (300, 7)])
@pytest.mark.parametrize(("alpha", "tolerance"), [(255, 0), (128, 1), (51, 3), (0, 0)])
def test_with_rgba_a_backdrop_stays_transparent(size: tuple[int, int], alpha: int, tolerance: int) -> None:
    options = CutoutOptions(matting="none", channels="rgba")
    actual = opened(
        rendered(png(photo(*SIZE)), options, backdrop=backdrop_of((10, 120, 250), alpha, size))[1].encoded
    )
    bare = opened(rendered(png(photo(*SIZE)), options)[1].encoded)
    front = bare[:, :, 3].astype(float) / 255

    assert np.abs(actual[:, :, 3] - 255 * (front + alpha / 255 * (1 - front))).max() <= 0.51
    expected = (10, 120, 250) if alpha else (0, 0, 0)
    assert np.abs(actual[0, 0, :3].astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("channels", ["auto", "rgba", "alpha"])
@pytest.mark.parametrize("size", [SIZE, (31, 47), (200, 90)])
def test_hidden_colours_of_a_backdrop_are_never_in_the_result(channels: str, size: tuple[int, int]) -> None:
    options = CutoutOptions.model_validate({"matting": "none", "channels": channels})
    alpha = noise(size, 3) // 128 * np.uint8(255)
    results = {
        rendered(
            png(photo(*SIZE)),
            options,
            backdrop=png(np.dstack([np.where(alpha[:, :, None] > 0, photo(*size), hidden), alpha])),
        )[1].encoded
        for hidden in (flat(*size, (0, 0, 0)), noise((*size, 3)))
    }

    assert 1 == len(results)
