"""A route in an outage: probes only, until the first success."""

from providers.breaker import Breaker, BreakerSettings
from providers.route import Debt, Route

from state.violation import Severity

SETTINGS = BreakerSettings(failure_threshold=3, recovery_seconds=30)


def debt(number: int, *, not_before: float = 0.0) -> Debt:
    return Debt(("outbox", f"key-{number}"), Severity.HIGH, float(number), False, not_before)


def test_it_opens_after_consecutive_failures_only() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0)
    assert not breaker.is_open
    breaker.failed(0)
    assert breaker.is_open


def test_while_it_is_open_one_probe_leaves_at_a_time() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(100)
    assert not breaker.allows(129.9, in_flight=0)
    assert breaker.allows(130, in_flight=0)
    assert not breaker.allows(130, in_flight=1)
    breaker.failed(131)
    assert not breaker.allows(160, in_flight=0), "a probe that failed is waited for anew"
    assert breaker.allows(161, in_flight=0)
    breaker.succeeded()
    assert breaker.allows(161, in_flight=200)


def test_an_open_breaker_holds_the_queue_and_says_when_to_come_back() -> None:
    route = Route("default", Breaker(SETTINGS))
    route.add(debt(1), 0)
    route.add(debt(2), 0)
    for _ in range(3):
        route.unavailable(10, None)
    assert route.take(20) is None
    assert route.next_due(20) == 40
    probe = route.take(40)
    assert probe == debt(1)
    route.in_flight = 1
    assert route.take(40) is None
    route.in_flight = 0
    route.answered()
    assert route.take(41) == debt(2)


def test_a_delayed_debt_and_an_open_breaker_are_due_when_both_allow_it() -> None:
    route = Route("default", Breaker(SETTINGS))
    route.add(debt(1, not_before=100), 0)
    for _ in range(3):
        route.unavailable(10, None)
    assert route.next_due(20) == 100
