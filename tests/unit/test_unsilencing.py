"""What is silenced tells nobody; at the end of its silences what is live is told once (design section 22).

Whole tasks and delivery in virtual time (`tests.support.delivery_setting`).
"""

from dataclasses import replace

import pytest
from aiokafka.errors import KafkaConnectionError

from consumer.feedback.records import Replay
from consumer.tasks.partition.read_back import AT_A_TIME
from consumer.tasks.partition.unsilencing import UNREAD_SECONDS
from consumer.tuning.simulated import Said, Saying, Simulated
from providers.answer import Accepted, Unavailable
from providers.notification import Trigger
from state.alert import Status
from state.held import is_silenced
from state.occurrences import ELSEWHERE
from state.seen import seen_of
from state.violation import Severity
from tests.support.delivery_setting import EPOCH, Setting
from tests.support.simulation import Simulation
from tests.support.walks import COMMIT, HIGH, TICK, decide, end, event

END = 600.0
HOUR, YEAR = 3600.0, 31_536_000.0


def tell(setting: Setting, kind: str = "trigger") -> list[str]:
    return [call.session for call in setting.calls if call.kind == kind and isinstance(call.answer, Accepted)]


def notification(setting: Setting, session: str) -> Trigger:
    (found,) = [call.notification for call in setting.left("trigger") if call.session == session]
    assert isinstance(found, Trigger)
    return found


def test_it_tells_nobody_until_its_end_and_then_once_what_is_live() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("live", "over")
    setting.run(END - 60)
    setting.occur("live", severity="high")
    assert setting.left("trigger") == setting.left("resolve") == []
    assert all(is_silenced(alert) for alert in setting.alerts().values())
    setting.occur("other", guard="other_guard")
    setting.run(5)
    assert tell(setting) == ["other"]
    setting.run(80)
    assert tell(setting) == ["other", "live"]
    assert notification(setting, "live").alert_summary.occurrences == 2
    assert "forbidden_path:over" not in setting.alerts()
    setting.run(600)
    assert tell(setting) == ["other", "live"]
    assert tell(setting, "resolve") == []


@pytest.mark.parametrize("skew", [-YEAR, -2 * HOUR, -45 * 60.0, 45 * 60.0, 2 * HOUR, YEAR])
def test_its_end_comes_in_time_whatever_the_clock_of_the_member_says(skew: float) -> None:
    setting = Setting()
    setting.skew = skew
    setting.silence("release", END)
    for _ in range(int(END / 10) - 1):
        setting.occur("s")
        setting.run(10)
    assert tell(setting) == []
    setting.run(20)
    assert tell(setting) == ["s"]


def test_its_end_comes_late_but_comes_where_nobody_can_tell_that_the_host_is_behind() -> None:
    setting = Setting(quiet=30 * HOUR)
    setting.brokers_check = False
    setting.restart()
    setting.skew = -2 * HOUR
    setting.silence("release", END)
    for _ in range(int(END / 60)):
        setting.occur("s")
        setting.run(60)
    setting.run(2 * HOUR - 120)
    assert tell(setting) == []
    setting.run(240)
    assert tell(setting) == ["s"]


def test_it_is_sent_with_its_worst_event_read_again_from_its_place() -> None:
    setting = Setting()
    setting.silence("release", END, critical=True)
    setting.occur("s", severity="high")
    setting.occur("s", severity="critical")
    setting.run(END - 10)
    setting.occur("s", severity="high")
    setting.run(30)
    told = notification(setting, "s")
    assert (told.severity, told.violation.event_id, told.alert_summary.occurrences) == (Severity.CRITICAL, "e1", 3)
    assert setting.read_again == [1]


def test_where_that_is_not_there_any_more_it_is_told_with_what_the_alert_knows() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.run(END - 10)
    setting.occur("s")
    setting.partitions[0].input.records[0] = None
    setting.run(30)
    told = notification(setting, "s")
    assert (told.severity, told.alert_summary.occurrences) == (Severity.HIGH, 2)
    assert "silenced" in told.violation.reason
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert alert.last_notified is not None
    assert alert.last_notified.offset == ELSEWHERE


def test_where_kafka_does_not_answer_it_is_asked_again_and_then_told_all_the_same() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.unreadable = KafkaConnectionError()
    setting.run(END - 10)
    setting.occur("s")
    setting.run(30)
    assert tell(setting) == []
    assert len(setting.read_again) > 1
    setting.unreadable = None
    setting.run(5)
    assert notification(setting, "s").violation.event_id == "e0"

    setting.silence("again", END, guard="other_guard")
    setting.occur("s2", guard="other_guard")
    setting.run(END - 10)
    setting.occur("s2", guard="other_guard")
    setting.unreadable = KafkaConnectionError()
    setting.run(10 + UNREAD_SECONDS - 10)
    assert tell(setting) == ["s"]
    setting.run(20)
    assert tell(setting) == ["s", "s2"]


def test_one_that_cannot_be_read_is_told_all_the_same_however_many_others_can() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.unreadable_offsets = {0}
    setting.run(END - 10)
    setting.occur("s")
    for number in range(30):
        setting.silence(f"other{number}", 12.0 + 5 * number, guard=f"guard{number}")
        setting.occur(f"other{number}", guard=f"guard{number}")
    setting.run(10 + UNREAD_SECONDS - 10)
    assert "s" not in tell(setting)
    setting.run(20)
    assert "s" in tell(setting)
    assert len(tell(setting)) > 10


def test_very_many_that_cannot_be_read_do_not_wait_one_after_another() -> None:
    setting = Setting(rate=None)
    setting.silence("release", END)
    sessions = [f"s{number}" for number in range(2 * AT_A_TIME + 1)]
    setting.occur(*sessions)
    setting.run(END - 10)
    setting.occur(*sessions)
    setting.unreadable = KafkaConnectionError()
    setting.run(10 + UNREAD_SECONDS + 30)
    assert len(tell(setting)) == len(sessions)


def test_and_the_next_trouble_is_waited_out_again() -> None:
    setting = Setting()
    setting.unreadable = KafkaConnectionError()
    for number, told in enumerate(("a", "b")):
        setting.silence(told, END, guard=f"guard{number}")
        setting.occur(told, guard=f"guard{number}")
        setting.run(END - 10)
        setting.occur(told, guard=f"guard{number}")
        setting.run(UNREAD_SECONDS)
        assert told not in tell(setting)
        setting.run(30)
        assert told in tell(setting)


def test_very_many_are_read_again_bit_by_bit() -> None:
    setting = Setting()
    setting.silence("release", END)
    sessions = [f"s{number}" for number in range(2 * AT_A_TIME + 1)]
    setting.occur(*sessions)
    setting.run(END - 10)
    setting.occur(*sessions)
    setting.run(40)
    assert setting.read_again == [AT_A_TIME, AT_A_TIME, 1]
    setting.run(400)
    assert sorted(tell(setting)) == sorted(sessions)


def test_one_that_is_ended_early_ends_then() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.run(60)
    assert tell(setting) == []
    silence = setting.silences.get("release")
    assert silence is not None
    setting.read_silence(silence.ended(silence.starts_at + 60))
    setting.run(10)
    assert tell(setting) == ["s"]


def test_an_event_that_is_not_silenced_is_told_at_once_and_counts_what_was() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s", severity="high")
    setting.occur("s", severity="critical")  # critical events are silenced only if somebody says so
    setting.run(5)
    assert notification(setting, "s").alert_summary.occurrences == 2
    setting.run(END + 60)
    assert tell(setting) == ["s"]


def test_the_end_of_the_problem_ends_it_and_nobody_is_told() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.run(5)
    setting.end("s")
    setting.run(END + 60)
    assert setting.left("trigger") == setting.left("resolve") == []
    assert setting.alerts() == {}


def test_a_told_alert_stays_live_and_what_is_silenced_is_counted() -> None:
    setting = Setting()
    setting.occur("s")
    setting.run(5)
    setting.silence("release", END)
    for _ in range(4):
        setting.occur("s", severity="high")
        setting.run(150)
    setting.run(60)
    assert tell(setting) == ["s"]
    assert tell(setting, "resolve") == [], "no false quiet"
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert alert.occurrences == 5


def test_a_silenced_event_while_it_is_resolved_is_silenced_after_that() -> None:
    setting = Setting()
    setting.occur("s")
    setting.run(5)
    setting.silence("release", END)
    setting.end("s")
    setting.occur("s")
    setting.run(30)
    assert tell(setting, "resolve") == ["s"]
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert is_silenced(alert)
    setting.run(END - 50)
    setting.occur("s")
    setting.run(60)
    assert tell(setting) == ["s", "s"]


def test_a_steady_silenced_stream_does_not_keep_it_from_being_resolved() -> None:
    simulation = Simulation()  # in which a commit takes a while
    try:
        told = (event("s1", HIGH), decide(1), ("answer", 0), COMMIT, COMMIT)
        for name, number in (*told, ("silence", 5), end("s1"), decide(9), TICK):
            simulation.step(name, number)
        for _ in range(3):
            for name, number in (TICK, event("s1", HIGH), decide(9), COMMIT):
                simulation.step(name, number)
        assert any("resolve" in request for request in simulation.on_the_wire)
        simulation.rest()
    finally:
        simulation.close()


# faults


def test_the_end_comes_during_an_outage_and_what_is_live_is_told_once() -> None:
    down = [False]
    setting = Setting(says=lambda call: Unavailable(503, "down") if down[0] else Accepted())
    setting.silence("release", END)
    setting.occur("s")
    setting.run(END - 30)
    setting.occur("s")
    down[0] = True
    setting.run(300)
    assert tell(setting) == []
    assert setting.partitions[0].running.work.store.owed_count == 1, "it is owed since the end"
    down[0] = False
    setting.run(120)
    assert tell(setting) == ["s"]


@pytest.mark.parametrize("dies_at", [END - 20, END - 1, END + 1, END + 3])
def test_a_member_dies_about_the_end(dies_at: float) -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("live", "over")
    setting.run(END - 40)
    setting.occur("live")
    setting.run(dies_at - (END - 40))
    setting.restart()
    setting.run(120)
    assert set(tell(setting)) == {"live"}, "to the provider one key is one incident, however often it is said"
    assert tell(setting, "resolve") in ([], ["over"]), "a dead owner may have told it"
    assert "forbidden_path:over" not in setting.alerts()


def test_a_silenced_alert_that_an_earlier_owner_may_have_told_is_resolved_when_it_is_over() -> None:
    setting = Setting(says=lambda call: Accepted())
    setting.occur("s")
    setting.run(0.5, tick=0.5)
    setting.partitions[0].kafka.state.clear()  # it had told, and died before its checkpoint
    setting.silence("release", END)
    now = setting.partitions[0].input.records[0].timestamp / 1000
    setting.silences.put(replace(setting.silences.all()["release"], starts_at=now - 1, expires_at=now + END))
    setting.restart()
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert is_silenced(alert)
    setting.run(60)
    setting.end("s")
    setting.run(60)
    assert tell(setting) == ["s"]
    assert tell(setting, "resolve") == ["s"]


def test_the_record_of_the_silence_is_late_and_what_comes_after_it_is_silent() -> None:
    setting = Setting()
    setting.occur("early")
    setting.run(5)
    setting.silence("release", END)  # it was to hold from before that on
    silence = setting.silences.all()["release"]
    setting.read_silence(replace(silence, starts_at=silence.starts_at - 10))
    setting.occur("early", "late")
    setting.run(60)
    assert tell(setting) == ["early"]
    setting.run(END - 100)
    setting.occur("early", "late")
    setting.run(120)
    assert tell(setting) == ["early", "late"]


def test_an_end_that_a_restarted_member_finds_past_is_acted_upon_without_a_new_event() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.run(END - 100)
    setting.occur("s")
    setting.run(10)
    setting.crash()
    setting.loop.advance(150)
    setting.start()
    setting.run(120)
    assert tell(setting) == ["s"]


# the same, simulated


def test_a_simulation_ends_silences_as_a_task_does() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("live", "over")
    setting.run(END - 60)
    setting.occur("live")
    setting.run(120)
    said: list[Said] = []
    simulated = Simulated(setting.pipeline, said.append)
    for record in setting.partitions[0].input.records:
        simulated.decide(record, record.timestamp / 1000)
    simulated.finish(EPOCH + setting.loop.time())
    assert simulated.outcomes["silenced"] == 3
    assert [(one.what, one.alert.session_id, one.alert.occurrences) for one in said] == [(Saying.PAGE, "live", 2)]
    assert [one.session_id for one in simulated.open_alerts()] == ["live"]
    assert tell(setting) == ["live"]


# other events of the key, and other ends


def test_the_end_of_a_silence_takes_nothing_that_is_owed_live() -> None:
    down = [False]
    setting = Setting(says=lambda call: Unavailable(503, "down") if down[0] else Accepted(), partitions=2)
    setting.silence("release", 2 * END)
    setting.occur("s")  # in the old home of the key, which hands it over only later
    setting.run(2 * END - 60)
    down[0] = True
    setting.occur("s", severity="critical", partition=1)
    setting.run(5)
    setting.hand_over("s")
    alert = setting.partitions[1].alert("s")
    assert alert is not None
    assert alert.owed is not None
    assert alert.held is not None
    setting.run(90)
    alert = setting.partitions[1].alert("s")
    assert alert is not None
    assert (alert.status, alert.held) == (Status.OPEN, None)
    down[0] = False
    setting.run(200)
    assert (tell(setting), tell(setting, "resolve")) == (["s"], [])


@pytest.mark.parametrize("seconds", [60.0, END])
def test_what_was_silenced_while_the_provider_had_it_is_counted_and_wakes_nothing_when_the_key_is_rotated(
    seconds: float,
) -> None:
    setting = Setting()  # in which nothing is resolved by quiet
    setting.occur("s")
    setting.run(5)
    setting.silence("release", seconds)
    setting.run(10)
    setting.occur("s")
    setting.run(7200)
    setting.rotate("new")
    setting.run(900)
    assert (tell(setting), tell(setting, "resolve")) == (["s"], [])


def test_the_end_of_a_silence_does_not_end_what_was_told_before_the_key_was_rotated() -> None:
    setting = Setting()
    setting.occur("s")
    setting.run(5)
    setting.rotate("new")
    setting.silence("release", END)
    setting.occur("s")
    setting.run(2 * END)
    assert (tell(setting), tell(setting, "resolve")) == (["s"], [])
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert (alert.status, alert.held, len(alert.former)) == (Status.OPEN, None, 1)


@pytest.mark.parametrize("is_outage", [False, True])
def test_an_end_ends_what_was_silenced_before_it_also_while_the_alert_is_resolving(is_outage: bool) -> None:
    down = [False]
    setting = Setting(says=lambda call: Unavailable(503, "down") if down[0] and call.kind == "resolve" else Accepted())
    setting.occur("s")
    setting.run(5)
    setting.silence("release", END)
    setting.run(400)
    down[0] = is_outage
    setting.end("s")
    setting.run(60)
    setting.occur("s")
    setting.run(10)
    setting.end("s")
    setting.run(10)
    down[0] = False
    setting.run(END)
    assert (tell(setting), tell(setting, "resolve")) == (["s"], ["s"])
    assert setting.alerts() == {}


# what people say


def test_an_operator_can_end_what_is_silenced_but_there_is_nothing_to_take() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.run(5)
    setting.acknowledge("s")
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert not alert.acknowledging
    setting.acknowledge("s", kind="resolve")
    assert setting.alerts() == {}
    setting.run(END + 60)
    assert tell(setting) == tell(setting, "resolve") == []


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_late_resolve_takes_nothing_that_was_silenced_after_it_while_the_alert_is_resolving(is_seen: bool) -> None:
    down = [False]
    setting = Setting(says=lambda call: Unavailable(503, "down") if down[0] and call.kind == "resolve" else Accepted())
    setting.occur("s")
    setting.run(5)
    setting.silence("release", END)
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    given_at, seen = EPOCH + setting.loop.time(), (seen_of(alert),) if is_seen else ()
    down[0] = True
    setting.end("s")
    setting.run(END - 100)
    setting.occur("s")
    setting.run(5)
    setting.acknowledge("s", kind="resolve", at=given_at, seen=seen)
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    assert (alert.status, alert.held is not None) == (Status.RESOLVING, True)
    down[0] = False
    setting.run(400)
    assert (tell(setting), tell(setting, "resolve")) == (["s", "s"], ["s"])


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_resolve_by_somebody_who_knew_of_it_takes_what_was_silenced_while_the_alert_is_resolving(
    is_seen: bool,
) -> None:
    down = [False]
    setting = Setting(says=lambda call: Unavailable(503, "down") if down[0] and call.kind == "resolve" else Accepted())
    setting.occur("s")
    setting.run(5)
    setting.silence("release", END)
    down[0] = True
    setting.end("s")
    setting.run(END - 100)
    setting.occur("s", severity="high")
    setting.run(5)
    alert = setting.partitions[0].alert("s")
    assert alert is not None
    setting.acknowledge("s", kind="resolve", seen=(seen_of(alert),) if is_seen else ())
    down[0] = False
    setting.run(400)
    assert (tell(setting), tell(setting, "resolve")) == (["s"], ["s"])


def replayed(setting: Setting) -> None:
    """The event of the input's first record is a dead letter, which somebody has replayed."""
    record = setting.partitions[0].input.records[0]
    setting.hand(Replay("simulated", record, record, "r1"))


def test_a_replay_is_silenced_by_what_holds_now_and_not_by_what_held_when_its_event_came() -> None:
    setting = Setting()
    setting.silence("release", END)
    setting.occur("s")
    setting.end("s")
    setting.run(2 * END)
    assert setting.alerts() == {}
    replayed(setting)
    setting.run(60)
    assert tell(setting) == ["s"]


def test_a_replay_during_a_silence_is_told_at_its_end_as_if_its_event_had_come_then() -> None:
    setting = Setting()
    setting.occur("s")
    setting.run(5)
    setting.end("s")
    setting.run(2 * END)
    assert setting.alerts() == {}
    setting.silence("release", END)
    setting.run(END - 100)
    replayed(setting)
    setting.run(50)
    assert tell(setting) == ["s"]
    setting.run(200)
    assert tell(setting) == ["s", "s"]
