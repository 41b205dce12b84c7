"""What delivery tells of its routes: an outage when it begins and when it is over, and not each attempt that fails."""

from collections.abc import Mapping

import pytest

from providers.answer import Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.delivery import RouteLimits
from providers.delivery.outage import Condition
from providers.rate import Rate
from tests.unit.test_delivery import DOWN, Setting

WRONG = RouteRefused(401, "no such key")
MANY = 2000


def answer_all(setting: Setting, answer: Answer | None = None) -> None:
    while setting.waiting:
        for name in list(setting.waiting):
            setting.answer(name, answer)


def conditions(setting: Setting) -> Mapping[str, Condition]:
    return {trouble.route: trouble.condition for trouble in setting.delivery.troubles(0.0)}


@pytest.mark.slow
@pytest.mark.parametrize("answer", [DOWN, Unavailable(None, "timed out", unknown=True), WRONG], ids=str)
def test_an_outage_of_an_hour_with_2000_alerts_is_two_lines(answer: Unavailable | RouteRefused) -> None:
    setting = Setting(max_in_flight=8)
    for number in range(MANY):
        setting.outbox.owe(f"a{number}")
    for _ in range(3600):
        answer_all(setting, answer)
        setting.loop.advance(1.0)
    [begun] = setting.reported
    verb = "are refused" if isinstance(answer, RouteRefused) else "fail"
    assert begun.startswith(f"('default',) {verb}: {answer.status}, "), begun
    # All that waits leaves at once now, one after another or more at a time; the next is a check of the end.
    while setting.outbox.owed:
        answer_all(setting)
        setting.loop.advance(1.0)
    begun, works = setting.reported
    seconds, failures, waiting = (int(word) for word in works.split() if word.isdecimal())
    assert 3600 <= seconds <= 3700
    assert failures == sum(one == answer for _, one, _ in setting.observed)
    assert waiting == MANY


def test_a_single_alert_is_enough_for_a_report_and_its_attempts_are_not() -> None:
    setting = Setting()
    setting.outbox.owe("a")
    for _ in range(60):
        answer_all(setting, DOWN)
        setting.loop.advance(1.0)
    assert setting.reported == ["('default',) fail: 503, 1 wait"]
    assert conditions(setting) == {"default": Condition.FAILING}
    while setting.outbox.owed:
        answer_all(setting)
        setting.loop.advance(1.0)
    assert setting.reported[1].startswith("('default',) work after 6")
    assert conditions(setting) == {}


def test_one_request_in_some_that_fails_is_told_once() -> None:
    setting = Setting()
    for number in range(300):
        setting.outbox.owe(f"a{number}")
        answer_all(setting, DOWN if number % 5 == 0 else None)
        setting.loop.advance(1.01)
        answer_all(setting)
    assert setting.reported == ["('default',) fail: 503, 1 wait", "('default',) work after 1 s, 1 failures, 1 wait"]


def test_an_alert_that_fails_while_others_are_accepted_is_told_once_of_itself() -> None:
    setting = Setting(max_in_flight=8)
    setting.outbox.owe("a")
    for number in range(300):
        if "a" in setting.waiting:
            setting.answer("a", DOWN)
        setting.outbox.owe(f"b{number}")
        setting.loop.advance(0.1)
        for name in [name for name in setting.waiting if name != "a"]:
            setting.answer(name)
        setting.loop.advance(5.0)
    assert len([name for name, answer, _ in setting.observed if name == "a"]) > 4
    [begun, works, alone] = setting.reported
    assert begun == "('default',) fail: 503, 1 wait"
    assert works.startswith("('default',) work after")
    assert alone == "a fails alone, attempt 2: 503"
    assert conditions(setting) == {}, "the route works"


def test_what_is_rejected_is_told_when_that_is_believed_and_not_at_each_answer() -> None:
    setting = Setting(limits=RouteLimits(check_interval=300.0)).start()
    setting.answer("check")
    setting.outbox.owe("a")
    setting.answer("a", Rejected(422, "bad"))
    assert setting.reported == [], "the key may be at fault"
    for _ in range(20):
        setting.loop.advance(1.0)
        if "check" in setting.waiting:
            setting.answer("check")
    assert setting.reported == ["rejected a: 422 bad"]


def test_a_key_that_is_refused_after_an_outage_is_reported_as_one_outage() -> None:
    setting = Setting()
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    setting.loop.advance(1.01)
    setting.answer("a", WRONG)
    assert setting.reported == ["('default',) fail: 503, 1 wait", "('default',) are refused: 401, 1 wait"]
    assert conditions(setting) == {"default": Condition.REFUSED}
    setting.loop.advance(31.0)
    setting.answer("a")
    assert setting.reported[2:] == ["('default',) work after 32 s, 2 failures, 1 wait"]


def test_a_check_that_fails_tells_of_an_outage_before_anybody_waits_and_the_next_ends_it() -> None:
    setting = Setting(limits=RouteLimits(check_interval=300.0)).start()
    setting.answer("check", DOWN)
    assert setting.reported == ["('default',) fail: 503, 0 wait"]
    setting.loop.advance(31.0)
    setting.answer("check")
    assert setting.reported[1:] == ["('default',) work after 31 s, 1 failures, 0 wait"]


def test_a_check_does_not_end_what_has_failed_for_an_alert_that_waits() -> None:
    setting = Setting(limits=RouteLimits(check_interval=300.0)).start()
    setting.answer("check")
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    for _ in range(700):
        setting.loop.advance(1.0)
        if "check" in setting.waiting:
            setting.answer("check")
        if "a" in setting.waiting:
            setting.answer("a", DOWN)
    assert len(setting.checks) > 2
    assert [line for line in setting.reported if "work" in line] == []


def test_429_is_told_once_until_the_rate_is_as_it_should_be() -> None:
    setting = Setting(max_in_flight=8, limits=RouteLimits(Rate(1.5, 30)))
    for number in range(60):
        setting.outbox.owe(f"a{number}")
    setting.loop.advance(0.1)
    for _ in range(120):
        answer_all(setting, Throttled("slow down", None))
        setting.loop.advance(1.0)
    assert setting.reported == ["('default',) are throttled, 60 wait"]
    assert conditions(setting) == {"default": Condition.THROTTLED}
    for _ in range(1200):
        answer_all(setting)
        setting.loop.advance(1.0)
    setting.outbox.owe("later")
    answer_all(setting)
    assert [line for line in setting.reported if "throttled" in line][1].startswith(
        "('default',) are not throttled after "
    )
    assert conditions(setting) == {}


def test_a_route_whose_alerts_have_gone_to_another_member_is_told_of_no_more() -> None:
    setting = Setting()
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    setting.loop.advance(20.0)
    answer_all(setting, DOWN)
    assert conditions(setting) == {"default": Condition.FAILING}
    with setting.loop.running():
        setting.loop.create_task(setting.delivery.withdraw(setting.outbox, 0.0))
    setting.loop.settle()
    assert conditions(setting) == {}
    assert setting.reported[-1] == "('default',) concern nobody here after 20 s"


def test_an_outage_whose_alerts_are_given_up_ends_with_the_next_check_and_not_an_hour_later() -> None:
    setting = Setting(limits=RouteLimits(check_interval=3600.0)).start()
    setting.answer("check")
    setting.outbox.owe("a")
    setting.answer("a", DOWN)
    setting.outbox.owed.clear()
    setting.outbox.changed("a")
    for _ in range(60):
        setting.loop.advance(1.0)
        if "check" in setting.waiting:
            setting.answer("check")
    assert [line.split(" after")[0] for line in setting.reported] == [
        "('default',) fail: 503, 1 wait",
        "('default',) work",
    ]
    assert conditions(setting) == {}
