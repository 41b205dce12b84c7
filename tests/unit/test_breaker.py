"""An integration in an outage: probes only, until the first success."""

import math

from providers.delivery.breaker import FRESH_SECONDS, QUICK_PROBES, Breaker, BreakerSettings, Probes

SETTINGS = BreakerSettings(failure_threshold=3, recovery_seconds=30)


def opened(now: float = 100.0) -> Breaker[str]:
    breaker = Breaker[str](SETTINGS)
    for alert in "abc":
        breaker.failed(alert, now)
    assert breaker.is_open
    return breaker


def test_it_opens_after_failures_of_different_alerts_with_no_success_between_them() -> None:
    breaker = Breaker[str](SETTINGS)
    for alert in "ab":
        breaker.failed(alert, 0)
    breaker.succeeded()
    for alert in "abababab":
        breaker.failed(alert, 0)
    assert not breaker.is_open, "two alerts, however often"
    breaker.failed("c", 0)
    assert breaker.is_open
    assert breaker.opened_by == ("a", "b", "c")


def test_while_it_is_open_one_that_has_failed_leaves_at_a_time() -> None:
    breaker = opened()
    probes = breaker.probes
    assert not probes.allows(129.9, 0, is_fresh=False)
    assert probes.allows(130, 0, is_fresh=False)
    assert not probes.allows(130, 1, is_fresh=False)
    breaker.failed("a", 131)
    assert not probes.allows(160, 0, is_fresh=False), "a probe that failed is waited for anew"
    assert probes.allows(161, 0, is_fresh=False)
    breaker.succeeded()
    assert (breaker.is_open, breaker.opened_by) == (False, ())


def test_those_that_have_not_failed_leave_one_after_another_and_later_every_five_seconds() -> None:
    probes = Probes(30.0)
    probes.failed(0.0)
    for _ in range(QUICK_PROBES):
        assert probes.allows(1.0, 0, is_fresh=True)
        assert probes.due(has_fresh=True) <= 1.0
        assert not probes.allows(1.0 - FRESH_SECONDS, 1, is_fresh=True) or probes.due_beside() == -math.inf
        probes.left(1.0, is_fresh=True)
        assert not probes.allows(1.0, 1, is_fresh=True)
    assert not probes.allows(1.0, 0, is_fresh=True)
    assert probes.due(has_fresh=True) == probes.due_beside() == 1.0 + FRESH_SECONDS
    assert probes.allows(1.0 + FRESH_SECONDS, 7, is_fresh=True), "whatever hangs"
    assert probes.due(has_fresh=False) == 30.0
    probes.succeeded()
    assert probes.allows(1.0, 0, is_fresh=True)


def test_what_two_alerts_in_a_row_are_asked_holds_everything_up() -> None:
    breaker = Breaker[str](SETTINGS)
    for alert in "abc":
        breaker.failed(alert, 100, 120.0)
    for is_fresh in (True, False):
        assert not breaker.probes.allows(219.9, 0, is_fresh=is_fresh)
        assert breaker.probes.allows(220, 0, is_fresh=is_fresh)


def test_what_one_alert_is_asked_holds_up_nobody_else() -> None:
    breaker = opened()
    for _ in range(3):
        breaker.failed("d", 131, 3600.0)
        breaker.failed("d", 131, 3600.0)
        breaker.failed("a", 131)
    assert breaker.probes.allows(131, 0, is_fresh=True)
    assert breaker.probes.allows(161, 0, is_fresh=False)


def test_what_is_gone_does_not_count() -> None:
    breaker = Breaker[str](SETTINGS)
    breaker.failed("a", 0)
    breaker.failed("b", 0)
    breaker.forget("ab".__contains__)
    breaker.failed("c", 0)
    assert not breaker.is_open
    breaker = opened()
    breaker.forget("b".__contains__)
    assert (breaker.is_open, breaker.opened_by) == (True, ("a", "c"))
