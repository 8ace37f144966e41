import pytest

from app.cli.removal.retries import NETWORK_PATIENCE_S, PATIENCE_S, Attempt, delay_before_retry


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500])
def test_what_fails_again_is_not_repeated(status: int) -> None:
    assert delay_before_retry(Attempt(0, 0.0, status), jitter=0) is None


@pytest.mark.parametrize("status", [409, 429, 502, 503, 504])
def test_retry_after_is_honoured(status: int) -> None:
    assert 7.0 == delay_before_retry(Attempt(0, 0.0, status, "7"), jitter=0)


def test_without_retry_after_the_delay_doubles_up_to_a_maximum() -> None:
    delays = [delay_before_retry(Attempt(number, 0.0), jitter=0) for number in (0, 1, 2, 3, 20)]

    assert [0.5, 1, 2, 4, 30] == delays


def test_jitter_only_lengthens_a_delay() -> None:
    delay_s = delay_before_retry(Attempt(0, 0.0, 503, "8"), jitter=0.999)

    assert delay_s is not None
    assert 8 < delay_s < 10


@pytest.mark.parametrize(("status", "patience_s"), [(503, PATIENCE_S), (None, NETWORK_PATIENCE_S)])
def test_patience_ends(status: int | None, patience_s: float) -> None:
    assert delay_before_retry(Attempt(0, patience_s - 1, status), jitter=0) is not None
    assert delay_before_retry(Attempt(0, patience_s - 0.1, status), jitter=0) is None


def test_a_date_in_retry_after_falls_back_to_the_usual_delay() -> None:
    assert 0.5 == delay_before_retry(Attempt(0, 0.0, 503, "Fri, 31 Dec 2027 23:59:59 GMT"), jitter=0)
