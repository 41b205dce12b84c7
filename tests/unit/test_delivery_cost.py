"""What an offer costs, and the end of a task, whatever the number of routes and tasks (design section 13, "Cost").

The bounds are some ten times what was measured: they tell O(log n) from O(n), not a fast machine from a slow one.
"""

from time import thread_time

import pytest

from providers.delivery.delivery import RouteLimits
from providers.delivery.outbox import Lane, Pending
from providers.rate import Rate
from state.violation import Severity
from tests.unit.test_delivery import Outbox, Setting, withdraw

pytestmark = pytest.mark.slow

PAGERDUTY = Rate(1.5, 30)


def offer(setting: Setting, outboxes: list[Outbox], count: int, begin: int = 0, *, is_new: bool = False) -> float:
    """Seconds of CPU for one offer, the best of five parts."""
    routes = setting.delivery._provider.routes
    seconds = []
    with setting.loop.running():
        for part in range(5):
            started = thread_time()
            for number in range(begin + part * count // 5, begin + (part + 1) * count // 5):
                outbox = outboxes[number % len(outboxes)]
                pending = Pending(routes[number % len(routes)], Lane.NEW, Severity.HIGH, float(number), size=100)
                outbox.owed[f"k{number}"] = pending
                setting.delivery.changed(outbox, f"k{number}", is_new=is_new)
            seconds.append((thread_time() - started) / (count // 5))
    setting.loop.settle()  # what has left is on the wire, and no task is left that never ran
    return min(seconds)


def many(count: int, **limits: float) -> Setting:
    routes = ("default", *(f"r{number}" for number in range(count - 1)))
    return Setting(routes=routes, limits=RouteLimits(PAGERDUTY, **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("is_held", [False, True])
def test_an_offer_costs_the_same_with_five_hundred_routes(is_held: bool) -> None:
    costs = {}
    for count in (1, 500):
        setting = many(count)
        setting.may_send = not is_held
        offer(setting, [setting.outbox], 20_000)  # until every route waits for a token
        setting.loop.settle()
        costs[count] = offer(setting, [setting.outbox], 5_000, 20_000)
    assert costs[500] < 4 * costs[1] + 100e-6


def test_an_offer_costs_the_same_with_a_hundred_tasks() -> None:
    costs = {}
    for count in (1, 96):
        setting = many(1)
        outboxes = [Outbox(setting) for _ in range(count)]
        offer(setting, outboxes, 5_000)
        costs[count] = offer(setting, outboxes, 5_000, 5_000)
    assert costs[96] < 4 * costs[1] + 100e-6


def test_one_that_comes_where_none_may_go_costs_less_than_ten_milliseconds() -> None:
    setting = many(1, may_owe=1000)
    setting.outbox.stays.update(f"k{number}" for number in range(3000))
    offer(setting, [setting.outbox], 2000)
    assert offer(setting, [setting.outbox], 100, 2000, is_new=True) < 0.01
    assert setting.outbox.dropped == []


@pytest.mark.parametrize("what", ["wake", "share"])
def test_what_concerns_five_hundred_routes_is_done_in_slices(what: str) -> None:
    setting = many(500).held()
    outboxes = [Outbox(setting) for _ in range(96)]
    offer(setting, outboxes, 96 * 500)
    setting.may_send = True
    started = thread_time()
    with setting.loop.running():
        setting.delivery.wake() if what == "wake" else setting.delivery.set_share(0.5)
    assert thread_time() - started < 0.05
    assert len(setting.taken()) == setting.delivery.in_flight == 100


def test_the_end_of_a_task_costs_its_own_alerts_only() -> None:
    setting = many(500).held()
    outboxes = [Outbox(setting) for _ in range(96)]
    offer(setting, outboxes, 96 * 500)
    setting.loop.settle()
    longest = 0.0
    for outbox in outboxes:
        started = thread_time()
        assert withdraw(setting, outbox, 0).done()
        longest = max(longest, thread_time() - started)
    assert longest < 0.05
    assert sum(setting.delivery.waiting().values()) == 0
