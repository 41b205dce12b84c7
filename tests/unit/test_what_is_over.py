"""What is over must be over for everybody, and what goes on must be seen: an outage, a refusal, a wait, a give-up.

Everything but Kafka and the provider is the service's own; time is a number (design sections 13 and 14).
"""

from collections.abc import Callable

import pytest

from consumer.feedback.records import FeedbackKind as CommandKind
from consumer.feedback.records import OperatorCommand
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.rate import Rate
from state.alert import Status
from tests.support.delivery_setting import Call, Setting, TimesOut

pytestmark = pytest.mark.slow

DOWN = Unavailable(503, "down")
COME_BACK_IN_AN_HOUR = Unavailable(503, "maintenance", 3600.0)


class Provider:
    """Answers with ``answer`` while there is one, and else accepts."""

    def __init__(self, *, answers_checks: bool = True) -> None:
        self.answer: Answer | TimesOut | None = None
        self._answers_checks = answers_checks

    def __call__(self, call: Call) -> Answer | TimesOut:
        if self.answer is None or (call.kind == "check" and not self._answers_checks):
            return Accepted()
        return self.answer


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def go(setting: Setting, seconds: float) -> None:
    """Time passes; every five seconds the member proves that it owns its partitions, and wakes delivery."""
    left = seconds
    while left > 0:
        step = min(5.0, left)
        setting.run(step, tick=step)
        with setting.loop.running():
            setting.delivery.wake()
        setting.loop.settle()
        left -= step


def conditions(setting: Setting) -> list[str]:
    """What `/readyz` would say of the routes."""
    return [trouble.condition.value for trouble in setting.delivery.troubles(0.0)]


def seconds_until(setting: Setting, condition: Callable[[], bool], most: float) -> float:
    begin = setting.now
    while not condition() and setting.now < begin + most:
        go(setting, 5.0)
    return setting.now - begin


# an outage that is over


def test_an_outage_that_nobody_waits_in_any_more_holds_up_nothing_new() -> None:
    """Its alerts go to another member, or are given up; the wait that the provider had asked for goes with it."""
    provider = Provider()
    setting = Setting(provider, partitions=2)
    setting.occur("first")
    go(setting, 30)
    provider.answer = COME_BACK_IN_AN_HOUR
    setting.occur(*names("s", 8))
    go(setting, 60)
    assert conditions(setting) == ["failing"]
    assert [trouble.status for trouble in setting.delivery.troubles(0.0)] == [503]
    provider.answer = None
    setting.release(setting.partitions[0])
    setting.set_share(0.5)
    setting.occur("new", severity="critical", partition=1)
    assert seconds_until(setting, lambda: "new" in setting.told(), 4000) <= 10
    assert conditions(setting) == []
    assert setting.delivery.open_breakers() == []


def test_a_rebalance_in_which_all_comes_back_is_the_end_of_the_wait() -> None:
    provider = Provider()
    setting = Setting(provider)
    setting.occur("first")
    go(setting, 30)
    provider.answer = COME_BACK_IN_AN_HOUR
    setting.occur(*names("s", 8))
    go(setting, 60)
    provider.answer = None
    setting.rebalance()
    assert seconds_until(setting, lambda: "s7" in setting.told(), 4000) <= 60


def test_what_was_never_tried_is_not_given_up_for_an_outage_that_is_over() -> None:
    provider = Provider()
    setting = Setting(provider, give_up=600.0)
    setting.occur("first")
    go(setting, 30)
    provider.answer = COME_BACK_IN_AN_HOUR
    setting.occur(*names("s", 8))
    go(setting, 60)
    provider.answer = None
    go(setting, 600)
    assert len(setting.dead_letters) == 8
    setting.rebalance()
    setting.occur("new", severity="critical")
    go(setting, 700)
    assert "new" in setting.told()
    assert len(setting.dead_letters) == 8


@pytest.mark.parametrize("check", [3600.0, 0.0])
@pytest.mark.parametrize("answer", [DOWN, COME_BACK_IN_AN_HOUR])
def test_an_outage_whose_last_alert_is_given_up_is_looked_at_soon(check: float, answer: Answer) -> None:
    provider = Provider()
    setting = Setting(provider, give_up=600.0, route_check=check)
    setting.occur("first")
    go(setting, 30)
    provider.answer = answer
    setting.occur(*names("s", 8))
    go(setting, 620)
    assert len(setting.dead_letters) == 8
    provider.answer = None
    assert seconds_until(setting, lambda: not conditions(setting), 4000) <= 60
    setting.occur("new", severity="critical")
    assert seconds_until(setting, lambda: "new" in setting.told(), 4000) <= 10


# one that goes on


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(("answer", "condition"), [(RouteRefused(401, "no such key"), "refused"), (DOWN, "failing")])
def test_an_outage_goes_on_while_only_resolves_wait_also_where_keys_are_not_checked(
    answer: Answer, condition: str, count: int
) -> None:
    provider = Provider()
    setting = Setting(provider, route_check=0.0)
    sessions = names("s", count)
    setting.occur(*sessions)
    go(setting, 20)
    provider.answer = answer
    setting.end(*sessions)
    go(setting, 30)
    begin = setting.now
    for _ in range(114):
        go(setting, 5)
        assert conditions(setting) == [condition]
    assert len(setting.left("resolve", since=begin)) < 60
    assert [what for _, what in setting.refusals] == (["refused"] if condition == "refused" else [])
    provider.answer = None
    assert seconds_until(setting, lambda: len(setting.told("resolve")) == count, 600) <= 120
    assert conditions(setting) == []


def test_an_outage_is_seen_by_a_member_that_takes_over_what_has_failed_elsewhere() -> None:
    """Its own key worked ten minutes ago: that says nothing of alerts which have failed since."""
    provider = Provider(answers_checks=False)
    setting = Setting(provider, partitions=2)
    setting.release(setting.partitions[1])
    setting.occur("first")
    go(setting, 60)
    provider.answer = DOWN
    setting.occur(*names("s", 50))
    go(setting, 60)
    setting.release(setting.partitions[0])
    partitions, setting.partitions = setting.partitions, []
    setting.crash()
    setting.start()
    go(setting, 600)
    assert conditions(setting) == []
    alone: list[str] = []
    setting.fails_alone = lambda dispatch, *_: alone.append(dispatch.dedup_key)  # type: ignore[method-assign]
    setting.partitions = partitions
    setting.assign(partitions[0])
    go(setting, 60)
    assert conditions(setting) == ["failing"]
    go(setting, 600)
    assert conditions(setting) == ["failing"]
    assert alone == []
    provider.answer = None
    assert seconds_until(setting, lambda: not conditions(setting), 600) <= 60


# what waits holds up nobody


def follow_ups_wait(setting: Setting, mode: list[bool]) -> list[str]:
    sessions = names("a", 40)
    setting.occur(*sessions)
    go(setting, 60)
    setting.loop.advance(3700)
    go(setting, 5)
    mode[0] = True
    setting.occur(*sessions, severity="critical")
    go(setting, 60)
    return sessions


def throttles_once(mode: list[bool]) -> Callable[[Call], Answer]:
    def says(call: Call) -> Answer:
        if mode[0] and call.kind == "follow-up":
            mode[0] = False
            return Throttled("slow down", 3600.0)
        return Accepted()

    return says


def test_a_drain_does_not_wait_for_requests_that_only_wait_for_a_token() -> None:
    mode = [False]
    setting = Setting(throttles_once(mode), follows_up=True)
    follow_ups_wait(setting, mode)
    setting.proofs.is_valid = False
    task, begin, sent = setting.partitions[0].running, setting.loop.time(), len(setting.calls)
    draining = setting.loop.create_task(task.drain(30.0))
    setting.loop.settle()
    while not draining.done():
        setting.loop.advance(0.1)
    assert setting.loop.time() - begin <= 2.0
    assert len(setting.calls) == sent


def test_a_long_pause_of_a_key_does_not_stop_the_commands_of_a_partition() -> None:
    mode = [False]
    setting = Setting(throttles_once(mode), follows_up=True)
    sessions = follow_ups_wait(setting, mode)
    assert setting.delivery.in_flight == 0
    for session in (sessions[0], "nobody"):
        setting.acknowledge(session)
    go(setting, 60)
    assert not setting.partitions[0].running.work._inbox._orders
    go(setting, 3700)
    assert not [alert for alert in setting.alerts().values() if alert.owed is not None]


def test_an_alert_that_waits_for_a_check_holds_up_no_command_and_is_given_up_in_time() -> None:
    is_bad = False

    def says(call: Call) -> Answer:
        if call.integration == "A" and is_bad:
            return Rejected(403, "blocked") if call.kind == "trigger" else DOWN
        return Accepted()

    setting = Setting(says, routes={"default": "A", "by_guard:b": "B"}, give_up=7200.0)
    setting.occur("x")
    setting.occur("ok", guard="b")
    go(setting, 60)
    is_bad = True
    setting.occur("bad")
    go(setting, 60)
    inbox = setting.partitions[0].running.work._inbox
    for key in ("forbidden_path:bad", "b:ok"):
        command = OperatorCommand(CommandKind("acknowledge"), "simulated", key, setting._clock.wall() + 1.0, "me")
        at = inbox.next_offset(0)
        with setting.loop.running():
            inbox.hand(0, [(at, command)], at + 1)
        setting.loop.settle()
    go(setting, 60)
    taken = setting.partitions[0].alert("ok", "b")
    assert taken is not None
    assert taken.status is Status.ACKNOWLEDGED
    go(setting, 7300)
    assert [letter.error_class for letter in setting.dead_letters] == ["given_up"]


@pytest.mark.parametrize(("rate", "timeout"), [(Rate(1 / 40, 1), 30.0), (Rate(0.1, 1), 5.0)])
def test_a_follow_up_at_a_slow_rate_waits_for_its_token_and_its_notification_is_said_once(
    rate: Rate, timeout: float
) -> None:
    setting = Setting(rate=rate, timeout=timeout, follows_up=True, route_check=0.0)
    setting.occur("x")
    go(setting, 60)
    setting.occur("x", severity="critical")
    go(setting, 3600)
    assert [call.kind for call in setting.calls] == ["trigger", "trigger", "follow-up"]


# what comes, and what does not


def test_a_session_that_ends_and_comes_back_drops_nothing_of_others_over_the_budget() -> None:
    provider = Provider()
    setting = Setting(provider, partitions=2, may_owe=10, rate=Rate(10, 100))
    go(setting, 5)
    provider.answer = DOWN
    setting.occur(*names("p1_", 10), partition=1)
    go(setting, 60)
    setting.release(setting.partitions[1])
    setting.occur(*names("p0_", 10))
    go(setting, 60)
    setting.assign(setting.partitions[1])
    go(setting, 60)
    for _ in range(10):
        setting.end("p0_0")
        setting.occur("p0_0")
        go(setting, 20)
    assert [letter.error_class for letter in setting.dead_letters] == []
    provider.answer = None
    assert seconds_until(setting, lambda: len(setting.told()) == 20, 600) <= 120


def test_a_session_that_ends_and_comes_back_is_given_up_like_any_other() -> None:
    provider = Provider()
    setting = Setting(provider, give_up=7200.0)
    provider.answer = DOWN
    setting.occur("flaps")
    for _ in range(80):
        go(setting, 100)
        setting.end("flaps")
        setting.occur("flaps")
    assert [letter.error_class for letter in setting.dead_letters] == ["given_up"]


def test_an_event_that_is_rejected_is_asked_once_more_where_a_check_is_answered_by_404() -> None:
    def says(call: Call) -> Answer:
        if call.kind == "check":
            return Rejected(404, "no such alert")
        return Rejected(400, "too long") if call.session == "bad" else Accepted()

    setting = Setting(says, acts=True, give_up=7200.0)
    go(setting, 600)
    setting.occur("bad")
    go(setting, 120)
    assert [letter.error_class for letter in setting.dead_letters] == ["rejected_400"]
    assert len([call for call in setting.calls if call.session == "bad"]) == 2


# a doubt outlives nothing


class Doubts:
    """Rejects the triggers of ``bad`` with a text that nobody knows, and answers no check until ``knows``."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.rejects_resolves = False
        self.knows = False

    def __call__(self, call: Call) -> Answer | TimesOut:
        if call.kind == "check":
            return Accepted() if self.knows else DOWN
        is_rejected = call.kind == "trigger" or (call.kind == "resolve" and self.rejects_resolves)
        return Rejected(422, "odd") if is_rejected and call.session in self.bad else Accepted()


def classes(setting: Setting) -> list[str]:
    return [letter.error_class for letter in setting.dead_letters]


def rejects_an_update(provider: Doubts, *, may_owe: int | None = None) -> Setting:
    """The provider has the alert x, and doubts about its second trigger are not cleared up."""
    setting = Setting(provider, give_up=7200.0, may_owe=may_owe)
    setting.occur("x")
    go(setting, 5)
    provider.bad = {"x"}
    setting.occur("x", severity="critical")
    go(setting, 60)
    assert [call.answer for call in setting.left("trigger")][-1] == Rejected(422, "odd")
    return setting


def test_a_trigger_that_is_given_up_in_doubt_is_dead_lettered_once() -> None:
    provider = Doubts()
    setting = rejects_an_update(provider)
    go(setting, 3600)
    setting.end("x")
    setting.loop.settle()
    go(setting, 3700)
    assert classes(setting) == ["given_up"]
    provider.knows = True
    go(setting, 120)
    assert classes(setting) == ["given_up"]
    assert "x" in setting.told("resolve")


def test_what_comes_after_one_that_was_given_up_in_doubt_is_sent() -> None:
    provider = Doubts()
    setting = rejects_an_update(provider)
    setting.end("x")
    go(setting, 7300)
    assert classes(setting) == ["given_up"]
    provider.bad = set()
    setting.occur("x")
    provider.knows = True
    go(setting, 120)
    assert classes(setting) == ["given_up"]
    assert [call.answer for call in setting.left("trigger")][-1] == Accepted()


def test_a_trigger_that_overflows_in_doubt_is_dead_lettered_once_and_the_next_one_is_sent() -> None:
    provider = Doubts()
    setting = rejects_an_update(provider, may_owe=1)
    setting.end("x")
    setting.occur("y", severity="critical")
    go(setting, 1)
    assert classes(setting) == ["overflow"]
    provider.bad = set()
    go(setting, 30)
    begin = setting.now
    setting.occur("x", severity="critical")
    provider.knows = True
    go(setting, 120)
    assert classes(setting) == ["overflow"]
    assert "x" in {call.session for call in setting.left("trigger", since=begin)}


def test_a_new_page_does_not_wait_for_the_doubt_about_a_resolve() -> None:
    provider = Doubts()
    setting = Setting(provider)
    setting.occur("x")
    go(setting, 60)
    provider.bad, provider.rejects_resolves = {"x"}, True
    setting.end("x")
    go(setting, 60)
    assert [call.answer for call in setting.left("resolve")] == [Rejected(422, "odd")]
    provider.bad = set()
    begin = setting.now
    setting.occur("x")
    go(setting, 5)
    assert [call.session for call in setting.left("trigger", since=begin)] == ["x"]


def test_a_doubt_about_an_acknowledge_is_not_asked_again_for_each_event() -> None:
    def says(call: Call) -> Answer:
        if call.kind == "check":
            return DOWN
        return Rejected(422, "odd") if call.kind == "acknowledge" else Accepted()

    setting = Setting(says)
    setting.occur("x")
    go(setting, 60)
    setting.acknowledge("x")
    for _ in range(20):
        go(setting, 5)
        setting.occur("x")
    assert len(setting.left("acknowledge")) == 1
