"""Bad hours, in virtual time: nothing that stays wrong for long may cost anybody else a page (design section 13).

The numbers are those of issue 11's table. Everything but Kafka and the provider is the service's own.
"""

from collections.abc import Iterator

import pytest

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from tests.support.delivery_setting import DAY, PAGERDUTY, Call, Setting, TimesOut, accepts

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


def fails(answer: Answer | TimesOut, prefix: str = "bad", kind: str | None = None):  # type: ignore[no-untyped-def]
    """What is about a session of that name is always answered so, whatever else is accepted."""

    def says(call: Call) -> Answer | TimesOut:
        if call.session.startswith(prefix) and kind in (None, call.kind):
            return answer
        return Accepted()

    return says


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Ends what a test has begun."""
    yield
    for setting in Setting.made:
        setting.crash()
    Setting.made.clear()


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
