"""Bad hours, in virtual time: nothing that stays wrong for long may cost anybody else a page (design section 13).

Everything but Kafka and the provider is the service's own.
"""

from collections.abc import Callable
from itertools import pairwise

import pytest

from consumer.feedback.records import Replay
from consumer.tasks.alerting.inbox import CAPACITY
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outage import Condition
from state.alert import Status
from state.violation import Record
from tests.support.delivery_setting import EPOCH, PAGERDUTY, Call, Kind, Setting, TimesOut, accepts
from tests.support.events import encode, event

pytestmark = pytest.mark.slow

DOWN = Unavailable(503, "down")
LASTING = {
    "503": DOWN,
    "503, come back in an hour": Unavailable(503, "down", retry_after=3600.0),
    "403": Rejected(403, "blocked"),
    "405": Rejected(405, "not allowed"),
    "time-out": TimesOut(),
    "the known text of a wrong key": RouteRefused(400, "Invalid routing key"),
}
# Where several are asked to come back in an hour, they are the integration's: the breaker is open.
WITHOUT_DELAY = {name: answer for name, answer in LASTING.items() if "hour" not in name}
lasting = pytest.mark.parametrize("answer", LASTING.values(), ids=LASTING)

lasting_without_delay = pytest.mark.parametrize("answer", WITHOUT_DELAY.values(), ids=WITHOUT_DELAY)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def fails(
    answer: Answer | TimesOut, prefix: str = "bad", kind: str | None = None
) -> Callable[[Call], Answer | TimesOut]:
    """What is about a session of that name is always answered so, whatever else is accepted."""

    def says(call: Call) -> Answer | TimesOut:
        if call.session.startswith(prefix) and kind in (None, call.kind):
            return answer
        return Accepted()

    return says


# one alert's trouble is its own


@lasting
@pytest.mark.parametrize("severity", ["critical", "high"])
def test_one_alert_that_always_fails_delays_nobody(answer: Answer | TimesOut, severity: str) -> None:
    setting = Setting(fails(answer))
    setting.occur("bad", severity=severity)
    setting.run(5)
    setting.occur(*names("good", 10))
    setting.run(60)
    assert setting.told().keys() == set(names("good", 10))
    for hour in range(1, 4):
        setting.run(3600, tick=5.0)
        begin = setting.now
        setting.occur(f"later{hour}")
        setting.run(60)
        assert setting.told()[f"later{hour}"] - begin < 5.0
    assert not setting.refusals or setting.refusals[-1][1] == "works"


@lasting
def test_a_critical_resolve_that_always_fails_delays_nobody(answer: Answer | TimesOut) -> None:
    setting = Setting(fails(answer, kind="resolve"))
    setting.occur("bad", severity="critical")
    setting.run(10)
    setting.end("bad")
    setting.run(120)
    setting.occur(*names("good", 10))
    begin = setting.now
    setting.run(60)
    assert all(at - begin < 5.0 for session, at in setting.told().items() if session.startswith("good"))
    setting.end(*names("good", 10))
    setting.run(60)
    assert setting.told("resolve").keys() == set(names("good", 10))


@lasting_without_delay
def test_forty_that_always_fail_do_not_slow_three_hundred_others(answer: Answer | TimesOut) -> None:
    setting = Setting(fails(answer))
    setting.occur("first")
    setting.run(5)
    setting.occur(*names("bad", 40))
    setting.run(1800)
    begin = setting.now
    setting.occur(*names("good", 300))
    setting.run(300)
    told = {session: at - begin for session, at in setting.told().items() if session.startswith("good")}
    assert len(told) == 300
    assert max(told.values()) <= 180 + 5


@lasting
@pytest.mark.parametrize("kind", ["trigger", "resolve"])
def test_straight_after_a_restart_forty_that_always_fail_delay_nobody(answer: Answer | TimesOut, kind: str) -> None:
    setting = Setting(fails(answer, kind=kind))
    bad = names("bad", 40)
    setting.occur(*bad, severity="critical")
    setting.run(200)
    if kind == "resolve":
        setting.end(*bad)
        setting.run(400)
    setting.restart()
    begin = setting.now
    setting.occur(*names("good", 20))
    setting.run(60)
    told = {session: at - begin for session, at in setting.told().items() if session.startswith("good")}
    assert len(told) == 20
    assert max(told.values()) <= 5.0


@pytest.mark.parametrize(
    "answer", [DOWN, LASTING["403"], LASTING["405"], TimesOut()], ids=["503", "403", "405", "time-out"]
)
def test_forty_new_criticals_that_always_fail_beside_others_on_a_route_that_has_accepted(
    answer: Answer | TimesOut,
) -> None:
    """All fresh and at once: each costs the others no more than its first request."""
    setting = Setting(fails(answer))
    setting.occur("first")
    setting.run(60)
    begin = setting.now
    setting.occur(*names("bad", 40), severity="critical")
    setting.occur(*names("good", 60))
    setting.run(300)
    told = {session: at - begin for session, at in setting.told().items() if session.startswith("good")}
    assert len(told) == 60
    # 100 requests, 30 at once and the others at 1.5 a second.
    allowed = (100 - 30) / 1.5 + 5.0
    assert max(told.values()) <= allowed


def test_a_gateway_that_asks_for_an_hour_for_one_alert_silences_that_alert_only() -> None:
    setting = Setting(fails(Unavailable(503, "down", retry_after=3600.0)))
    setting.occur("bad")
    setting.run(1)
    setting.occur("good")
    setting.run(5)
    assert "good" in setting.told()
    setting.run(3580)
    assert len([call for call in setting.left("trigger") if call.session == "bad"]) == 1
    setting.run(60)
    assert len([call for call in setting.left("trigger") if call.session == "bad"]) == 2


def test_one_alert_that_is_always_throttled_delays_others_by_two_pauses_and_then_no_more() -> None:
    setting = Setting(fails(Throttled("slow down")))
    setting.occur("bad")
    setting.run(5)
    setting.occur(*names("good", 10))
    setting.run(140)
    assert setting.told().keys() == set(names("good", 10))
    for hour in range(1, 6):
        setting.run(3600, tick=5.0)
        begin = setting.now
        setting.occur(f"later{hour}")
        setting.run(60)
        assert setting.told()[f"later{hour}"] - begin < 5.0


# order


def test_a_new_trigger_leaves_before_five_thousand_critical_resolves_and_these_all_leave() -> None:
    setting = Setting(rate=None)
    many = names("s", 5000)
    setting.occur(*many, severity="critical")
    setting.run(60)
    assert len(setting.told()) == 5000
    setting.crash()
    setting.limit(PAGERDUTY)
    setting.start()
    setting.run(60)
    setting.end(*many)
    setting.run(120)
    assert 0 < len(setting.told("resolve")) < 5000
    begin = setting.now
    setting.occur("new")
    setting.run(3)
    assert setting.told()["new"] - begin < 2.0
    setting.run(5000 / 1.5 + 60, tick=2.0)
    assert len(setting.told("resolve")) == 5000


# what is restored


def test_what_is_restored_is_given_up_when_its_own_time_has_come() -> None:
    setting = Setting(fails(DOWN, prefix=""), give_up=7200.0)
    setting.occur("a old")
    setting.run(5400, tick=5.0)
    setting.occur("b new")
    setting.run(10)
    state = setting.partitions[0].kafka.state
    last = [key for key in state if key.endswith(b"a old")]
    for key in last:  # as compaction may leave it
        state[key] = state.pop(key)
    setting.restart()
    setting.run(2400, tick=5.0)
    assert [letter.event_id for letter in setting.dead_letters] == ["e0"]
    assert setting.dead_letters[0].error_class == "given_up"


# the check of a key


EVERY_4XX = [
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    407,
    409,
    410,
    411,
    413,
    414,
    415,
    418,
    421,
    422,
    426,
    428,
    431,
    451,
    499,
]


@pytest.mark.parametrize("status", EVERY_4XX)
@pytest.mark.parametrize("acts", [False, True], ids=["pagerduty", "opsgenie"])
def test_a_refused_key_costs_no_dead_letter_whatever_it_is_answered(status: int, acts: bool) -> None:
    revoked = True

    def says(call: Call) -> Answer:
        return Rejected(status, "some text") if revoked else Accepted()

    setting = Setting(says, acts=acts)
    setting.occur(*names("s", 10))
    setting.run(900)
    assert setting.dead_letters == []
    assert setting.delivery.refused_routes == ["default"]
    assert len(setting.told()) == 0
    revoked = False
    setting.run(60)
    assert setting.told().keys() == set(names("s", 10))
    assert setting.delivery.refused_routes == []


@pytest.mark.parametrize("status", EVERY_4XX)
@pytest.mark.parametrize("kind", ["trigger", "resolve"])
def test_a_key_that_is_put_right_before_it_is_checked_costs_nothing(status: int, kind: Kind) -> None:
    refused = False
    setting = Setting(lambda call: Rejected(status, "some text") if refused else Accepted())
    if kind == "resolve":
        setting.occur(*names("s", 5))
    setting.run(60)
    refused = True
    (setting.end if kind == "resolve" else setting.occur)(*names("s", 5))
    setting.run(4)
    refused = False
    setting.run(60)
    assert setting.dead_letters == []
    assert setting.told(kind).keys() == set(names("s", 5))


@pytest.mark.parametrize("status", [400, 403, 404, 422])
@pytest.mark.parametrize("acts", [False, True], ids=["pagerduty", "opsgenie"])
def test_a_key_that_is_put_right_at_whatever_moment_costs_nothing(status: int, acts: bool) -> None:
    for seconds in range(1, 30):
        refused = True
        setting = Setting(lambda call: Rejected(status, "some text") if refused else Accepted(), acts=acts)  # noqa: B023
        setting.run(2)
        setting.occur(*names("s", 10))
        setting.run(seconds, tick=0.05)
        refused = False
        setting.run(60)
        assert setting.dead_letters == []
        assert setting.told().keys() == set(names("s", 10))


@pytest.mark.parametrize("status", EVERY_4XX)
@pytest.mark.parametrize("has_worked", [False, True])
def test_a_refused_key_that_nobody_checks_costs_two_dead_letters_at_most(status: int, has_worked: bool) -> None:
    """And none after a start, or each start would cost two."""
    revoked = not has_worked

    def says(call: Call) -> Answer:
        assert call.kind != "check"
        return Rejected(status, "some text") if revoked else Accepted()

    setting = Setting(says, route_check=0.0)
    setting.occur("before")
    setting.run(10)
    revoked = True
    setting.occur(*names("s", 10))
    setting.run(1800)
    assert len(setting.dead_letters) <= 2 * has_worked
    assert setting.delivery.refused_routes == ["default"]
    revoked = False
    setting.run(120)
    assert len(setting.told()) + len(setting.dead_letters) == 11


@pytest.mark.parametrize("route_check", [0.0, 3600.0])
def test_a_key_that_is_refused_by_a_known_text_costs_none(route_check: float) -> None:
    revoked = True
    setting = Setting(
        lambda call: RouteRefused(422, "Key format is not valid!") if revoked else Accepted(), route_check=route_check
    )
    setting.occur("a", "b", severity="critical")
    setting.run(600)
    assert setting.dead_letters == []
    assert setting.delivery.refused_routes == ["default"]
    revoked = False
    setting.run(60)
    assert setting.told().keys() == {"a", "b"}
    assert setting.delivery.refused_routes == []


def test_a_key_is_checked_at_the_start_and_a_revoked_one_shows_within_seconds() -> None:
    revoked = True
    setting = Setting(lambda call: Rejected(403, "who?") if revoked else Accepted())
    setting.run(2)
    assert setting.delivery.refused_routes == ["default"]
    revoked = False
    setting.run(60)
    assert setting.delivery.refused_routes == []
    assert {call.kind for call in setting.calls} == {"check"}


@pytest.mark.parametrize("answer", [DOWN, Throttled("slow down"), TimesOut()])
def test_a_key_whose_check_meets_an_outage_is_checked_again_soon(answer: Answer | TimesOut) -> None:
    is_down = True
    setting = Setting(lambda call: answer if is_down else Rejected(403, "who?"))
    setting.run(300)
    assert 3 <= len(setting.calls) <= 31
    is_down = False
    setting.run(60)
    assert setting.delivery.refused_routes == ["default"]


@pytest.mark.parametrize("answer", [RouteRefused(400, "Invalid routing key"), Rejected(403, "who?")])
def test_a_refusal_ends_by_itself_when_what_waited_has_ended_by_another_way(answer: Answer) -> None:
    refused = False
    setting = Setting(lambda call: answer if refused else Accepted())
    setting.occur("a")
    setting.run(5)
    refused = True
    setting.acknowledge("a")
    setting.run(60)
    assert setting.delivery.refused_routes == ["default"]
    setting.acknowledge("a", kind="resolve")
    setting.run(60)
    setting.partitions[0].running.work.store.drop("forbidden_path:a")
    with setting.loop.running():
        setting.delivery.changed(setting.partitions[0].running.work._outbox, "forbidden_path:a")
    refused = False
    setting.run(60)
    assert setting.delivery.refused_routes == []


def test_a_key_is_checked_once_in_ten_seconds_and_one_at_a_time() -> None:
    setting = Setting(
        lambda call: Unavailable(None, "no answer") if call.kind == "check" else Rejected(400, "no"), latency=4.0
    )
    setting.occur(*names("s", 50))
    setting.run(300)
    checks = [call.at for call in setting.left("check")]
    assert len(checks) > 20
    assert all(later - earlier > 9.999 for earlier, later in pairwise(checks))
    assert setting.dead_letters == []


def test_an_idle_key_is_checked_every_hour_and_a_busy_one_is_not() -> None:
    setting = Setting()
    setting.run(3 * 3600 + 60, tick=10.0)
    assert [round(call.at / 3600, 1) for call in setting.left("check")] == [0.0, 1.0, 2.0, 3.0]
    for number in range(20):
        setting.occur(f"{number}")
        setting.run(600, tick=10.0)
    assert len(setting.left("check")) == 4


def test_six_aliases_that_nobody_knows_are_six_rejected_resolves_and_nobody_waits() -> None:
    """Also where the check, which closes an alias that nobody can know, is answered so."""
    setting = Setting(
        lambda call: Rejected(404, "no such alert") if call.kind in ("resolve", "check") else Accepted(), acts=True
    )
    gone = names("gone", 6)
    setting.occur(*gone)
    setting.run(10)
    setting.end(*gone)
    setting.run(10)
    assert setting.alerts() == {}
    begin = setting.now
    setting.occur("page", severity="critical")
    setting.run(5)
    assert setting.told()["page"] - begin < 1.0
    assert setting.refusals == []
    assert setting.delivery.refused_routes == []


def conditions(setting: Setting) -> list[Condition]:
    return [trouble.condition for trouble in setting.delivery.troubles(setting.true_time())]


def test_a_route_that_is_throttled_for_minutes_and_takes_nothing_is_out_of_order() -> None:
    """Readiness and the heartbeat go by that: no page gets through."""
    is_limited = True
    setting = Setting(lambda call: Throttled("too many") if is_limited else Accepted())
    setting.run(60)
    assert Condition.FAILING not in conditions(setting), "nobody waits for a page"
    setting.occur("page", severity="critical")
    setting.run(300)
    assert conditions(setting) == [Condition.FAILING]
    is_limited = False
    setting.run(120)
    assert setting.told().keys() == {"page"}
    assert Condition.FAILING not in conditions(setting)


def test_a_route_that_is_throttled_now_and_then_is_not() -> None:
    count = 0

    def says(call: Call) -> Answer:
        nonlocal count
        count += 1
        return Accepted() if count % 3 == 0 else Throttled("too many")

    setting = Setting(says)
    setting.occur(*names("page", 200))
    for _ in range(60):
        setting.run(10)
        assert Condition.FAILING not in conditions(setting)


@pytest.mark.parametrize("acts", [False, True])
@pytest.mark.parametrize("status", [401, 403, 405, 418])
def test_a_gateway_that_blocks_checks_and_resolves_holds_up_no_page(status: int, acts: bool) -> None:
    """The check says that the key is refused, and it works for all that opens an incident."""
    setting = Setting(
        lambda call: Rejected(status, "blocked") if call.kind in ("resolve", "check") else Accepted(), acts=acts
    )
    setting.run(60)
    assert setting.delivery.refused_routes == ["default"]
    begin = setting.now
    setting.occur(*names("page", 5), severity="critical")
    setting.run(5)
    assert setting.told().keys() == set(names("page", 5))
    setting.end("page0")
    setting.run(600)
    again = setting.now
    setting.occur("later", severity="critical")
    setting.run(5)
    assert setting.told()["later"] - again < 5.0
    assert len([call for call in setting.left("trigger") if call.at >= begin]) == 6
    assert setting.dead_letters == []


@pytest.mark.parametrize("status", [400, 401, 403, 418, 422])
def test_a_key_that_a_check_finds_refused_is_tried_seldom_and_costs_nothing(status: int) -> None:
    is_refused = True
    setting = Setting(lambda call: Rejected(status, "no") if is_refused else Accepted())
    setting.run(60)
    setting.occur(*names("page", 50), severity="critical")
    setting.run(3600, tick=1.0)
    assert setting.told() == {}
    assert len(setting.left("trigger")) < 5 + 2 * 3600 / 30
    assert setting.dead_letters == []
    is_refused = False
    setting.run(60)
    assert setting.told().keys() == set(names("page", 50))
    assert setting.dead_letters == []


def test_a_rejected_event_is_one_dead_letter_and_its_route_is_not_touched() -> None:
    setting = Setting(lambda call: Rejected(400, "too long") if call.session == "bad" else Accepted())
    setting.occur("bad", "good")
    setting.run(15)
    assert setting.told().keys() == {"good"}
    assert [letter.error_class for letter in setting.dead_letters] == ["rejected_400"]
    assert len([call for call in setting.calls if call.session == "bad"]) == 1


def test_an_event_that_an_idle_key_rejects_is_asked_once_more_and_then_one_dead_letter() -> None:
    setting = Setting(lambda call: Rejected(400, "too long") if call.session == "bad" else Accepted())
    setting.run(600)
    setting.occur("bad")
    setting.run(60)
    assert [letter.error_class for letter in setting.dead_letters] == ["rejected_400"]
    assert len([call for call in setting.calls if call.session == "bad"]) == 2
    assert setting.refusals == []


@pytest.mark.parametrize("status", [403, 405])
def test_what_somebody_between_blocks_is_tried_again_and_given_up_in_the_end(status: int) -> None:
    setting = Setting(lambda call: Rejected(status, "blocked") if call.session == "bad" else Accepted(), give_up=7200.0)
    setting.occur("bad", "good")
    setting.run(7000, tick=5.0)
    assert setting.dead_letters == []
    assert 5 < len([call for call in setting.calls if call.session == "bad"]) < 120
    setting.run(400, tick=5.0)
    assert [letter.error_class for letter in setting.dead_letters] == ["given_up"]
    assert setting.refusals == []


@pytest.mark.parametrize("answer", [Rejected(404, "no"), Rejected(400, "no")])
@pytest.mark.parametrize("route_check", [0.0, 3600.0])
def test_a_rejected_update_is_one_dead_letter_however_many_events_follow(answer: Rejected, route_check: float) -> None:
    setting = Setting(
        lambda call: answer if getattr(call.notification, "again", False) else Accepted(), route_check=route_check
    )
    setting.occur("a", severity="high")
    setting.run(5)
    for _ in range(10):
        setting.occur("a", severity="critical")
        setting.run(15)
    assert len(setting.dead_letters) <= 1
    assert setting.partitions[0].alert("a") is not None
    assert setting.delivery.refused_routes == []


def test_a_rejected_follow_up_is_no_dead_letter() -> None:
    setting = Setting(
        lambda call: Rejected(404, "no") if call.kind == "follow-up" else Accepted(), follows_up=True, acts=True
    )
    setting.occur("a", severity="high")
    setting.run(5)
    for _ in range(10):
        setting.occur("a", severity="critical")
        setting.run(15)
    assert setting.dead_letters == []
    assert setting.follow_ups_rejected == ["forbidden_path:a"]


# routes, rates, budgets


def test_a_route_that_is_refused_and_full_delays_no_other() -> None:
    routes = {"default": "good", "by_guard:noisy": "revoked"}
    setting = Setting(
        lambda call: Rejected(403, "who?") if call.integration == "revoked" else Accepted(), routes=routes, may_owe=20
    )
    setting.occur(*names("n", 30), guard="noisy")
    setting.run(30)
    begin = setting.now
    setting.occur(*names("s", 5))
    setting.run(5)
    assert len(setting.told()) == 5
    assert max(setting.told().values()) - begin < 1.0
    assert [letter.error_class for letter in setting.dead_letters] == ["overflow"] * 10
    assert setting.delivery.refused_routes == ["by_guard:noisy"]


def test_a_critical_leaves_next_although_its_route_may_owe_no_more() -> None:
    setting = Setting(may_owe=50)
    setting.occur(*names("high", 400))
    setting.run(10)
    begin = setting.now
    setting.occur("critical", severity="critical")
    setting.run(5)
    assert setting.told()["critical"] - begin < 1.0
    setting.run(120)
    told, buried = len(setting.told()), {letter.record.offset for letter in setting.dead_letters}
    assert told + len(buried) == 401
    assert len(buried) == len(setting.dead_letters), "each once"


def test_two_routes_of_one_key_share_its_rate() -> None:
    setting = Setting(routes={"default": "key", "by_guard:other": "key"})
    setting.occur(*names("s", 300))
    setting.occur(*names("o", 300), guard="other")
    setting.run(60)
    assert len(setting.left(until=60.0)) <= 121


def test_six_rebalances_in_a_minute_do_not_make_it_faster() -> None:
    setting = Setting()
    setting.occur(*names("s", 1000))
    for _ in range(6):
        setting.run(10)
        setting.rebalance()
    assert 110 <= len(setting.left(until=60.0)) <= 121


def test_one_of_twelve_members_tells_twenty_alerts_within_five_seconds() -> None:
    setting = Setting()
    setting.set_share(1 / 12)
    setting.run(400, tick=5.0)
    begin = setting.now
    setting.occur(*names("s", 20))
    setting.run(5)
    assert len(setting.told()) == 20
    assert max(setting.told().values()) - begin < 5.0


def test_a_rolling_update_drops_nothing_of_what_is_owed_in_an_outage() -> None:
    setting = Setting(lambda call: DOWN, may_owe=60, partitions=3)
    for number in range(3):
        setting.occur(*names(f"p{number}-", 20), partition=number)
    setting.run(60)
    for _ in range(3):
        setting.restart()
        setting.run(60)
        setting.rebalance()
    assert setting.dead_letters == []
    setting.occur("one more", severity="critical")
    assert len(setting.alerts()) == 61
    setting.run(60)
    assert [letter.error_class for letter in setting.dead_letters] in ([], ["overflow"])
    setting.says = accepts
    setting.run(180)
    assert len(setting.told()) + len(setting.dead_letters) == 61


def test_what_has_overflowed_counts_on_and_is_told_again_when_there_is_room() -> None:
    down = True
    setting = Setting(lambda call: DOWN if down else Accepted(), may_owe=2)
    setting.occur("a")
    setting.run(1)
    setting.occur("b", "c", severity="critical")
    setting.run(40)
    assert [letter.event_id for letter in setting.dead_letters] == ["e0"]
    for _ in range(5):
        setting.occur("a")
    setting.run(10)
    assert len(setting.dead_letters) == 1, "dead-lettered once"
    down = False
    setting.run(60)
    assert setting.told().keys() == {"b", "c"}
    setting.occur("a")
    setting.run(5)
    assert "a" in setting.told()
    alert = setting.partitions[0].alert("a")
    assert alert is not None
    assert (alert.occurrences, alert.overflow) == (7, None)


def test_over_the_bytes_only_the_route_that_owes_most_gives() -> None:
    routes = {"default": "small", "by_guard:large": "large"}
    setting = Setting(lambda call: DOWN, routes=routes, max_owed_bytes=1_000_000)
    setting.occur(*names("s", 20))
    for number in range(20):
        setting.occur(f"l{number}", guard="large", padding=100_000)
        setting.run(40)
    assert {letter.record.offset for letter in setting.dead_letters} <= set(range(20, 40))
    assert 8 <= len(setting.dead_letters) <= 12
    owed = sum(partition.running.work.store.owed_bytes for partition in setting.partitions)
    assert owed <= 1_000_000


# order


def test_of_five_requests_one_is_a_resolve_and_one_an_acknowledge_or_told_again() -> None:
    setting = Setting(rate=None)
    setting.occur(*names("resolved", 300), *names("taken", 300))
    setting.run(30)
    setting.crash()
    setting.limit(PAGERDUTY)
    setting.start()
    setting.run(60)
    setting.occur(*names("new", 1000))
    for session in names("taken", 300):
        setting.acknowledge(session)
    setting.end(*names("resolved", 300))
    setting.run(60)
    begin = setting.now
    setting.run(200)
    kinds = [call.kind for call in setting.left(since=begin)]
    assert len(kinds) >= 295
    share = {kind: kinds.count(kind) / len(kinds) for kind in ("trigger", "acknowledge", "resolve")}
    assert share == pytest.approx({"trigger": 0.6, "acknowledge": 0.2, "resolve": 0.2}, abs=0.01)


def test_a_resolve_that_may_not_leave_takes_nobodys_turn() -> None:
    setting = Setting(lambda call: DOWN if call.kind == "resolve" else Accepted())
    setting.occur("a", "b")
    setting.run(10)
    setting.end("a", "b")
    setting.run(60)
    begin = setting.now
    setting.occur(*names("new", 120))
    setting.run(61)
    told = [at - begin for session, at in setting.told().items() if session.startswith("new")]
    assert len(told) == 120
    assert max(told) <= 60 + 2


# feedback


def test_a_task_that_waits_for_room_holds_up_its_own_feedback_only() -> None:
    setting = Setting(lambda call: DOWN, partitions=2, may_owe=3)
    setting.occur("a", "b")
    setting.occur("c", partition=1)
    setting.run(5)
    replay = a_replay(setting, "again")
    full, other = (partition.running.work._inbox for partition in setting.partitions)
    with setting.loop.running():
        full.hand(0, [(number, replay) for number in range(CAPACITY + 100)], CAPACITY + 100)
        other.hand(0, [(number, replay) for number in range(CAPACITY + 100)], CAPACITY + 100)
    assert (full.is_full, other.is_full) == (True, False)
    setting.acknowledge("c", partition=1)
    alert = setting.partitions[1].alert("c")
    assert alert is not None
    assert alert.acknowledging
    setting.says = accepts
    setting.run(300)
    assert not full.is_full
    assert "again" in setting.told()
    assert setting.dead_letters == []


def a_replay(setting: Setting, session: str) -> Replay:
    record = Record("events", 0, 1, 0, b"k", encode(event(session=session, severity="high", at=EPOCH)))
    return Replay("simulated", record, record, "0/1")


def test_an_operator_who_takes_an_alert_while_it_is_told_makes_no_second_request_at_a_time() -> None:
    setting = Setting(latency=5.0)
    setting.occur("a")
    setting.run(1)
    setting.acknowledge("a")
    setting.run(20)
    assert [call.kind for call in setting.left(since=0.0) if call.kind != "check"] == ["trigger", "acknowledge"]


def test_a_resolve_of_a_task_that_has_closed_never_leaves() -> None:
    setting = Setting(commit_interval=5.0)
    setting.occur("a")
    setting.run(40)
    setting.occur("b")
    setting.run(1)
    partition = setting.partitions[0]
    setting.end("a")  # the intent is in no checkpoint before the last
    setting.release(partition, 1.0)
    setting.run(10)
    assert setting.left("resolve") == []
    assert partition.state()["forbidden_path:a"].status is Status.RESOLVING
    setting.assign(partition)
    setting.run(60)
    assert setting.told("resolve").keys() == {"a"}
