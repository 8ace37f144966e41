from dataclasses import replace

import pytest

from app.imaging.matting.verdict import judge
from app.options import CutoutOptions, MaskOptions
from app.pipeline.context import RequestContext
from app.pipeline.result_cache import ResultCache, etag_of
from app.pipeline.values import HQ_CUT_SHORT, NotModified, Result, ResultInfo
from app.telemetry import StepTimes
from tests.fakes import ManualClock
from tests.pictures import disc_alpha, flat, jpeg, photo, png
from tests.rendering import admitted

SHA256 = "0" * 64
INFO = ResultInfo("disc", "CPU", "float32", "fast", "none", judge(disc_alpha(32, 32), 60, 80), (), "tag")
RESULT = Result(b"encoded", "image/png", 80, 60, INFO)


def context(*, key_name: str = "", known: frozenset[str] = frozenset()) -> RequestContext:
    return RequestContext(StepTimes(ManualClock()), 0.0, key_name=key_name, known_etags=known)


def test_a_result_is_found_again_and_marked() -> None:
    cache = ResultCache(1000)
    cache.keep(RESULT, context())

    assert replace(RESULT, is_cached=True) == cache.find("tag", context())
    assert cache.find("other", context()) is None


def test_a_result_is_found_by_its_key_only() -> None:
    cache = ResultCache(1000)
    cache.keep(RESULT, context(key_name="shop"))

    assert cache.find("tag", context(key_name="shop")) is not None
    assert cache.find("tag", context(key_name="press")) is None
    assert cache.find("tag", context()) is None


def test_a_caller_that_has_the_result_gets_no_copy() -> None:
    cache = ResultCache(1000)

    assert NotModified("tag") == cache.find("tag", context(known=frozenset({"tag"})))


def test_a_result_that_was_cut_short_is_not_kept() -> None:
    cache = ResultCache(1000)
    cache.keep(replace(RESULT, info=replace(INFO, warnings=(HQ_CUT_SHORT,))), context())

    assert cache.find("tag", context()) is None


PHOTO, OTHER = jpeg(photo(60, 80)), png(flat(60, 80))


def test_the_same_request_has_the_same_entity_tag() -> None:
    first, second = (etag_of(admitted(PHOTO, CutoutOptions()), SHA256) for _ in range(2))

    assert first == second
    assert len(first) == 32


@pytest.mark.parametrize(
    ("upload", "options", "extra", "sha256"),
    [
        (OTHER, CutoutOptions(), {}, None),
        (PHOTO, MaskOptions(), {}, None),
        (PHOTO, CutoutOptions(quality=80), {}, None),
        (PHOTO, CutoutOptions(), {"backdrop": OTHER}, None),
        (PHOTO, CutoutOptions(), {"mask": OTHER}, None),
        (PHOTO, CutoutOptions(), {}, "1" * 64),
    ],
    ids=["picture", "endpoint", "option", "backdrop", "mask", "graph"],
)
def test_another_request_has_another_entity_tag(
    upload: bytes, options: CutoutOptions | MaskOptions, extra: dict[str, bytes], sha256: str | None
) -> None:
    plain = etag_of(admitted(PHOTO, CutoutOptions()), SHA256)

    assert plain != etag_of(admitted(upload, options, **extra), sha256 or SHA256)


def test_a_backdrop_and_a_mask_of_the_same_bytes_differ() -> None:
    backdrop, mask = (admitted(PHOTO, CutoutOptions(), **{role: OTHER}) for role in ("backdrop", "mask"))

    assert etag_of(backdrop, SHA256) != etag_of(mask, SHA256)
