"""Delivery: what leaves when, and in which order, with a sender that waits for the test's answers.

The loop's time is a number (tests/support/loop), so that waiting costs nothing and every moment can be named.
"""

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.breaker import BreakerSettings
from providers.delivery.delivery import Delivery, RouteLimits
from providers.delivery.outage import Failure
from providers.delivery.outbox import Dispatch, Lane, Outcome, Pending
from providers.notification import Notification, Resolve
from providers.provider import HeartbeatCalls, Request
from providers.rate import Rate
from providers.retry import Backoff
from state.violation import Severity, Violation
from tests.support.loop import VirtualLoop

DOWN = Unavailable(503, "down")


class Provider:
    name = "simulated"
    heartbeat: HeartbeatCalls | None = None
    key_limit = 255
    retired_routes: Sequence[str] = ()
    shares_alerts = False
    documented_rate = Rate(1.5, 30)

    def __init__(self, routes: Sequence[str], requests: int, keys: Mapping[str, str]) -> None:
        self.routes = routes
        self._requests = requests
        self._keys = keys

    def integration_of(self, route: str) -> str:
        return self._keys.get(route, route)

    def knows(self, route: str) -> bool:
        return route in self.routes

    def route_of(self, violation: Violation) -> str:
        return self.routes[0]

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        if notification.dedup_key.startswith("broken"):
            raise ValueError("a fault of ours")
        return [
            Request("POST", f"{route}/{notification.dedup_key}/{number}".removesuffix("/0"))
            for number in range(self._requests)
        ]

    def check(self, route: str) -> Request:
        return Request("POST", f"{route}/check")

    def classify(self, status: int, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError


@dataclass(eq=False)
class Outbox:
    """Owes what the test has put into ``owed``, until it is accepted or rejected; counts attempts as a task does."""

    setting: "Setting"
    owed: dict[str, Pending] = field(default_factory=dict)
    answers: list[tuple[str, Outcome]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    stays: set[str] = field(default_factory=set)
    resolves: bool = True
    answered: Callable[[str], None] = lambda dedup_key: None

    def owe(
        self,
        key: str,
        severity: Severity = Severity.HIGH,
        *,
        since: float = 0.0,
        route: str = "default",
        lane: Lane = Lane.NEW,
        failures: int = 0,
        size: int = 0,
        not_before: float = 0.0,
        is_new: bool = False,
    ) -> "Outbox":
        self.owed[key] = Pending(route, lane, severity, since, failures, not_before, size)
        self.changed(key, is_new=is_new)
        return self

    def changed(self, key: str, *, is_new: bool = False) -> None:
        with self.setting.loop.running():
            self.setting.delivery.changed(self, key, is_new=is_new)
        self.setting.loop.settle()

    def changed_at_once(self, key: str) -> None:
        """As a task does that an answer lets decide something about the same alert."""
        self.setting.delivery.changed(self, key)

    # what delivery asks

    def pending(self, dedup_key: str) -> Pending | None:
        return self.owed.get(dedup_key)

    def may_resolve(self) -> bool:
        return self.resolves

    def take(self, dedup_key: str, route: str) -> Dispatch | None:
        self.asked.append(dedup_key)
        pending = self.owed.get(dedup_key)
        if pending is None or pending.route != route:
            return None
        return Dispatch(dedup_key, route, Resolve(dedup_key), pending)

    def told(self, dispatch: Dispatch, outcome: Outcome) -> None:
        dedup_key = dispatch.dedup_key
        self.answers.append((dedup_key, outcome))
        pending = self.owed.get(dedup_key)
        if isinstance(outcome, Accepted | Rejected):
            if pending is dispatch.token:
                del self.owed[dedup_key]
        elif pending is not None:
            self.owed[dedup_key] = replace(pending, failures=pending.failures + 1)
        self.answered(dedup_key)

    def make_room(self, dedup_key: str) -> bool:
        if dedup_key in self.stays:
            return False
        del self.owed[dedup_key]
        self.dropped.append(dedup_key)
        return True


class Setting:
    """A delivery, its sender and its observer, on a loop of its own."""

    def __init__(
        self,
        *,
        routes: Sequence[str] = ("default",),
        keys: Mapping[str, str] | None = None,
        max_in_flight: int = 100,
        requests: int = 1,
        random: Callable[[], float] = lambda: 1.0,
        threshold: int = 1000,
        limits: RouteLimits | None = None,
        max_owed_bytes: int = 1 << 30,
        provider: Provider | None = None,
    ) -> None:
        self.loop = VirtualLoop()
        self.may_send = True
        self.left: list[str] = []
        self.waiting: dict[str, asyncio.Future[Answer]] = {}
        self.observed: list[tuple[str, Answer, float]] = []
        self.faults: list[tuple[str, BaseException]] = []
        self.follow_ups: list[tuple[str, Rejected]] = []
        self.refusals: list[tuple[str, tuple[str, ...]]] = []
        self.reported: list[str] = []
        self.checks: list[Answer] = []
        self.delivery = Delivery(
            provider=provider or Provider(routes, requests, keys or {}),
            sender=self,
            timeout=30.0,
            may_send=lambda: self.may_send,
            backoff=Backoff(1.0, 8.0, 2.0, random),
            max_in_flight=max_in_flight,
            observer=self,
            breaker=BreakerSettings(threshold, 30.0),
            limits=dict.fromkeys(routes, limits or RouteLimits()),
            max_owed_bytes=max_owed_bytes,
            clock=self.loop.time,
            chance=lambda: 0.5,
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

    # what delivery tells

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float, attempt: int) -> None:
        self.observed.append((dispatch.dedup_key, answer, seconds))

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        self.faults.append((dispatch.dedup_key, error))

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        self.follow_ups.append((dispatch.dedup_key, answer))

    def checked(self, route: str, answer: Answer) -> None:
        self.checks.append(answer)

    def rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        self.reported.append(f"rejected {dispatch.dedup_key}: {answer.status} {answer.reason}")

    def fails_alone(self, dispatch: Dispatch, answer: Unavailable, attempt: int) -> None:
        self.reported.append(f"{dispatch.dedup_key} fails alone, attempt {attempt}: {answer.status}")

    def failing(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        self.reported.append(f"{routes} fail: {failure.status}, {waiting} wait")

    def refused(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        self.refusals.append(("refused", routes))
        self.reported.append(f"{routes} are refused: {failure.status}, {waiting} wait")

    def works(self, routes: tuple[str, ...], seconds: float, failures: int, waiting: int) -> None:
        if self.refusals and self.refusals[-1][0] == "refused":
            self.refusals.append(("works", routes))
        self.reported.append(f"{routes} work after {seconds:.0f} s, {failures} failures, {waiting} wait")

    def given_up(self, routes: tuple[str, ...], seconds: float) -> None:
        self.reported.append(f"{routes} concern nobody here after {seconds:.0f} s")

    def throttled(self, routes: tuple[str, ...], answer: Throttled, waiting: int) -> None:
        self.reported.append(f"{routes} are throttled, {waiting} wait")

    def unthrottled(self, routes: tuple[str, ...], seconds: float) -> None:
        self.reported.append(f"{routes} are not throttled after {seconds:.0f} s")

    # what a test does

    def start(self) -> "Setting":
        with self.loop.running():
            self.delivery.start()
        self.loop.settle()
        return self

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
    assert setting.delivery.is_busy(setting.outbox, "a")
    assert not setting.delivery.is_busy(setting.outbox, "b")
    assert not setting.delivery.is_busy(Outbox(setting), "a")
    setting.answer("a")
    assert not setting.delivery.is_busy(setting.outbox, "a")


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


def test_a_429_pauses_its_key_only_for_as_long_as_it_asks_at_least() -> None:
    setting = Setting(routes=("default", "team"), max_in_flight=8)
    setting.outbox.owe("a")
    setting.taken()
    setting.answer("a", Throttled("slow down", retry_after=80.0))
    setting.outbox.owe("b", Severity.CRITICAL).owe("c", route="team")
    assert setting.taken() == ["team/c"]
    setting.loop.advance(79.9)
    assert setting.taken() == []
    setting.loop.advance(0.2)
    assert setting.taken() == ["b", "a"], "it has gone back to its place, without a failure"
    assert setting.outbox.answers == []


def test_a_refused_route_says_so_until_something_is_accepted() -> None:
    setting = Setting(routes=("default", "team"), max_in_flight=8)
    setting.outbox.owe("a", route="team")
    setting.answer("team/a", RouteRefused(403, "revoked"))
    assert setting.delivery.refused_routes == ["team"]
    setting.loop.advance(30.0)
    setting.answer("team/a")
    assert setting.delivery.refused_routes == []
    assert setting.refusals == [("refused", ("team",)), ("works", ("team",))]


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
        assert setting.outbox.answers[-1] == ("a", DOWN)
        assert setting.outbox.owed["a"].failures == failures
        setting.loop.advance(wait - 0.01)
        assert setting.taken() == []
        setting.loop.advance(0.02)


def test_the_backoff_is_jittered_by_the_random_it_was_given() -> None:
    chances = iter([0.5, 0.75, 0.5])
    setting = Setting(random=lambda: next(chances))
    setting.outbox.owe("a")
    assert setting.taken() == ["a"]
    for wait in (0.5, 1.5, 2.0):
        setting.answer("a", DOWN)
        setting.loop.advance(wait - 0.01)
        assert setting.taken() == []
        setting.loop.advance(0.02)
        assert setting.taken() == ["a"]


def test_the_backoff_of_each_alert_is_its_own_and_begins_anew_when_it_has_been_told(setting: Setting) -> None:
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    setting.loop.advance(1.0)
    setting.answer("a", DOWN)
    setting.outbox.owe("b")
    setting.taken()
    setting.answer("b", DOWN)
    setting.loop.advance(1.01)
    assert setting.taken() == ["b"], "after one second, while a waits for two"
    setting.answer("b")
    setting.loop.advance(1.0)
    assert setting.taken() == ["a"]
    setting.answer("a")
    setting.outbox.owe("a")
    setting.taken()
    setting.answer("a", DOWN)
    setting.loop.advance(1.01)
    assert setting.taken() == ["a"]


def test_every_answer_is_told_to_the_observer_with_its_time(setting: Setting) -> None:
    setting.outbox.owe("a")
    setting.loop.advance(2.5)
    setting.answer("a", Rejected(400, "no"))
    assert setting.observed == [("a", Rejected(400, "no"), 2.5)]


def test_a_notification_that_cannot_be_said_is_an_outage_of_the_provider_and_holds_nobody_up(setting: Setting) -> None:
    setting.outbox.owe("broken").owe("a")
    assert setting.faults == []
    ((key, answer),) = setting.outbox.answers
    assert key == "broken"
    assert isinstance(answer, Unavailable)
    assert not answer.unknown, "nothing was sent"
    assert answer.reason == "the request cannot be made: ValueError", "an exception's text may hold anything"
    assert setting.taken() == ["a"]
    assert setting.loop.errors == []


def faulty(setting: Setting, method: str, key: str) -> list[str]:
    """The outbox raises in that method about that alert, while its key is in what is given."""
    raises, works = [key], getattr(setting.outbox, method)

    def first_raises(about: Any, *more: Any) -> Any:
        if (about.dedup_key if isinstance(about, Dispatch) else about) in raises:
            raise RuntimeError("a fault of ours")
        return works(about, *more)

    setattr(setting.outbox, method, first_raises)
    return raises


def errors(setting: Setting) -> list[str]:
    said, setting.loop.errors = setting.loop.errors, []
    return [str(error) for error in said]


def test_an_alert_that_cannot_be_taken_out_has_its_turn_again_and_holds_nobody_up(setting: Setting) -> None:
    raises = faulty(setting, "take", "a")
    setting.outbox.owe("a").owe("b")
    assert setting.taken() == ["b"]
    assert len(errors(setting)) == 1
    raises.clear()
    setting.loop.advance(600.0)
    assert setting.taken() == ["a"]


def in_doubt() -> Setting:
    setting = Setting(limits=RouteLimits(check_interval=3600.0)).start()
    setting.answer("check")
    setting.outbox.owe("a").owe("b").owe("c")
    for key in "abc":
        setting.answer(key, Rejected(422, "odd"))
    setting.taken()
    return setting


@pytest.mark.parametrize("check", [Accepted(), Rejected(404, "no such alert"), RouteRefused(401, "who?")])
def test_a_fault_about_one_alert_in_doubt_is_not_one_of_the_others(check: Answer) -> None:
    setting = in_doubt()
    raises = faulty(setting, "told", "a")
    setting.loop.advance(10.0)
    setting.answer("check", check)
    assert len(errors(setting)) == 1
    assert {key for key, _ in setting.outbox.answers} == {"b", "c"}
    raises.clear()
    setting.outbox.owed.pop("b", None)
    setting.outbox.owed.pop("c", None)
    setting.taken()
    for _ in range(40):
        setting.loop.advance(30.0)
        for name in list(setting.waiting):
            setting.answer(name)
    assert "a" in [key for key, outcome in setting.outbox.answers if isinstance(outcome, Accepted)]


def test_a_fault_about_one_alert_in_doubt_is_not_one_of_the_others_when_something_is_accepted() -> None:
    setting = in_doubt()
    faulty(setting, "told", "a")
    setting.outbox.owe("d")
    setting.answer("d")
    assert len(errors(setting)) == 1
    assert {key for key, _ in setting.outbox.answers} == {"b", "c", "d"}
    assert setting.delivery.in_flight == 0


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
    assert setting.outbox.answers == [("a", Accepted())]


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


def test_what_is_owed_again_by_an_answer_that_comes_while_it_withdraws_does_not_leave(setting: Setting) -> None:
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
    assert [key for key, _ in other.answers] == ["x", "y"]


def test_what_is_cut_off_before_it_has_begun_leaves_nothing_behind(setting: Setting) -> None:
    with setting.loop.running():
        withdrawal = setting.loop.create_task(setting.delivery.withdraw(setting.outbox, 0))
    setting.outbox.owe("a")  # the withdrawal has its turn before the request
    assert withdrawal.done()
    assert setting.taken() == []
    assert setting.delivery.in_flight == 0
    Outbox(setting).owe("a")
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


# what was wrong once


def test_what_an_answer_sets_off_about_the_same_alert_does_not_make_two_requests_of_it(setting: Setting) -> None:
    def operator_takes_it(dedup_key: str) -> None:
        setting.outbox.answered = lambda dedup_key: None
        setting.outbox.owed[dedup_key] = Pending("default", Lane.ACKNOWLEDGE, Severity.HIGH, 0.0)
        setting.delivery.changed(setting.outbox, dedup_key)

    setting.outbox.answered = operator_takes_it
    setting.outbox.owe("a")
    setting.taken()
    setting.answer("a")
    assert setting.taken() == ["a"]
    assert setting.delivery.in_flight == 1
    setting.answer("a")
    assert (setting.taken(), setting.delivery.in_flight, setting.loop.errors) == ([], 0, [])


def test_after_withdraw_nothing_of_this_outbox_ever_leaves(setting: Setting) -> None:
    withdraw(setting, setting.outbox, 0)
    setting.outbox.owe("a", is_new=True)
    setting.loop.advance(60.0)
    assert setting.taken() == []


def test_a_rejection_that_comes_while_it_withdraws_is_no_suspect() -> None:
    setting = Setting(limits=RouteLimits(check_interval=3600.0))
    setting.outbox.owe("a")
    withdrawal = withdraw(setting, setting.outbox, 5.0)
    setting.answer("a", Rejected(403, "who?"))
    assert withdrawal.done()
    setting.outbox.owe("a")
    setting.loop.advance(60.0)
    assert setting.outbox.answers == []
    assert [name for name in setting.taken() if name != "check"] == ["a"]


def test_an_outbox_that_was_withdrawn_is_let_go_whatever_it_has_been_through() -> None:
    setting = Setting(routes=("default", "team", "other"), threshold=2, limits=RouteLimits(check_interval=3600.0))
    for key, answer in {"a": None, "b": DOWN, "c": DOWN, "d": DOWN, "e": Rejected(400, "no")}.items():
        for route in ("default", "team", "other"):
            name = f"{route}/{key}".removeprefix("default/")
            setting.outbox.owe(f"{key}", route=route)
            if name in setting.waiting:
                setting.answer(name, answer)
    setting.outbox.owe("f", lane=Lane.RESOLVE).owe("g", route="team")
    gone = weakref.ref(setting.outbox)
    withdraw(setting, setting.outbox, 0)
    setting.outbox = Outbox(setting)
    setting.loop.advance(0.0)
    assert gone() is None, "at once, not when the garbage is collected"


@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_place_that_becomes_free_goes_to_the_one_that_has_waited_for_it(places: int) -> None:
    routes = ("default", "r1", "r2", "r3")
    setting = Setting(routes=routes, max_in_flight=places)
    for number in range(5):
        for route in routes:
            setting.outbox.owe(f"{route} {number}", route=route)
    left = setting.taken()
    for _ in range(8):
        setting.answer(next(iter(setting.waiting)))
        left += setting.taken()
    assert {name.split("/")[0] if "/" in name else "default" for name in left[:8]} == set(routes)


def test_places_are_given_however_many_that_wait_for_one_have_nothing_to_say_any_more() -> None:
    routes = ("default", *(f"r{number}" for number in range(60)))
    setting = Setting(routes=routes, max_in_flight=1)
    setting.outbox.owe("a")
    for route in routes[1:]:
        setting.outbox.owe(route, route=route)
    for route in routes[1:-1]:
        del setting.outbox.owed[route]
        setting.outbox.changed(route)
    assert setting.taken() == ["a"]
    setting.answer("a")
    assert setting.taken() == ["r59/r59"]


def test_a_larger_share_lets_what_waits_leave_at_once() -> None:
    setting = Setting(limits=RouteLimits(Rate(1.5, 30)))
    with setting.loop.running():
        setting.delivery.set_share(0.0)
    setting.outbox.owe("a")
    setting.loop.advance(10.0)
    assert setting.taken() == []
    with setting.loop.running():
        setting.delivery.set_share(1.0)
    assert setting.taken() == ["a"]


def test_a_refusal_does_not_end_while_resolves_wait_and_their_key_is_not_checked() -> None:
    setting = Setting()
    for number in range(5):
        setting.outbox.owe(f"{number}", lane=Lane.RESOLVE)
    for _ in range(200):
        for name in list(setting.waiting):
            setting.answer(name, Rejected(400, "no"))
        setting.loop.advance(0.1)
    assert setting.refusals == [("refused", ("default",))]
    assert len(setting.taken()) <= 5 + 5


def test_what_has_another_route_when_its_answer_comes_leaves_through_that() -> None:
    setting = Setting(routes=("default", "team"))
    setting.outbox.owe("a")
    setting.outbox.owe("a", Severity.CRITICAL, route="team", not_before=setting.loop.time() + 3.0)
    assert setting.taken() == ["a"]
    setting.answer("a", DOWN)
    setting.loop.advance(3.0)
    assert setting.taken() == ["team/a"]


# budgets


def room(may_owe: int | None = None, max_owed_bytes: int = 1 << 30, routes: Sequence[str] = ("default",)) -> Setting:
    setting = Setting(routes=routes, limits=RouteLimits(may_owe=may_owe), max_owed_bytes=max_owed_bytes)
    return setting.held()


def test_one_leaves_for_one_that_comes_the_least_severe_of_these_the_longest_owed() -> None:
    setting = room(3)
    outbox = setting.outbox
    outbox.owe("high", since=1.0, is_new=True).owe("low, old", Severity.LOW, since=2.0, is_new=True)
    outbox.owe("low, new", Severity.LOW, since=3.0, is_new=True)
    outbox.owe("critical", Severity.CRITICAL, since=4.0, is_new=True)
    assert outbox.dropped == ["low, old"]
    outbox.owe("another", Severity.CRITICAL, since=5.0, is_new=True)
    assert outbox.dropped == ["low, old", "low, new"]
    outbox.owe("info", Severity.INFO, since=6.0, is_new=True)
    assert outbox.dropped[2:] == ["info"]


def test_a_take_over_drops_nothing_and_what_comes_after_it_takes_one_place_each() -> None:
    setting = room(3)
    for number in range(10):
        setting.outbox.owe(f"{number}", since=float(number))
    assert setting.outbox.dropped == []
    setting.outbox.owe("new", since=20.0, is_new=True)
    assert setting.outbox.dropped == ["0"]
    setting.outbox.owe("newer", since=21.0, is_new=True)
    assert setting.outbox.dropped == ["0", "1"]


def test_what_may_not_go_now_goes_for_one_that_comes_later() -> None:
    setting = room(2)
    outbox = setting.outbox
    outbox.stays.update("ab")
    outbox.owe("a", since=1.0, is_new=True).owe("b", since=2.0, is_new=True)
    outbox.stays.update("c")
    outbox.owe("c", since=3.0, is_new=True)
    assert (outbox.dropped, len(outbox.owed)) == ([], 3)
    outbox.stays.clear()
    outbox.owe("d", since=4.0, is_new=True)
    assert outbox.dropped == ["a", "b"]


def test_what_is_on_the_wire_never_makes_room_and_nothing_worse_goes_in_its_place() -> None:
    setting = Setting(limits=RouteLimits(may_owe=2))
    setting.outbox.owe("a", Severity.LOW, is_new=True).owe("b", Severity.LOW, is_new=True)
    assert setting.taken() == ["a", "b"]
    setting.held()
    setting.outbox.owe("c", Severity.CRITICAL, is_new=True)
    assert setting.outbox.dropped == []
    setting.outbox.owe("d", Severity.CRITICAL, is_new=True)
    assert setting.outbox.dropped == []


def test_over_the_bytes_the_route_that_owes_most_gives() -> None:
    setting = room(max_owed_bytes=1000, routes=("default", "team"))
    outbox = setting.outbox
    outbox.owe("a", size=300, since=1.0, is_new=True).owe("b", size=400, since=2.0, is_new=True)
    outbox.owe("c", Severity.LOW, route="team", size=200, is_new=True)
    assert outbox.dropped == []
    outbox.owe("d", Severity.LOW, route="team", size=200, since=3.0, is_new=True)
    assert outbox.dropped == ["a"], "although others are less severe: theirs is the route that owes least"


def test_a_take_over_of_more_bytes_than_there_is_room_for_drops_nothing() -> None:
    setting = room(max_owed_bytes=1000)
    for number in range(10):
        setting.outbox.owe(f"{number}", size=300, since=float(number))
    assert setting.outbox.dropped == []
    setting.outbox.owe("new", size=250, since=20.0, is_new=True)
    assert setting.outbox.dropped == ["0"], "as much as has come"


def test_room_is_by_route_and_by_bytes() -> None:
    setting = room(2, 1000, routes=("default", "team"))
    setting.outbox.owe("a", size=100).owe("b", size=100)
    assert not setting.delivery.has_room("default", 1)
    assert setting.delivery.has_room("team", 800)
    assert not setting.delivery.has_room("team", 801)


# a key that is retired


def test_a_key_that_is_retired_is_checked_in_doubt_only() -> None:
    setting = Setting(limits=RouteLimits(check_interval=3600.0, checks_idle=False)).start()
    setting.loop.advance(7200.0)
    assert setting.taken() == []
    setting.outbox.owe("a", lane=Lane.RESOLVE)
    setting.answer("a", Rejected(400, "no"))
    assert setting.taken() == ["a", "check"]


# follow-ups


def test_a_rejected_follow_up_is_told_and_its_notification_is_accepted() -> None:
    setting = Setting(requests=3, limits=RouteLimits(check_interval=3600.0)).start()
    assert setting.taken() == ["check"]
    setting.outbox.owe("a")
    setting.answer("a")
    setting.answer("a/1", Rejected(404, "no priority"))
    setting.answer("a/2", Rejected(400, "no note"))
    assert setting.outbox.answers == [("a", Accepted())]
    assert setting.follow_ups == [("a", Rejected(404, "no priority")), ("a", Rejected(400, "no note"))]
    assert setting.taken() == ["a", "a/1", "a/2"], "nobody is checked"


def test_each_request_takes_a_token() -> None:
    setting = Setting(requests=2, limits=RouteLimits(Rate(1.0, 3)))
    setting.outbox.owe("a").owe("b")
    setting.answer("a")
    setting.answer("b")
    assert setting.taken() == ["a", "b", "a/1"]
    setting.outbox.owe("c", Severity.CRITICAL)
    setting.loop.advance(1.01)
    assert setting.taken() == ["b/1"], "what has begun goes before what has not"


def test_an_alert_that_has_left_two_integrations_which_are_down_backs_off() -> None:
    """Each resolve that fails lets the other integration have its turn."""
    setting = Setting(routes=("default", "left_1", "left_2"), limits=RouteLimits(None, 3600.0))
    outbox = setting.outbox

    def told(dispatch: Dispatch, outcome: Outcome) -> None:
        pending = outbox.owed["a"]
        other = {"left_1": "left_2", "left_2": "left_1"}[pending.route]
        outbox.owed["a"] = replace(pending, route=other, failures=pending.failures + 1)

    outbox.told = told  # type: ignore[method-assign]
    outbox.owe("a", route="left_1", lane=Lane.RESOLVE)
    answered = 0
    for _ in range(6000):
        for name in list(setting.waiting):
            answered += not name.endswith("/check")
            setting.answer(name, DOWN)
        setting.loop.advance(0.1)
    assert 600 / 8 - 5 <= answered <= 600 / 8 + 10
    assert setting.reported == ["('left_1',) fail: 503, 0 wait", "('left_2',) fail: 503, 0 wait"]


def test_a_fault_while_something_leaves_stops_nothing_else() -> None:
    setting = Setting().held()
    setting.outbox.owe("a")
    take = setting.outbox.take
    setting.outbox.take = lambda key, route: 1 / 0  # type: ignore[assignment, return-value]
    setting.release()
    setting.outbox.take = take  # type: ignore[method-assign]
    assert [type(error["exception"]) for error in setting.loop.errors] == [ZeroDivisionError]
    setting.loop.errors.clear()
    setting.outbox.owe("b")
    setting.wake()
    assert setting.taken() == ["b"]


def test_a_fault_in_what_follows_from_an_answer_is_loud_and_the_alert_is_asked_again_later() -> None:
    setting = Setting(max_in_flight=1)
    setting.outbox.owe("a")
    setting.outbox.owe("b")
    assert setting.taken() == ["a"]
    told = setting.outbox.told
    setting.outbox.told = lambda dispatch, outcome: 1 / 0  # type: ignore[assignment]
    setting.answer("a")
    setting.outbox.told = told  # type: ignore[method-assign]
    assert [type(error["exception"]) for error in setting.loop.errors] == [ZeroDivisionError]
    setting.loop.errors.clear()
    assert setting.taken() == ["b"]
    setting.answer("b")
    setting.loop.advance(599)
    assert setting.taken() == []
    setting.loop.advance(2)
    assert setting.taken() == ["a"]
    setting.answer("a")
    assert setting.outbox.owed == {}


def test_what_was_held_up_by_the_limiter_and_then_by_a_missing_proof_is_not_taken_for_held_up() -> None:
    setting = Setting(limits=RouteLimits(Rate(1.0, 1), 0.0))
    with setting.loop.running():
        setting.delivery.set_share(1.0)
    setting.outbox.owe("a").owe("b")
    assert setting.taken() == ["a"]
    setting.may_send = False
    setting.loop.advance(30)
    setting.outbox.owed.clear()
    setting.outbox.changed("b")
    setting.answer("a")
    setting.may_send = True
    setting.outbox.owe("new", Severity.CRITICAL)
    assert setting.taken() == ["new"]
