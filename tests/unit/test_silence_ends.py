"""When silences have ended for a task: all that was recorded before the end is decided (design section 22)."""

from dataclasses import replace

import msgspec

from consumer.input.progress import Before, Progress
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from consumer.tasks.alerting.silence_ends import SilenceEnds
from state.alert import Alert
from state.occurrences import Occurrence
from state.silenced import silenced
from state.store import Store
from state.violation import Record, Severity

T0 = 1_800_000_000.0
RELEASE = Silence("release", "all", Match({"guard": "g"}), "known", "me", T0, T0, T0 + 60)
REPAIR = Silence("repair", "all", Match({"guard": "g"}), "known", "me", T0, T0, T0 + 90)
DAY = 86400.0
LONG = replace(RELEASE, id="long", expires_at=T0 + 7 * DAY)


class Task:
    """A store and how far its partition is; time by the records is `T0` at the monotonic moment 0."""

    def __init__(self, *known: Silence, before: Before | None = None) -> None:
        self.store = Store()
        self.progress = Progress(before=before)
        self.known = KnownSilences(known)
        self.ends = SilenceEnds(self.store, self.progress, self.known, "pagerduty")

    def read(self, *silences: Silence) -> None:
        """Records of silences are read."""
        for silence in silences:
            self.known.put(silence)
        self.ends.silences_changed()

    def hold(self, key: str, *silences: Silence) -> None:
        occurrence = Occurrence(Severity.HIGH, T0 + 1, Record("events", 0, 1, int(T0 * 1000) + 1000, None, b"{}"))
        until = {one.id: one.expires_at for one in silences}
        self.store.hear(silenced(self.store.get(key), key, None, occurrence, until, T0 + 1), 0.0)

    def at(self, moment: float, *, end: int = 1, position: int = 1) -> list[tuple[str, float]]:
        """The keys that are to be judged then, with the ends of their silences."""
        self.ends.passes(moment, T0 + moment)
        self.progress.observe_end(moment, end, moment)
        self.progress.decided(position, moment)
        for _ in range(2):  # after a jump the moment before is still noted
            self.ends.passes(moment, T0 + moment)
        return [(found[0].dedup_key, found[1] - T0) for found in self.ends.ended() if found is not None]


def test_an_end_has_come_once_it_is_past_by_the_records() -> None:
    task = Task(RELEASE)
    task.hold("a", RELEASE)
    assert task.at(59.0) == []
    assert task.at(60.0) == [("a", 60.0)]
    assert task.at(61.0) == [("a", 60.0)], "until it is judged"


def test_but_not_before_all_that_was_there_then_is_decided() -> None:
    task = Task(RELEASE)
    task.hold("a", RELEASE)
    assert task.at(59.0) == []
    assert task.at(60.0, end=9, position=3) == [], "caught up, as far as that goes, but not to this moment"
    assert task.at(62.0, end=12, position=8) == []
    assert task.at(63.0, end=12, position=12) == [("a", 60.0)]


def test_a_backlog_from_before_the_end_says_nothing_about_the_end() -> None:
    task = Task(RELEASE)
    task.hold("a", RELEASE)
    task.ends.passes(58.0, T0 + 58)  # all up to here is decided now
    assert task.at(58.5) == []
    task.ends.passes(61.0, T0 + 61)
    assert [found for found in task.ends.ended() if found is not None] == []


def test_nor_while_a_stage_before_it_has_records_that_it_has_not_forwarded() -> None:
    class Stage:
        is_done = False

        def is_caught_up(self, now: float) -> bool:
            return self.is_done

        is_quiescent = is_caught_up

    stage = Stage()
    task = Task(RELEASE, before=stage)
    task.hold("a", RELEASE)
    assert task.at(60.0) == []
    stage.is_done = True
    assert task.at(61.0) == [("a", 60.0)]


def test_the_last_of_several_counts() -> None:
    task = Task(RELEASE, REPAIR)
    task.hold("a", RELEASE, REPAIR)
    assert task.at(89.0) == []
    assert task.at(90.0) == [("a", 90.0)]


def test_one_that_this_member_has_not_read_holds_until_the_end_that_it_had() -> None:
    task = Task()
    task.hold("a", RELEASE)
    assert task.at(59.0) == []
    assert task.at(60.0) == [("a", 60.0)]


def test_one_that_was_ended_early_or_prolonged_ends_then() -> None:
    task = Task(RELEASE, REPAIR)
    task.hold("early", RELEASE)
    task.hold("late", REPAIR)
    assert task.at(10.0) == []
    task.read(RELEASE.ended(T0 + 12), replace(REPAIR, expires_at=T0 + 200))
    assert task.at(11.0) == []
    assert task.at(12.0) == [("early", 12.0)]
    task.store.drop("early")
    assert task.at(100.0) == []
    assert task.at(200.0) == [("late", 200.0)]


def test_one_that_holds_again_what_was_to_be_ended_early_ends_later() -> None:
    task = Task(RELEASE, REPAIR)
    task.hold("a", RELEASE)
    task.read(RELEASE.ended(T0 + 12))
    assert task.at(5.0) == []
    task.hold("a", REPAIR)
    assert task.at(12.0) == []
    assert task.at(90.0) == [("a", 90.0)]


def test_what_is_told_meanwhile_is_not_judged() -> None:
    task = Task(RELEASE)
    task.hold("a", RELEASE)
    alert: Alert | None = task.store.get("a")
    assert alert is not None
    assert task.at(59.0) == []
    task.store.drop("a")
    assert task.at(60.0) == []


class Counting(str):
    """A text that counts how often texts are compared for their order."""

    compared = 0

    def __lt__(self, other: str) -> bool:
        Counting.compared += 1
        return super().__lt__(other)

    __hash__ = str.__hash__


def test_no_step_goes_through_all_that_a_silence_held_that_is_ended_early() -> None:
    task = Task(RELEASE)
    for number in range(5_000):
        task.hold(Counting(f"key-{number * 7919 % 5_000:04}"), RELEASE)
    task.at(20.0)
    task.read(replace(RELEASE, expires_at=T0 + 30))
    task.at(30.0)
    assert len(task.at(31.0)) >= 5_000
    most, ended, is_left = 0, task.ends.ended(), True
    while is_left:
        Counting.compared = 0
        is_left = next(ended, "no more") != "no more"
        most = max(most, Counting.compared)
    assert most < 100


def hand_over(task: Task, key: str, moment: float) -> None:
    """An alert comes from another partition, or out of a life of its key that has ended, as another member silenced
    it."""
    there = task.store.get("there")
    assert there is not None
    task.store.hear(msgspec.structs.replace(there, dedup_key=key), moment)


def test_an_alert_that_comes_after_its_silence_was_ended_early_is_judged_as_well() -> None:
    task = Task(LONG)
    task.hold("there", LONG)
    task.read(LONG.ended(T0 + 30))
    assert task.at(20.0) == []
    assert task.at(40.0) == [("there", 30.0)]
    hand_over(task, "moved", 41.0)
    assert sorted(task.at(45.0)) == [("moved", 30.0), ("there", 30.0)]


def test_an_id_that_is_given_to_another_silence_ends_what_the_first_one_held() -> None:
    other = replace(LONG, match=Match({"guard": "other"}), expires_at=T0 + 6 * DAY)
    for change in (
        other,
        replace(LONG, scope="opsgenie"),
        replace(LONG, starts_at=T0 + 9 * DAY, expires_at=T0 + 9 * DAY),
        replace(LONG, match=Match({"guard": "other"}), expires_at=T0 + 60),
    ):
        task = Task(RELEASE, replace(LONG, expires_at=T0 + 60))
        task.hold("a", replace(LONG, expires_at=T0 + 60))
        assert task.at(10.0) == []
        task.known.put(change, T0 + 30)
        task.ends.silences_changed()
        assert task.at(29.0) == []
        assert task.at(30.0) == [("a", 30.0)]


def test_one_that_is_deleted_has_ended() -> None:
    task = Task(LONG)
    task.hold("a", LONG)
    assert task.at(10.0) == []
    task.known.drop(LONG.id, T0 + 30)
    task.ends.silences_changed()
    assert task.at(29.0) == []
    assert task.at(30.0) == [("a", 30.0)]


def looks(task: Task) -> int:
    """How many alerts one look goes through."""
    return sum(1 for _ in task.ends.ended())


def test_what_a_prolonged_silence_holds_is_gone_through_once() -> None:
    task = Task(RELEASE, REPAIR)
    for number in range(100):
        task.hold(f"key-{number}", RELEASE)
    task.hold("behind", REPAIR)
    task.at(10.0)
    task.read(replace(RELEASE, expires_at=T0 + DAY))
    assert task.at(60.0) == []
    assert looks(task) == 0
    assert task.at(90.0) == [("behind", 90.0)]
    assert looks(task) == 1


def test_a_record_of_a_silence_that_holds_nothing_has_nothing_gone_through() -> None:
    task = Task(LONG)
    for number in range(100):
        task.hold(f"key-{number}", LONG)
    task.at(10.0)
    task.at(20.0)
    task.read(RELEASE, LONG)
    assert looks(task) <= 1, "only the silences that hold something are compared"
    task.read(replace(LONG, expires_at=T0 + DAY))
    assert looks(task) >= 100
