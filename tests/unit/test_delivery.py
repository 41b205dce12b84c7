"""Delivery: what leaves when, and in which order, with a sender that waits for the test's answers.

The loop's time is a number (tests/support/loop), so that waiting costs nothing and every moment can be named.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Unavailable
from providers.delivery import Delivery, Dispatch, Offer
from providers.notification import Notification, Resolve
from providers.provider import Request
from providers.retry import Backoff
from state.violation import Severity, Violation
from tests.support.loop import VirtualLoop

DOWN = Unavailable(503, "down")


class Provider:
    name = "simulated"
    key_limit = 255

    def __init__(self, routes: Sequence[str], requests: int) -> None:
        self.routes = routes
        self._requests = requests

    def route_of(self, violation: Violation) -> str:
        return self.routes[0]

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        if notification.dedup_key.startswith("broken"):
            raise ValueError("a fault of ours")
        return [
            Request("POST", f"{route}/{notification.dedup_key}/{number}".removesuffix("/0"))
            for number in range(self._requests)
        ]

    def classify(self, status: int, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError


@dataclass(eq=False)
class Outbox:
    """Owes what the test has put into ``owed``, until it is answered for good; offers again as a task does."""

    setting: "Setting"
    owed: dict[str, Offer] = field(default_factory=dict)
    answers: list[tuple[str, Answer, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def owe(
        self, key: str, severity: Severity = Severity.HIGH, *, since: float = 0.0, route: str = "default"
    ) -> "Outbox":
        offer = Offer(self, key, route, severity, since)
        self.owed[key] = offer
        with self.setting.loop.running():
            self.setting.delivery.offer(offer)
        self.setting.loop.settle()
        return self

    def dispatch(self, dedup_key: str, route: str) -> Dispatch | None:
        self.asked.append(dedup_key)
        offer = self.owed.get(dedup_key)
        if offer is None or offer.route != route:
            return None
        return Dispatch(dedup_key, route, Resolve(dedup_key), offer)

    def answered(self, dispatch: Dispatch, answer: Answer, failures: int) -> None:
        self.answers.append((dispatch.dedup_key, answer, failures))
        if isinstance(answer, Accepted | Rejected):
            self.owed.pop(dispatch.dedup_key, None)
        elif (offer := self.owed.get(dispatch.dedup_key)) is not None:
            at = self.setting.delivery.retry_at(failures)
            self.setting.retries.append(at - self.setting.loop.time())
            self.setting.delivery.offer(
                Offer(self, offer.dedup_key, offer.route, offer.severity, offer.since, not_before=at)
            )

    def withheld(self, dedup_key: str) -> None:
        if (offer := self.owed.get(dedup_key)) is not None:
            self.setting.delivery.offer(offer)


class Setting:
    """A delivery, its sender and its observer, on a loop of its own."""

    def __init__(
        self,
        *,
        routes: Sequence[str] = ("default",),
        max_in_flight: int = 100,
        requests: int = 1,
        random: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.loop = VirtualLoop()
        self.may_send = True
        self.left: list[str] = []
        self.waiting: dict[str, asyncio.Future[Answer]] = {}
        self.observed: list[tuple[str, Answer, float]] = []
        self.faults: list[tuple[str, BaseException]] = []
        self.retries: list[float] = []
        self.delivery = Delivery(
            provider=Provider(routes, requests),  # type: ignore[arg-type]
            sender=self,
            timeout=30.0,
            may_send=lambda: self.may_send,
            backoff=Backoff(1.0, 8.0, 2.0, random),
            max_in_flight=max_in_flight,
            observer=self,
            clock=self.loop.time,
        )
        self.outbox = Outbox(self)

    async def send(self, request: Request, classify: object, timeout: float) -> Answer:
        name = request.url.removeprefix("default/")
        assert name not in self.waiting, "one request at a time per alert"
        self.left.append(name)
        self.waiting[name] = self.loop.create_future()
        try:
            return await self.waiting[name]
        finally:
            del self.waiting[name]

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float) -> None:
        self.observed.append((dispatch.dedup_key, answer, seconds))

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self.faults.append((dispatch.dedup_key, error))

    # what a test does

    def answer(self, name: str, answer: Answer | None = None) -> None:
        self.waiting[name].set_result(answer or Accepted())
        self.loop.settle()

    def wake(self) -> None:
        with self.loop.running():
            self.delivery.wake()
        self.loop.settle()

    def taken(self) -> list[str]:
        """What has left since this was asked last."""
        self.loop.settle()
        left, self.left = self.left, []
        return left

    def held(self) -> "Setting":
        """Nothing may leave until `release`, so that everything is in the queue."""
        self.may_send = False
        return self

    def release(self) -> None:
        self.may_send = True
        self.wake()


@pytest.fixture
def setting() -> Setting:
    return Setting()


def in_order(setting: Setting, *, of: int) -> list[str]:
    """What leaves, with room for one at a time."""
    left: list[str] = []
    for _ in range(of):
        (name,) = setting.taken()
        left.append(name)
        setting.answer(name)
    return left


# order


def test_the_highest_severity_leaves_first_then_the_oldest() -> None:
    setting = Setting(max_in_flight=1).held()
    outbox = setting.outbox
    outbox.owe("high, new", since=9.0).owe("high, old", since=1.0).owe("low", Severity.LOW, since=0.0)
    outbox.owe("critical, new", Severity.CRITICAL, since=8.0).owe("critical, old", Severity.CRITICAL, since=2.0)
    setting.release()
    assert in_order(setting, of=5) == ["critical, old", "critical, new", "high, old", "high, new", "low"]


def test_what_has_become_worse_moves_up() -> None:
    setting = Setting(max_in_flight=1).held()
    setting.outbox.owe("a", since=1.0).owe("b", since=2.0).owe("b", Severity.CRITICAL, since=2.0)
    setting.release()
    assert in_order(setting, of=2) == ["b", "a"]
    assert setting.taken() == []


# one at a time


def test_different_alerts_go_at_the_same_time_and_an_alert_one_request_at_a_time(setting: Setting) -> None:
    setting.outbox.owe("a").owe("b").owe("a", Severity.CRITICAL).owe("a", Severity.CRITICAL, since=1.0)
    assert setting.taken() == ["a", "b"]
    assert setting.delivery.in_flight == 2
    setting.answer("a", DOWN)
    setting.outbox.owe("b")
    setting.loop.advance(1.0)
    assert setting.taken() == ["a"]


def test_it_is_known_what_is_on_the_wire(setting: Setting) -> None:
    setting.outbox.owe("a")
    assert setting.delivery.is_on_the_wire(setting.outbox, "a")
    assert not setting.delivery.is_on_the_wire(setting.outbox, "b")
    assert not setting.delivery.is_on_the_wire(Outbox(setting), "a")
    setting.answer("a")
    assert not setting.delivery.is_on_the_wire(setting.outbox, "a")


def test_no_more_than_max_in_flight_are_on_the_wire() -> None:
    setting = Setting(max_in_flight=3)
    for number in range(7):
        setting.outbox.owe(f"{number}", since=float(number))
    assert setting.taken() == ["0", "1", "2"]
    setting.answer("1")
    assert setting.taken() == ["3"]
    setting.answer("0")
    setting.answer("2")
    assert setting.taken() == ["4", "5"]
    assert setting.delivery.in_flight == 3


def test_what_is_not_owed_any_more_when_its_turn_comes_takes_no_room() -> None:
    setting = Setting(max_in_flight=1).held()
    setting.outbox.owe("settled", since=1.0).owe("owed", since=2.0)
    del setting.outbox.owed["settled"]
    setting.release()
    assert setting.taken() == ["owed"]
    assert setting.delivery.in_flight == 1


# routes


def test_a_route_that_hangs_does_not_starve_another() -> None:
    setting = Setting(routes=("default", "team"), max_in_flight=8)
    for number in range(20):
        setting.outbox.owe(f"{number}", Severity.CRITICAL)
    hanging = len(setting.taken())
    assert hanging < 8
    setting.outbox.owe("page", Severity.LOW, route="team")
    assert setting.taken() == ["team/page"]


def test_a_retry_after_pauses_its_route_only() -> None:
    setting = Setting(routes=("default", "team"), max_in_flight=8)
    setting.outbox.owe("a")
    setting.taken()
    setting.answer("a", Unavailable(429, "slow down", retry_after=20.0))
    setting.outbox.owe("b", Severity.CRITICAL).owe("c", route="team")
    assert setting.taken() == ["team/c"]
    setting.loop.advance(19.9)
    assert setting.taken() == []
    setting.loop.advance(0.2)
    assert sorted(setting.taken()) == ["a", "b"]


def test_a_refused_route_says_so_until_it_is_answered() -> None:
    setting = Setting(routes=("default", "team"), max_in_flight=8)
    setting.outbox.owe("a", route="team")
    setting.answer("team/a", RouteRefused(403, "revoked"))
    assert {route.name: route.refused for route in setting.delivery.routes} == {"default": None, "team": "revoked"}
    setting.loop.advance(1.0)
    setting.answer("team/a")
    assert all(route.refused is None for route in setting.delivery.routes)


def test_a_route_that_is_not_configured_any_more_is_served_by_the_first() -> None:
    setting = Setting(routes=("default", "team"))
    setting.outbox.owe("a", route="gone")
    assert setting.outbox.asked == ["a"]


# failures


def test_what_fails_is_tried_again_with_backoff() -> None:
    setting = Setting()
    setting.outbox.owe("a")
    for failures, wait in enumerate([1.0, 2.0, 4.0, 8.0], start=1):
        assert setting.taken() == ["a"]
        setting.answer("a", DOWN)
        assert setting.outbox.answers[-1] == ("a", DOWN, failures)
        setting.loop.advance(wait - 0.01)
        assert setting.taken() == []
        setting.loop.advance(0.02)


def test_the_backoff_is_jittered_by_the_random_it_was_given() -> None:
    chances = iter([0.5, 0.25, 0.0])
    setting = Setting(random=lambda: next(chances))
    setting.outbox.owe("a")
    for wait in (0.5, 0.5, 0.0):
        setting.answer("a", DOWN)
        setting.loop.advance(wait)
    assert setting.retries == pytest.approx([0.5, 0.5, 0.0])
    assert setting.taken() == ["a"] * 4


def test_failures_are_counted_in_a_row_and_for_each_alert() -> None:
    setting = Setting()
    setting.outbox.owe("a").owe("b")
    setting.answer("a", DOWN)
    setting.answer("b", RouteRefused(401, "key"))
    setting.loop.advance(1.0)
    setting.answer("a", DOWN)
    setting.answer("b")
    setting.outbox.owe("b")
    setting.answer("b", DOWN)
    assert [(key, failures) for key, _, failures in setting.outbox.answers] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 0), ("b", 1),
    ]  # fmt: skip


def test_every_answer_is_told_to_the_observer_with_its_time(setting: Setting) -> None:
    setting.outbox.owe("a")
    setting.loop.advance(2.5)
    setting.answer("a", Rejected(400, "no"))
    assert setting.observed == [("a", Rejected(400, "no"), 2.5)]


def test_a_notification_that_cannot_be_said_is_rejected_and_reported_and_holds_nobody_up(setting: Setting) -> None:
    setting.outbox.owe("broken").owe("a")
    ((key, error),) = setting.faults
    assert (key, str(error)) == ("broken", "a fault of ours")
    ((key, answer, failures),) = setting.outbox.answers
    assert (key, failures) == ("broken", 0)
    assert isinstance(answer, Rejected)
    assert answer.status == 0
    assert "a fault of ours" not in answer.reason, "an exception's text may hold anything"
    assert setting.taken() == ["a"]
    assert setting.loop.errors == []


# ownership


def test_nothing_leaves_while_it_may_not_and_everything_when_woken(setting: Setting) -> None:
    setting.held().outbox.owe("a").owe("b")
    setting.loop.advance(60.0)
    assert setting.taken() == []
    setting.may_send = True
    assert setting.taken() == [], "it is not asked all the time"
    setting.wake()
    assert setting.taken() == ["a", "b"]


def test_a_retry_that_comes_due_while_nothing_may_leave_waits_for_the_wake(setting: Setting) -> None:
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    setting.taken()
    setting.held().loop.advance(10.0)
    assert setting.taken() == []
    setting.release()
    assert setting.taken() == ["a"]


def test_what_may_leave_is_asked_before_each_request_of_a_notification() -> None:
    setting = Setting(requests=2)
    setting.outbox.owe("a")
    assert setting.taken() == ["a"]
    setting.may_send = False
    setting.answer("a")
    setting.loop.advance(30.0)
    assert setting.taken() == []
    setting.release()
    setting.loop.advance(10.0)
    assert setting.taken() == ["a"], "from its first request"
    setting.answer("a")
    assert setting.taken() == ["a/1"]
    setting.answer("a/1")
    assert setting.outbox.owed == {}


# the end


def withdraw(setting: Setting, outbox: Outbox, grace: float) -> "asyncio.Task[None]":
    with setting.loop.running():
        task = setting.loop.create_task(setting.delivery.withdraw(outbox, grace))
    setting.loop.settle()
    return task


def test_withdraw_waits_for_what_is_on_the_wire(setting: Setting) -> None:
    setting.outbox.owe("a")
    withdrawal = withdraw(setting, setting.outbox, 5.0)
    setting.loop.advance(4.0)
    assert not withdrawal.done()
    setting.answer("a")
    assert withdrawal.done()
    assert setting.outbox.answers == [("a", Accepted(), 0)]


def test_withdraw_cuts_off_what_is_not_answered_in_time(setting: Setting) -> None:
    setting.outbox.owe("a")
    withdrawal = withdraw(setting, setting.outbox, 5.0)
    setting.loop.advance(5.1)
    assert withdrawal.done()
    assert setting.waiting == {}
    assert setting.outbox.answers == [], "it is owed, and its answer unknown"
    assert setting.delivery.in_flight == 0


def test_without_grace_it_is_cut_off_at_once(setting: Setting) -> None:
    setting.outbox.owe("a")
    assert withdraw(setting, setting.outbox, 0).done()
    assert setting.waiting == {}


def test_withdraw_takes_what_waits_out_of_the_queues() -> None:
    setting = Setting(max_in_flight=1)
    setting.outbox.owe("a").owe("b")
    setting.taken()
    withdrawal = withdraw(setting, setting.outbox, 5.0)
    setting.answer("a")
    assert withdrawal.done()
    assert setting.taken() == []


def test_what_is_offered_again_by_an_answer_that_comes_while_it_withdraws_does_not_leave(setting: Setting) -> None:
    setting.outbox.owe("a")
    withdrawal = withdraw(setting, setting.outbox, 5.0)
    setting.answer("a", DOWN)
    assert withdrawal.done()
    assert setting.taken() == ["a"]
    setting.loop.advance(60.0)
    assert setting.taken() == []
    assert setting.outbox.asked == ["a"]


def test_withdraw_of_one_outbox_leaves_the_others_alone() -> None:
    setting = Setting(max_in_flight=2)
    other = Outbox(setting)
    setting.outbox.owe("a")
    other.owe("x").owe("y")
    assert setting.taken() == ["a", "x"]
    assert withdraw(setting, setting.outbox, 0).done()
    assert setting.taken() == ["y"], "the room that has become free"
    setting.answer("x")
    setting.answer("y")
    assert [key for key, _, _ in other.answers] == ["x", "y"]


def test_after_withdraw_the_failures_are_forgotten(setting: Setting) -> None:
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    withdraw(setting, setting.outbox, 0)
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    assert [failures for _, _, failures in setting.outbox.answers] == [1, 1]


def test_what_is_cut_off_before_it_has_begun_leaves_nothing_behind(setting: Setting) -> None:
    with setting.loop.running():
        withdrawal = setting.loop.create_task(setting.delivery.withdraw(setting.outbox, 0))
    setting.outbox.owe("a")  # the withdrawal has its turn before the request
    assert withdrawal.done()
    assert setting.taken() == []
    assert setting.delivery.in_flight == 0
    assert [route.in_flight for route in setting.delivery.routes] == [0]
    setting.outbox.owe("a")
    assert setting.taken() == ["a"]


def test_close_cuts_off_everything_and_no_timer_is_left(setting: Setting) -> None:
    setting.outbox.owe("a").owe("b")
    setting.answer("b", DOWN)
    setting.taken()
    setting.may_send = False
    setting.loop.complete(setting.delivery.close())
    setting.may_send = True
    setting.loop.advance(60.0)
    assert (setting.taken(), setting.delivery.in_flight) == ([], 0)
