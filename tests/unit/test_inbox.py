"""A task's feedback: in order, once, only what is its own, and no further than what has been taken."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from consumer.deciding.decisions import SUPPRESSED, DeadLettered, Replayed
from consumer.feedback.records import Feedback, FeedbackKind, FromProvider, OperatorCommand, Replay
from consumer.history.step import Reason, StepKind
from consumer.history.steps import TaskSteps
from consumer.tasks.alerting.inbox import CAPACITY, LATELY_SECONDS, TaskInbox
from consumer.timing.clock import Clock
from state.alert import Alert, Ending, Heard, Status
from state.answers import resolve_answered, trigger_accepted
from state.occurrences import Occurrence, occurred
from state.over import over
from state.policy import Policy
from state.provider_feedback import Happened, What
from state.seen import Seen, seen_of
from state.store import Store
from state.violation import Record, Severity
from tests.support.history import no_steps, task_steps, topic_there

EPOCH = 1_800_000_000.0
"""The times of alerts and commands below are seconds since then."""

POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=604_800)


@dataclass
class Log:
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = warning = info


class World:
    """An inbox, and all that it asks and tells."""

    def __init__(
        self, replay: Callable[..., Replayed | None] = lambda *_: None, steps: TaskSteps | None = None
    ) -> None:
        self.store = Store()
        self.log = Log()
        self.changed: list[Alert] = []
        self.decided: list[Replayed] = []
        self.counted: list[tuple[str, str]] = []
        self.on_the_wire: set[str] = set()
        self.ended: list[str] = []
        self.soon: list[Callable[[], None]] = []
        self.commands: list[OperatorCommand] = []
        self.closed: list[str] = []
        self.again: list[Alert] = []
        self.asked_soon: list[str] = []
        self.now = 0.0
        self.event_there: Record | None = None
        self.has_room = self.is_running = self.all_known = True
        pipeline: Any = SimpleNamespace(
            provider=SimpleNamespace(name="pagerduty"),
            input_topic="events",
            timeout_seconds=30.0,
            replay=replay,
            undecidable=lambda record, error: DeadLettered(dead_letter=SimpleNamespace(record=record)),  # type: ignore[arg-type]
        )
        metrics: Any = SimpleNamespace(feedback=lambda kind, result: self.counted.append((kind, result)))
        log: Any = self.log
        self.inbox = TaskInbox(
            pipeline=pipeline,
            partition=2,
            store=self.store,
            clock=Clock(lambda: 100.0, lambda: self.now),
            metrics=metrics,
            log=log,
            effects=self,
            steps=no_steps() if steps is None else steps,
            soon=self.soon.append,
        )

    # what a task does about feedback

    elsewhere = None

    def is_busy(self, dedup_key: str) -> bool:
        return dedup_key in self.on_the_wire

    def has_room_for(self, replay: Replay) -> bool:
        return self.has_room

    def commanded(self, command: OperatorCommand) -> None:
        self.commands.append(command)

    def changed_by_feedback(self, alert: Alert) -> None:
        self.changed.append(alert)

    def ended_by_feedback(self, dedup_key: str) -> None:
        self.ended.append(dedup_key)

    def replayed(self, decision: Replayed) -> None:
        self.decided.append(decision)

    def urge(self) -> None:
        pass

    def knows_all(self) -> bool:
        return self.all_known

    def told_event(self, alert: Alert) -> Record | None:
        return self.event_there

    def will_ask_for_told_event(self, alert: Alert) -> None:
        self.asked_soon.append(alert.dedup_key)

    def owes_again(self, alert: Alert) -> None:
        self.again.append(alert)

    def closed_at_provider(self, dedup_key: str) -> None:
        self.closed.append(dedup_key)

    # what happens

    def has(self, dedup_key: str) -> None:
        """There is an open alert that the provider has."""
        self.occurs(dedup_key, now=1.0)

    def occurs(self, dedup_key: str, severity: Severity = Severity.HIGH, *, now: float, time: float = 1.0) -> None:
        """Something occurs that the provider is told of, if it has to be."""
        now, time = EPOCH + now, EPOCH + time
        record = Record("events", 2, 1, 100, None, b"")
        alert, _ = occurred(self.store.get(dedup_key), dedup_key, None, Occurrence(severity, time, record), now, POLICY)
        self.store.put(trigger_accepted(alert, alert.owed, "default", None, now) if alert.owed is not None else alert)

    def ends(self, dedup_key: str) -> None:
        """The threat is over, and its resolve is not answered yet."""
        resolving = over(self.alert(dedup_key), Ending.QUIET)
        assert resolving is not None
        self.store.put(resolving)

    def alert(self, dedup_key: str) -> Alert:
        alert = self.store.get(dedup_key)
        assert alert is not None
        return alert

    def status(self, dedup_key: str) -> Status:
        alert = self.store.get(dedup_key)
        assert alert is not None
        return alert.status

    def hand(self, *feedback: Feedback | None, at: int = 0, partition: int = 0) -> None:
        self.inbox.hand(partition, list(enumerate(feedback, at)), at + len(feedback))


def command(
    dedup_key: str, kind: FeedbackKind = FeedbackKind.RESOLVE, provider: str = "pagerduty", *seen: Seen
) -> OperatorCommand:
    return OperatorCommand(kind, provider, dedup_key, EPOCH + 1.0, "me", seen)


def replay(partition: int = 2, topic: str = "events", provider: str = "pagerduty") -> Replay:
    record = Record(topic, partition, 5, 100, None, b"")
    return Replay(provider, record, record, "0/1")


def test_a_command_changes_the_alert_that_it_is_about() -> None:
    world = World()
    world.has("a")
    world.hand(command("a"), command("b"), command("a", provider="opsgenie"))
    assert world.status("a") is Status.RESOLVING
    assert [alert.dedup_key for alert in world.changed] == ["a"]
    assert world.counted == [("resolve", "applied")]
    assert world.inbox.positions == {0: 3}


def test_a_command_that_changes_nothing_is_ignored() -> None:
    world = World()
    world.has("a")
    world.hand(command("a"), command("a", FeedbackKind.ACKNOWLEDGE))
    assert world.counted == [("resolve", "applied"), ("acknowledge", "ignored")]


# what was seen

BOTH = pytest.mark.parametrize("kind", [FeedbackKind.ACKNOWLEDGE, FeedbackKind.RESOLVE])


def ignored(kind: FeedbackKind, world: World, *seen: Seen) -> str | None:
    """Why the command is ignored about the alert ``a``, of which that was seen; None if it is not."""
    before = world.alert("a")
    world.hand(command("a", kind, "pagerduty", *seen), at=world.inbox.next_offset(0))
    (event, fields), result = world.log.lines[-1], world.counted[-1]
    if event == "command_applied":
        assert result == (kind.value, "applied")
        return None
    assert (event, result, world.alert("a")) == ("command_ignored", (kind.value, "ignored"), before)
    reason: str = fields["reason"]
    return reason


@BOTH
def test_an_alert_that_was_gone_and_is_another_now_is_not_what_was_seen(kind: FeedbackKind) -> None:
    world = World()
    world.has("a")
    seen = seen_of(world.alert("a"))
    world.ends("a")
    assert resolve_answered(world.alert("a"), world.alert("a")) is None
    world.store.drop("a")
    world.occurs("a", now=2.0)
    assert ignored(kind, world, seen) == "it has come back since"
    assert ignored(kind, world, seen, seen_of(world.alert("a"))) is None, "two of the key were seen, and this is one"


@BOTH
def test_an_alert_that_came_back_while_it_was_resolved_is_not_what_was_seen(kind: FeedbackKind) -> None:
    world = World()
    world.has("a")
    seen = seen_of(world.alert("a"))
    world.ends("a")
    world.occurs("a", now=1.0)  # decided in the same moment, and by its own time before anybody looked
    assert ignored(kind, world, seen) == "it has come back since"
    assert ignored(kind, world, seen_of(world.alert("a"))) is None


@BOTH
def test_an_alert_that_got_worse_is_not_what_was_seen(kind: FeedbackKind) -> None:
    world = World()
    world.has("a")
    seen = seen_of(world.alert("a"))
    world.occurs("a", Severity.CRITICAL, now=2.0)
    assert ignored(kind, world, seen) == "it has got worse since"


def test_that_it_went_on_hinders_no_acknowledge_and_a_resolve_where_that_was_later() -> None:
    world = World()
    world.has("a")
    seen = seen_of(world.alert("a"))
    world.occurs("a", now=2.0)
    assert ignored(FeedbackKind.ACKNOWLEDGE, world, seen) is None
    world.occurs("a", now=3.0, time=2.0)
    assert ignored(FeedbackKind.RESOLVE, world, seen) == "it has occurred again since"
    world = World()
    world.has("a")
    world.occurs("a", now=3.0, time=2.0)
    assert ignored(FeedbackKind.ACKNOWLEDGE, world, seen) is None
    world = World()
    world.has("a")
    world.occurs("a", now=2.0)
    assert ignored(FeedbackKind.RESOLVE, world, seen) is None, "decided later, but it occurred before the command"


def test_what_was_seen_is_meant_whatever_the_clocks_say() -> None:
    world = World()
    world.occurs("a", now=1e6, time=1e6)
    assert ignored(FeedbackKind.RESOLVE, world, seen_of(world.alert("a"))) is None, "a command of the time 1.0"


@BOTH
def test_a_command_that_does_not_say_what_was_seen_goes_by_its_time(kind: FeedbackKind) -> None:
    world = World()
    world.occurs("a", now=5.0, time=0.5)
    assert ignored(kind, world) is None
    world = World()
    world.store.put(replace(world_alert(), first_seen=EPOCH + 2, last_seen=EPOCH + 2))
    assert ignored(kind, world) is not None


def world_alert() -> Alert:
    world = World()
    world.has("a")
    return world.alert("a")


@BOTH
def test_of_a_state_that_does_not_say_when_a_life_began_its_counts_tell(kind: FeedbackKind) -> None:
    """A release before has written it, or has taken it over meanwhile."""
    old = replace(world_alert(), begun=None, occurrences=3, first_seen=EPOCH + 1)
    for after, expected in (
        (replace(old, occurrences=4, first_seen=EPOCH), None),
        (replace(old, occurrences=2), "it has come back since"),
        (replace(old, first_seen=EPOCH + 2, last_seen=EPOCH + 2), "it has come back since"),
        (replace(old, begun=2.0), "it has come back since"),
        (replace(old, highest=Severity.CRITICAL), "it has got worse since"),
    ):
        for begun in (None, 1.0):
            world = World()
            world.store.put(after)
            assert ignored(kind, world, seen_of(replace(old, begun=begun))) == expected


def test_the_end_that_is_remembered_for_what_is_on_its_way_is_that_of_what_is_meant() -> None:
    world = World()
    world.has("a")
    seen = seen_of(world.alert("a"))
    world.occurs("a", Severity.CRITICAL, now=2.0)
    world.hand(
        command("a", FeedbackKind.RESOLVE, "pagerduty", seen),
        command("not here", FeedbackKind.RESOLVE, "pagerduty", seen),
    )
    assert [one.dedup_key for one in world.commands] == ["not here"], "what is ignored ends nothing that comes later"


# in order


def test_it_waits_for_the_answer_and_all_behind_it_waits_too() -> None:
    world = World()
    world.has("a")
    world.has("b")
    world.on_the_wire.add("a")
    world.hand(None, command("b"), command("a"), command("b", FeedbackKind.ACKNOWLEDGE))
    assert (world.status("a"), world.status("b")) == (Status.OPEN, Status.RESOLVING)
    assert world.inbox.positions == {0: 2}, "a checkpoint does not pass what has to wait"
    world.on_the_wire.clear()
    world.inbox.work()
    assert world.status("a") is Status.RESOLVING
    assert world.inbox.positions == {0: 4}


def test_what_it_has_had_is_skipped() -> None:
    world = World()
    world.has("a")
    world.inbox.start({0: 1, 1: 5})
    world.hand(command("a"))
    assert world.status("a") is Status.OPEN
    assert world.inbox.positions == {0: 1, 1: 5}
    world.hand(command("a"), command("a"))
    assert world.status("a") is Status.RESOLVING
    assert (world.inbox.positions, world.inbox.next_offset(0), world.inbox.next_offset(7)) == ({0: 2, 1: 5}, 2, 0)


def test_only_the_task_that_it_came_from_takes_a_replay() -> None:
    world = World(lambda *_: SUPPRESSED)
    world.hand(replay(partition=1), replay(provider="opsgenie"), replay(topic="other"), replay())
    assert len(world.decided) == 1
    assert world.inbox.positions == {0: 4}
    assert [(event, fields.get("reason")) for event, fields in world.log.lines] == [
        ("replay_ignored", "not of events"),
        ("replay_decided", None),
    ]


def test_what_is_not_alertable_any_more_is_done() -> None:
    world = World(lambda *_: None)
    world.hand(replay())
    assert (world.decided, world.counted) == ([], [("replay", "ignored")])
    assert world.inbox.positions == {0: 1}


def test_a_fault_of_ours_is_a_dead_letter_and_does_not_stop_the_rest() -> None:
    def fails(*_: object) -> Replayed:
        raise RuntimeError("a bug")

    world = World(fails)
    world.hand(replay(), replay())
    assert [type(decision) for decision in world.decided] == [DeadLettered, DeadLettered]


def test_a_task_that_owes_much_takes_no_replay_for_now() -> None:
    world = World(lambda *_: SUPPRESSED)
    world.has_room = False
    world.hand(*[replay()] * CAPACITY)
    assert (len(world.decided), world.inbox.is_full, world.inbox.positions) == (0, True, {})
    world.has_room = True
    world.inbox.work()
    while world.soon:
        world.soon.pop()()
    assert (len(world.decided), world.inbox.is_full, world.inbox.positions) == (CAPACITY, False, {0: CAPACITY})


def test_a_task_that_is_closing_takes_nothing() -> None:
    world = World()
    world.has("a")
    world.is_running = False
    world.hand(command("a"))
    assert world.status("a") is Status.OPEN
    assert (world.inbox.positions, world.inbox.is_full) == ({}, False)


def test_partitions_are_counted_apart() -> None:
    world = World()
    world.has("a")
    world.on_the_wire.add("a")
    world.hand(command("a"), at=3, partition=1)
    world.hand(command("x"), at=10)
    assert world.inbox.positions == {}
    world.on_the_wire.clear()
    world.inbox.work()
    assert world.inbox.positions == {0: 11, 1: 4}


def test_a_topic_that_was_created_anew_begins_again() -> None:
    world = World()
    world.has("a")
    world.inbox.start({0: 900})
    world.inbox.reset(0, 0)
    world.hand(command("a"))
    assert world.status("a") is Status.RESOLVING
    assert world.inbox.positions == {0: 1}


def test_of_many_records_others_have_their_turn_in_between() -> None:
    world = World()
    keys = [f"k{number}" for number in range(100)]
    for key in keys:
        world.has(key)
    world.hand(*(command(key) for key in keys))
    taken = [sum(world.status(key) is Status.RESOLVING for key in keys)]
    while world.soon:
        world.soon.pop()()
        taken.append(sum(world.status(key) is Status.RESOLVING for key in keys))
    assert taken == [25, 50, 75, 100]
    assert world.inbox.positions == {0: 100}


# what has happened at the provider


def from_provider(what: What, dedup_key: str = "a", *, at: float = 500.0, provider: str = "pagerduty") -> FromProvider:
    return FromProvider(provider, dedup_key, Happened(what, EPOCH + at), "Ann")


def told_at(world: World, dedup_key: str = "a", *, date: float = 1.0) -> None:
    """There is an open alert that the provider has accepted at this time of its own."""
    record = Record("events", 2, 1, 100, None, b"")
    alert, _ = occurred(None, dedup_key, None, Occurrence(Severity.HIGH, EPOCH + 1, record), EPOCH + 1, POLICY)
    assert alert.owed is not None
    world.store.put(trigger_accepted(alert, alert.owed, "default", EPOCH + date, EPOCH + 1))


def test_what_happens_at_the_provider_changes_the_alert_and_is_counted_and_told() -> None:
    world = World()
    told_at(world)
    world.hand(
        from_provider(What.ANNOTATED),
        from_provider(What.ACKNOWLEDGED, at=400.0),
        from_provider(What.ACKNOWLEDGED, provider="opsgenie"),
    )
    assert world.status("a") is Status.ACKNOWLEDGED
    assert [alert.status for alert in world.changed] == [Status.ACKNOWLEDGED]
    assert world.counted == [("annotated", "ignored"), ("acknowledged", "applied")]
    assert [line for line, _ in world.log.lines] == ["provider_feedback_ignored", "provider_feedback_applied"]
    world.hand(from_provider(What.RESOLVED), at=3)
    assert world.closed == ["a"]


def test_it_waits_for_a_request_on_the_wire_and_holds_up_what_is_behind_it() -> None:
    world = World()
    told_at(world)
    world.on_the_wire.add("a")
    world.hand(from_provider(What.ACKNOWLEDGED), command("b"))
    assert world.inbox.positions == {}
    world.on_the_wire.clear()
    world.inbox.work()
    assert world.status("a") is Status.ACKNOWLEDGED
    assert world.inbox.positions == {0: 2}


def test_of_an_alert_that_may_still_come_it_waits() -> None:
    world = World()
    world.all_known = False
    world.hand(from_provider(What.ACKNOWLEDGED))
    assert world.inbox.positions == {}
    told_at(world)
    world.inbox.work()
    assert world.status("a") is Status.ACKNOWLEDGED


def test_of_an_alert_that_cannot_come_it_says_nothing() -> None:
    world = World()
    world.hand(from_provider(What.RESOLVED))
    assert world.inbox.positions == {0: 1}
    assert world.counted == []


def test_the_event_that_is_told_again_is_waited_for() -> None:
    world = World()
    told_at(world)
    world.hand(from_provider(What.RESOLVED, at=5.0))  # within the time-out: which was the first is not known
    assert (world.inbox.positions, world.again) == ({}, [])
    world.event_there = record = Record("events", 2, 1, 100, None, b"told")
    world.inbox.work()
    (again,) = world.again
    assert again.owed is not None
    assert (again.owed.record, again.owed.repeat) == (record, True)
    assert world.alert("a") is again
    assert world.inbox.positions == {0: 1}


def test_with_an_event_that_is_told_again_those_that_are_needed_soon_are_asked_for() -> None:
    world = World()
    for dedup_key in "abcde":
        told_at(world, dedup_key)
    world.hand(
        *(from_provider(What.RESOLVED, "a", at=5.0), from_provider(What.RESOLVED, "unknown", at=5.0), command("b")),
        *(from_provider(What.RESOLVED, "c", at=5.0), from_provider(What.ACKNOWLEDGED, "d", at=5.0)),
        *(from_provider(What.RESOLVED, "e", at=500.0), from_provider(What.RESOLVED, "b", at=5.0)),
    )
    assert world.asked_soon == ["c", "b"]


# what is heard of an alert while another task hands it over


def settle(world: World) -> None:
    while world.soon:
        world.soon.pop(0)()


@pytest.mark.parametrize("feedback", [from_provider(What.ACKNOWLEDGED), command("a", FeedbackKind.ACKNOWLEDGE)])
@pytest.mark.parametrize("has_own", [False, True])
def test_what_was_heard_of_an_alert_on_its_way_is_taken_once_more(
    feedback: OperatorCommand | FromProvider, has_own: bool
) -> None:
    world = World()
    if has_own:  # it has occurred here meanwhile, and nobody was told of that
        record = Record("events", 2, 1, 100, None, b"")
        own, _ = occurred(None, "a", None, Occurrence(Severity.HIGH, EPOCH + 1000, record), EPOCH + 1000, POLICY)
        world.store.put(own)
    world.hand(feedback)
    assert world.inbox.positions == {0: 1}
    told_at(world)
    assert not is_taken(world.alert("a"))
    world.inbox.taken_over("a")
    settle(world)
    assert is_taken(world.alert("a"))


def is_taken(alert: Alert) -> bool:
    return alert.status is Status.ACKNOWLEDGED or alert.acknowledging


def test_once_more_it_waits_for_what_is_on_the_wire_before_what_comes_behind_it() -> None:
    world = World()
    world.hand(from_provider(What.ACKNOWLEDGED))
    told_at(world)
    world.on_the_wire.add("a")
    world.inbox.taken_over("a")
    world.hand(from_provider(What.UNACKNOWLEDGED, at=501.0), at=1)
    settle(world)
    assert (world.inbox.positions, world.changed) == ({0: 1}, [])
    world.on_the_wire.clear()
    world.inbox.work()
    assert [alert.status for alert in world.changed] == [Status.ACKNOWLEDGED, Status.OPEN]


def test_what_was_heard_long_ago_or_of_others_is_not() -> None:
    world = World()
    world.hand(from_provider(What.ACKNOWLEDGED), from_provider(What.ACKNOWLEDGED, "b"))
    told_at(world, "a")
    told_at(world, "b")
    world.now += LATELY_SECONDS + 1
    world.inbox.taken_over("a")
    settle(world)
    assert [world.status(key) for key in "ab"] == [Status.OPEN, Status.OPEN]


def test_what_has_found_it_before_it_left_changes_nothing_once_more() -> None:
    world = World()
    world.hand(from_provider(What.ACKNOWLEDGED), from_provider(What.UNACKNOWLEDGED, at=501.0))
    told_at(world)
    alert = world.alert("a")
    world.store.put(replace(alert, heard=Heard(EPOCH + 501.0)))
    world.inbox.taken_over("a")
    settle(world)
    assert world.status("a") is Status.OPEN


# what its history says of that


def told_to_history(*what: FromProvider, owes: bool = False) -> tuple[World, list[tuple[StepKind, str | None]]]:
    """The steps of an alert that the provider has accepted, by what has happened there, each with its reason."""
    topic = topic_there()
    asyncio.run(topic.look())
    world = World(steps=(steps := task_steps(topic)))
    told_at(world)
    if owes:
        alert, _ = occurred(
            world.alert("a"), "a", None, Occurrence(Severity.CRITICAL, EPOCH + 2, RECORD), EPOCH + 2, POLICY
        )
        world.store.put(alert)
    world.event_there = RECORD
    world.hand(*what)
    cut = steps.cut()
    found = () if cut is None else cut.steps
    assert {step.actor for step in found} <= {"provider:Ann"}
    return world, [(step.kind, step.reason) for step in found]


RECORD = Record("events", 2, 1, 100, None, b"told")


@pytest.mark.parametrize("what", [what for what in What if what is not What.RESOLVED])
def test_whatever_happens_at_the_provider_is_a_step_of_its_own(what: What) -> None:
    world, steps = told_to_history(from_provider(what))
    assert steps == [(StepKind(what.value), None)]
    assert world.changed == [world.alert("a")], "the next checkpoint has what its history knows"
    assert world.alert("a").last_step is not None


def test_who_closes_it_is_told() -> None:
    assert told_to_history(from_provider(What.RESOLVED))[1] == [(StepKind.RESOLVED, None)]
    again = [(StepKind.TRIGGERED, Reason.CLOSED_AT_PROVIDER)]
    assert told_to_history(from_provider(What.RESOLVED, at=5.0))[1] == again, "nobody knows which was first"
    assert told_to_history(from_provider(What.RESOLVED), owes=True)[1] == again, "what is owed is never taken away"


def test_what_changes_nothing_is_no_step() -> None:
    assert told_to_history(from_provider(What.ACKNOWLEDGED, at=0.5))[1] == []
    echo = FromProvider("pagerduty", "a", Happened(What.ANNOTATED, EPOCH + 500, None, by_integration=True), "Ann")
    assert told_to_history(echo)[1] == [], "a note of ours, for example"


def test_a_resolve_of_what_somebody_had_taken_before_the_last_trigger_is_told_as_nobody_has_that_one() -> None:
    topic = topic_there()
    asyncio.run(topic.look())
    world = World(steps=(steps := task_steps(topic)))
    told_at(world, date=300.0)
    world.store.put(replace(world.alert("a"), status=Status.ACKNOWLEDGED, heard=Heard(EPOCH + 100)))
    world.hand(from_provider(What.RESOLVED, at=200.0))
    assert world.status("a") is Status.OPEN
    cut = steps.cut()
    assert cut is not None
    assert [step.kind for step in cut.steps] == [StepKind.UNACKNOWLEDGED]
    assert world.changed == [world.alert("a")]
