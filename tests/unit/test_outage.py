"""Which failures of a key make an outage, and what is said of it: once when it begins, and once when it is over."""

import pytest

from providers.delivery.outage import CALM_SECONDS, LASTING_SECONDS, Failure, Outages

DOWN = Failure(503, "down")


def test_an_outage_is_told_once_however_much_fails() -> None:
    outages = Outages()
    assert outages.failed(DOWN, 0.0)
    assert not any(outages.failed(Failure(None, "timed out"), at / 10, is_certain=True) for at in range(1, 6000))
    over = outages.over()
    assert over is not None
    assert (over.since, over.failures, over.last) == (0.0, 6000, Failure(None, "timed out"))
    assert outages.current is None
    assert outages.over() is None


def test_single_failures_one_after_another_are_told_once() -> None:
    outages = Outages()
    told = []
    for at in range(0, 600, 5):
        told.append(outages.failed(DOWN, float(at)))
        told.append(outages.over() is not None)
    assert told[:2] == [True, True]
    assert not any(told[2:]), "one request in some fails, all the time"


def test_one_that_lasts_or_has_many_behind_it_is_told_whatever_was_before() -> None:
    outages = Outages()
    outages.failed(DOWN, 0.0)
    outages.over()
    assert not outages.failed(DOWN, 1.0)
    assert not outages.lasts(1.0 + LASTING_SECONDS - 0.1)
    assert not outages.failed(DOWN, 1.0 + LASTING_SECONDS - 0.1)
    assert outages.failed(DOWN, 1.0 + LASTING_SECONDS)
    assert outages.lasts(1.0 + LASTING_SECONDS)
    outages.over()
    assert not outages.failed(DOWN, 20.0)
    assert outages.failed(DOWN, 20.1, is_certain=True)
    assert not outages.failed(DOWN, 20.2, is_certain=True)


def test_a_failure_after_a_calm_minute_is_news() -> None:
    outages = Outages()
    outages.failed(DOWN, 0.0)
    outages.over()
    assert outages.failed(DOWN, CALM_SECONDS)


@pytest.mark.parametrize(("by", "expected"), [((True, True), True), ((True, False), False), ((False, True), False)])
def test_it_is_an_outage_of_checks_as_long_as_only_checks_fail(by: tuple[bool, ...], expected: bool) -> None:
    outages = Outages()
    for at, by_check in enumerate(by):
        outages.failed(DOWN, float(at), by_check=by_check)
    assert outages.current is not None
    assert outages.current.by_check is expected
