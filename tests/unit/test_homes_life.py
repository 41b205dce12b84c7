"""Homes move while everything goes on: whole tasks in a simulation, and weakened copies of what they go by."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from msgspec import structs

import consumer.tasks.homes.moving
import consumer.tasks.partition.unsilencing
import state.joined
from consumer.feedback.moves import HandOver
from consumer.history.step import StepKind
from consumer.kafka.partitioning import Partitioner
from consumer.kafka.record_clock import RecordClock
from consumer.silences.known import KnownSilences
from consumer.tasks.alerting.silence_ends import SilenceEnds
from consumer.tasks.homes.moving import Moving
from consumer.tasks.partition.effects import TaskEffects
from state.alert import Alert, Held, Status
from state.records import CHECKPOINT_KEY
from tests.support.homes_simulation import SILENCED_WEIGHTS, Homes, random_walk, simulate
from tests.support.simulation import BrokenPromise
from tests.support.walks import Step

WALKS = 40
"""Some thousands have been walked once."""

# A mutant may leave coroutines behind that end in an error when they are collected.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def settings(number: int) -> dict[str, Any]:
    """One partition at first or two, and a partitioner that is known or found out."""
    return {"count": 1 + number % 2, "believed": None if number % 4 > 1 else Partitioner.MURMUR2}


@pytest.mark.parametrize("number", range(WALKS))
def test_whatever_happens_while_homes_move_every_problem_is_told_and_resolved_once(number: int) -> None:
    simulate(random_walk(number), **settings(number))


@pytest.mark.parametrize("number", range(WALKS))
def test_what_is_silenced_while_homes_move_tells_nobody_and_is_told_once_if_it_lives_on(number: int) -> None:
    simulate(random_walk(("silenced", number), weights=SILENCED_WEIGHTS), **settings(number))


GROWTH: list[Step] = [
    ("event", 0), ("event", 1), ("event", 2), ("calm", 0), ("grow", 0), ("calm", 0), ("grow", 0), ("calm", 0),
    ("event", 0), ("event", 1), ("event", 2), ("late", 0), ("late", 1), ("late", 2), ("calm", 0),
]  # fmt: skip


@pytest.mark.parametrize(
    "walk",
    [
        # An operator ends what is silenced behind a resolve.
        [("event", 2), ("end", 2), ("silence", 8), ("event", 2), ("command", 2), ("quiet", 0), ("event", 2)],
        # What is resolved comes to where something is silenced.
        [("late", 4), ("crash", 2), ("silence", 10), ("end", 19), ("grow", 6), ("event", 4)],
    ],
)
def test_what_is_silenced_behind_a_resolve_is_not_resolved_with_it(walk: list[Step]) -> None:
    simulate(walk, **settings(0))


def test_a_silence_ends_where_an_alert_moves_to_a_partition_that_nothing_was_ever_read_of() -> None:
    homes = simulate([("silence", 11), ("event", 2), ("calm", 0), ("grow", 0)], **settings(1))

    assert homes.opened == {"forbidden_path:s3": 1}


@pytest.mark.parametrize("number", range(4))
def test_live_problems_move_and_stay_one_incident(number: int) -> None:
    homes = simulate(GROWTH, **settings(number))

    assert homes.opened == {f"forbidden_path:s{session}": 1 for session in (1, 2, 3)}


@pytest.mark.parametrize("number", range(8))
def test_what_is_handed_over_one_by_one_keeps_the_promises_too(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.homes.moving, "MOVED_AT_A_TIME", 1)

    simulate([*GROWTH[:5], *random_walk(f"one by one {number}"), *GROWTH[5:]], **settings(number))


@pytest.mark.parametrize("is_told", [True, False])
def test_an_end_that_was_heard_of_before_ends_also_what_an_event_is_only_counted_into(
    is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = Homes(count=1)
    try:
        for step in GROWTH[3:5]:  # homes have moved once
            homes.step(*step)
        homes.step("event", 0)
        homes.step("calm" if is_told else "decide", Partitioner.MURMUR2.partition_of(b"s1", homes.count))
        homes.step("event", 0)
        homes.loop.advance(0.02)
        homes.commanded["forbidden_path:s1"] = homes.wall()
        monkeypatch.setattr(Moving, "ends", property(lambda moving: moving))
        monkeypatch.setattr(Moving, "ended_at", lambda *args: homes.commanded["forbidden_path:s1"])
        monkeypatch.setattr(Moving, "ends", property(lambda moving: moving))  # as if there were one
        homes.step("calm", 0)
        assert homes.open == set(), "resolved at once, not when it is quiet"
        homes.rest()
        assert [step.actor for step in homes.steps if step.kind is StepKind.RESOLVED] == ["session_end"]
    finally:
        homes.close()


def test_where_nothing_moves_nothing_is_written_for_it_and_nothing_waits() -> None:
    homes = Homes(count=2)
    try:
        began = homes.loop.time()
        homes.step("event", 0)
        homes.step("event", 1)
        homes.step("decide", 9)
        assert sum("leaves" in line for line in homes.trace) == 2, "at once"
        assert homes.loop.time() - began < 0.1
        homes.step("quiet", 0)
        homes.rest()
        assert homes.feedback == []
    finally:
        homes.close()


def _as_of_the_last_release(homes: Homes) -> None:
    """The checkpoints are as a release has written them that knows nothing of homes."""
    for partition in homes.partitions[: homes.count]:
        checkpoint = orjson.loads(partition.state[CHECKPOINT_KEY] or b"")
        del checkpoint["homes"]
        partition.state[CHECKPOINT_KEY] = orjson.dumps(checkpoint)


def test_a_service_that_is_upgraded_waits_for_nobody() -> None:
    homes = Homes(count=2)
    try:
        homes.step("event", 0)
        homes.step("calm", 0)
        _as_of_the_last_release(homes)
        for number in (0, 1):
            homes.step("crash", number)
        began, said = homes.loop.time(), len(homes.trace)
        homes.step("event", 1)
        homes.step("decide", 1)
        assert any("leaves" in line for line in homes.trace[said:]), "at once"
        assert homes.loop.time() - began < 0.1
        homes.rest()
        assert homes.feedback == []
    finally:
        homes.close()


def test_a_service_that_is_upgraded_while_the_topic_grows_hands_over_what_it_has() -> None:
    homes = Homes(count=2)
    try:
        for number in (0, 1, 2):
            homes.step("event", number)
        homes.step("calm", 0)
        _as_of_the_last_release(homes)
        homes.step("grow", 0)
        for number in (0, 1):
            homes.step("crash", number)
        homes.step("calm", 0)
        for number in (0, 1, 2):
            homes.step("event", number)
        homes.rest()
        assert homes.opened == {f"forbidden_path:s{session}": 1 for session in (1, 2, 3)}
        assert sum(isinstance(move, HandOver) for move in homes.feedback) == 3
    finally:
        homes.close()


# weakened copies

LIVE = "no live problem is resolved"
CLOSED = "no live problem is closed"
LOST = "no alertable event is lost"
HISTORY = "the history is complete and in order"
SILENT = "what is silenced tells nobody"
TOLD = "what is live at the end of its silences is told"
EARLY = "no silence ends early"


def always(value: object) -> Callable[..., object]:
    return lambda *args, **options: value


def _join_without_a_word(self: Moving, handed: Alert) -> None:
    store = self._store
    store.hear = lambda alert, now: store.put(alert)  # type: ignore[method-assign]
    JOIN(self, handed)
    del store.hear


JOIN = Moving._join


def _hand_over_what_its_history_does_not_know(self: TaskEffects, alert: Alert) -> Alert:
    HAND_OVER(self, alert)
    return alert


def _end_without_a_step(self: TaskEffects, alert: Alert, *, has_ended: bool) -> None:
    TAKE_OVER(self, alert, has_ended=False)


def _end_twice(self: TaskEffects, alert: Alert, *, has_ended: bool) -> None:
    TAKE_OVER(self, alert, has_ended=alert.status is Status.RESOLVING)


def _without_what_is_held(alert: Alert) -> Alert:
    return structs.replace(HANDED_OVER(alert), held=None)


def _by_own_silences(own: Held | None, other: Held | None) -> Held | None:
    held = JOINED_HELD(own, other)
    return held if held is None or own is None else structs.replace(held, silences=own.silences)


HANDED_OVER, JOINED_HELD = state.joined.handed_over, state.joined._joined_held

HAND_OVER, TAKE_OVER = TaskEffects.handed_over, TaskEffects.taken_over

AN_OLD_RESOLVE_UNDER_WAY: list[Step] = [
    ("event", 0), ("calm", 0), ("end", 0), ("decide", 0), ("commit", 0), ("tick", 0),
    ("grow", 0), ("event", 0), ("decide", 1), ("answer", 1), ("answer", 0),
]  # fmt: skip

A_LATE_EVENT_THAT_WAITS: list[Step] = [
    ("event", 0), ("calm", 0), ("grow", 0), ("calm", 0), *[("tick", 0)] * 7, ("late", 0),
    *[("tick", 0), ("commit", 1)] * 18,
]  # fmt: skip

TWO_SILENCES: list[Step] = [
    ("silence", 0), ("grow", 0), ("event", 0), ("silence", 3), ("late", 0), ("calm", 0),
]  # fmt: skip

IN_SILENCE = "silenced"

MUTANTS: dict[str, tuple[Any, str, object, list[Step] | int | tuple[str, int], str]] = {
    "only the home speaks": (Moving, "is_elsewhere", always(False), 0, CLOSED),
    "what comes late is forwarded": (Moving, "forwards", always(False), 18, CLOSED),
    "an end knows its time": (TaskEffects, "_is_meant", always(True), 69, LIVE),
    "the first trigger waits for the mark": (Moving, "awaits", always(False), AN_OLD_RESOLVE_UNDER_WAY, CLOSED),
    "ends are remembered": (Moving, "ended_at", always(None), 71, LOST),
    "quiet waits for all": (Moving, "_wants_to_know_all", always(False), A_LATE_EVENT_THAT_WAITS, LIVE),
    "a key in doubt waits": (Moving, "_is_suspect", always(False), 235, CLOSED),
    "what was handed over was heard of": (Moving, "_join", _join_without_a_word, 417, LIVE),
    "what was counted before it was handed over is counted": (
        TaskEffects, "handed_over", _hand_over_what_its_history_does_not_know, 0, HISTORY,
    ),
    "an end by a hand-over is told": (TaskEffects, "taken_over", _end_without_a_step, 4, HISTORY),
    "an end before a hand-over is told once": (TaskEffects, "taken_over", _end_twice, 7, HISTORY),
    "steps of both count": (
        state.joined, "_last_step", lambda own, other: own.last_step or other.last_step, 4, HISTORY,
    ),
    "what is silenced is handed over": (state.joined, "handed_over", _without_what_is_held, (IN_SILENCE, 37), TOLD),
    "what both hold is held": (state.joined, "_held", lambda own, other, **_: own.held, (IN_SILENCE, 152), TOLD),
    "the silences of both hold": (state.joined, "_joined_held", _by_own_silences, TWO_SILENCES, EARLY),
    "a silence holds until it ends": (SilenceEnds, "_end", always(0.0), (IN_SILENCE, 8), EARLY),
    "what was read of silences counts": (KnownSilences, "of", always(()), (IN_SILENCE, 8), SILENT),
    "what is live is told": (consumer.tasks.partition.unsilencing, "is_live", always(False), (IN_SILENCE, 7), TOLD),
    "a hand-over says what time it is": (RecordClock, "saw_of_a_member", always(None), (IN_SILENCE, 37), TOLD),
}  # fmt: skip
"""Of each rule a walk in which a promise is broken without it. (What it takes more than a minute to see, or two growths
at the same time, the model shows: ``tests/model``.)"""


@pytest.mark.parametrize("rule", MUTANTS)
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, weakened, walk, promise = MUTANTS[rule]
    match walk:
        case int(number):
            steps = random_walk(number)
        case (str(), int(number)):
            steps = random_walk(walk, weights=SILENCED_WEIGHTS)
        case _:
            steps, number = walk, 0
    simulate(steps, **settings(number))

    monkeypatch.setattr(owner, name, weakened)

    with pytest.raises(BrokenPromise, match=promise):
        simulate(steps, **settings(number))
