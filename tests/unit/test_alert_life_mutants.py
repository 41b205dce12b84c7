"""Does the simulation notice? Each rule is weakened in the real code, and a walk must break a promise.

A walk counts only if the code as it is takes it without breaking anything.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from msgspec import structs

import consumer.deciding.pipeline
import consumer.tasks.alerting.outbox
import consumer.tasks.alerting.silence_ends
import consumer.tasks.partition.checkpoint
import consumer.tasks.partition.unsilencing
import providers.belonging
import state.answers
import state.endings
import state.occurrences
from consumer.deciding.pipeline import Pipeline
from consumer.history.steps import TaskSteps
from consumer.input.progress import Progress
from consumer.tasks.alerting.outbox import TaskOutbox
from consumer.tasks.partition.alerter import Alerter
from consumer.tasks.partition.checkpoint import Checkpoint, Sink
from providers.belonging import Integrations
from providers.delivery.delivery import Delivery
from providers.delivery.integration import Integration
from providers.delivery.settling import Settling
from state.alert import Alert, Ending, Former, Owed, Status
from state.answers import resolve_answered, trigger_accepted, trigger_refused
from state.departures import departed
from state.due import Due, due
from state.occurrences import Occurrence, Outcome, occurred
from state.over import over
from state.policy import Policy
from state.records import encode_alert
from state.store import Changed, Cut, Store
from tests.support.simulation import BrokenPromise, simulate
from tests.support.walks import (
    COMMIT,
    CRITICAL,
    HIGH,
    ROUTED_WEIGHTS,
    SILENCED_WEIGHTS,
    TICK,
    WEIGHTS,
    Step,
    decide,
    end,
    event,
    random_walk,
)

WALKS = 2000
"""How many walks a mutant may survive before it counts as not found."""

SECOND_INCIDENT = "an occurrence opens a second incident"
LOST = "no alertable event is lost"
OFFSET = "the group's offset passes no event that is lost"
ONLY_HERE = "what is open here is open at the provider"
ORPHAN = "what is open at the provider is open here"
NO_INTENT = "a resolve without its intent committed"
NOT_CAUGHT_UP = "a resolve from a task that is not caught up"
HIGHER = "a higher severity is told"
OWED = "everything owed is delivered"
STATE = "the state topic holds what the task knows"
MISCOUNTED = "a dead letter counts its occurrences"
TWO_AT_A_TIME = "two requests at a time about one alert"
UNPROVED = "a request without a fresh proof"
REVOKED = "a revoked key costs no dead letter"
LIVE = "no live problem is resolved"
EARLY = "nothing is given up early"
OUT_OF_REACH = "what is out of reach is told of"
HISTORY = "the history is complete and in order"
SILENT = "what is silenced tells nobody"

PUT = Store.put


# A mutant may leave coroutines behind that end in an error when they are collected.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def always(value: object) -> Callable[..., object]:
    return lambda *args, **options: value


def held_if_it_was_resolving(patch: pytest.MonkeyPatch) -> None:
    """The last checkpoint held it as resolving, however it is now."""
    cuts: dict[int, Changed] = {}
    resolving: dict[tuple[int, str], bool] = {}
    cut, committed, restore = Store.cut, Store.committed, Store.restore

    def note(store: Store, key: str, alert: Alert | None) -> None:
        resolving[id(store), key] = alert is not None and alert.status is Status.RESOLVING

    def cut_and_note(store: Store) -> Changed:
        cuts[id(store)] = taken = cut(store)
        return taken

    def commit_and_note(store: Store) -> Iterable[str]:
        for key, alert in cuts.pop(id(store)).items():
            note(store, key, alert)
        return committed(store)

    def restore_and_note(store: Store, alerts: Iterable[Alert], *rest: Any) -> Iterator[None]:
        def noted() -> Iterator[Alert]:
            for alert in alerts:
                note(store, alert.dedup_key, alert)
                yield alert

        return restore(store, noted(), *rest)

    patch.setattr(Store, "cut", cut_and_note)
    patch.setattr(Store, "committed", commit_and_note)
    patch.setattr(Store, "restore", restore_and_note)
    patch.setattr(Store, "is_held", lambda store, key: resolving.get((id(store), key), False))


def closes_whatever_is_resolving(alert: Alert, sent: Alert) -> Alert | None:
    return None if alert.status is Status.RESOLVING else structs.replace(alert, unsettled=False)


def closes_whatever_there_is(alert: Alert, sent: Alert) -> Alert | None:
    return None


def suppresses_on_resolving(
    alert: Alert | None, key: str, session: str | None, occurrence: Occurrence, now: float, policy: Policy, *rest: Any
) -> tuple[Alert, Outcome]:
    if alert is not None and alert.status is Status.RESOLVING:
        return structs.replace(alert, occurrences=alert.occurrences + 1, decided=now), Outcome.SUPPRESSED
    return occurred(alert, key, session, occurrence, now, policy, *rest)


def suppresses_higher_severities(
    alert: Alert | None, key: str, session: str | None, occurrence: Occurrence, now: float, policy: Policy, *rest: Any
) -> tuple[Alert, Outcome]:
    after, outcome = occurred(alert, key, session, occurrence, now, policy, *rest)
    if alert is not None and alert.is_at_provider and alert.owed is None and outcome is Outcome.TRIGGERED:
        return structs.replace(after, owed=None), Outcome.SUPPRESSED
    return after, outcome


def stays_open_when_rejected(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    after, dead = trigger_refused(alert, sent, now)
    return (structs.replace(alert, owed=None) if after is None else after), dead


def lets_go_when_rejected(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    after, dead = trigger_refused(alert, sent, now)
    return (None if after is not None and after.owed is None and after.last_notified is None else after), dead


def takes_no_inheritance(outbox: TaskOutbox, alert: Alert, owed: Owed, route: str | None = None) -> Alert:
    return alert


def counts_as_told_when_rejected(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    after, dead = trigger_refused(alert, sent, now)
    return (structs.replace(after, last_notified=alert.last_notified) if after is not None else None), dead


def drops_what_is_left(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    after, _ = trigger_refused(alert, sent, now)
    return (structs.replace(after, owed=None) if after is not None and alert.is_at_provider else None), sent


def accepts_what_was_never_sent(alert: Alert, sent: Owed, *args: Any) -> Alert:
    return structs.replace(trigger_accepted(alert, sent, *args), owed=None)


def repeats_nothing(alert: Alert, sent: Owed, *args: Any) -> Alert:
    after = trigger_accepted(alert, sent, *args)
    return structs.replace(after, owed=None) if after.owed is not None and after.owed.repeat else after


def still_has_it_when_resolving(alert: Alert, ended_by: Ending) -> Alert | None:
    after = over(alert, ended_by)
    return after if after is None or after is alert else structs.replace(after, is_at_provider=alert.is_at_provider)


def over_forgets_what_is_owed(alert: Alert, ended_by: Ending) -> Alert | None:
    after = over(alert, ended_by)
    return after if after is None or after is alert else structs.replace(after, owed=None)


def without_what_is_owed(alert: Alert) -> bytes:
    return encode_alert(structs.replace(alert, owed=None))


async def commits_no_dead_letters(checkpoint: Checkpoint, sink: Sink) -> RecordMetadata:
    return await _send(replace(checkpoint, dead_letters=()), sink)


async def commits_no_alerts(checkpoint: Checkpoint, sink: Sink) -> RecordMetadata:
    return await _send(replace(checkpoint, cut=Cut(())), sink)


async def takes_a_failure_for_success(checkpoint: Checkpoint, sink: Sink) -> RecordMetadata:
    try:
        return await _commit(checkpoint, sink)
    except Exception:
        sink.producer._kafka.producer = sink.producer
        return RecordMetadata("state", 0, TopicPartition("state", 0), -1, None, 0, 0)


_send, _commit = Checkpoint._send, Checkpoint.commit
_changed, _pump, _look_back = Delivery.changed, Delivery._pump, Alerter.restore


def asks_about_what_is_on_the_wire(delivery: Delivery, outbox: Any, dedup_key: str, *, is_new: bool = False) -> None:
    kept = delivery._on_the_wire.pop((outbox, dedup_key), None)
    _changed(delivery, outbox, dedup_key, is_new=is_new)
    if kept is not None:
        delivery._on_the_wire.setdefault((outbox, dedup_key), kept)


def sends_without_proof(delivery: Delivery, integration: Integration) -> None:
    delivery._may_send = lambda: True
    _pump(delivery, integration)


def resolves_at_once(outbox: TaskOutbox, dedup_key: str) -> float:
    return 0.0


def offers_nothing(outbox: TaskOutbox, *args: Any) -> Iterator[None]:
    return iter(())


# the rules of design section 13


def believes_every_rejection(settling: Settling, integration: Integration, suspect: Any) -> None:
    settling._own_fault(integration, suspect)


def never_works_again(self: Integration) -> None:
    if self.refusal is not None:  # else probes would find out that it works
        self.refusal.probes.at = self.refusal.probes.asked_until = math.inf


def buries_no_overflow(
    outbox: TaskOutbox, before: Alert, after: Alert | None, dead: Owed, error_class: str, *args: Any, **more: Any
) -> Alert | None:
    return after if error_class == "overflow" else _bury(outbox, before, after, dead, error_class, *args, **more)


def loses_what_it_makes_room_by(alert: Alert) -> None:
    return None


_bury, _make_room, _left = TaskOutbox._bury, TaskOutbox.make_room, TaskOutbox._left


# the history of design section 21


def loses_an_end(steps: TaskSteps, alert: Alert, actor: str) -> Alert:
    return alert


def forgets_that_it_told(steps: TaskSteps, before: Alert, after: Alert, *args: Any) -> Alert:
    _told(steps, before, after, *args)
    return after


_told = TaskSteps.told


# the rules of design section 14


def quiet_by_the_wall_clock(alerter: Alerter) -> Iterator[None]:
    seconds, now = alerter._context.pipeline.policy.quiet_seconds, alerter._context.clock.moment()
    if seconds is not None and alerter.task.progress.is_quiescent(now.monotonic):
        for alert in list(alerter.store.longest_quiet(1e18)):
            if now.wall - alert.decided >= seconds:
                alerter.effects.end_quiet(alert)
            yield


def gives_up_by_the_wall_clock(outbox: TaskOutbox, age: float) -> float:
    return outbox._pipeline.give_up_seconds - age


async def restores_no_position(alerter: Alerter, committed: Any) -> None:
    await _look_back(alerter, committed)
    partition_input: Any = alerter.task.partition_input  # one that is simulated
    alerter.task.position = len(partition_input.records)


# the rules of design section 18


def decides_on_what_is_owed(pipeline: Pipeline, before: Alert | None, event: Any) -> None:
    return None


def knows_names_only(integrations: Integrations, alert: Alert) -> Alert:
    route = alert.route if alert.route in integrations.of_route else "default"
    return structs.replace(alert, integration=integrations.of_route[route])


def stays_where_it_was(integrations: Integrations, alert: Alert) -> Alert:
    """Whatever has become of its key; what is out of reach is found by its name, which falls back to the default."""
    return alert


def leaves_nothing_behind(alert: Alert, left: Former | None) -> Alert:
    return departed(alert, None)


def is_suppressed_as_before(alert: Alert, left: Former | None) -> Alert:
    after = departed(alert, left)
    return (
        structs.replace(after, last_notified=alert.last_notified, is_at_provider=alert.is_at_provider)
        if alert.owed is None
        else after
    )


def never_comes_back(alert: Alert, former: Former) -> Alert:
    return alert


def resolves_what_it_has_left_at_once(alert: Alert) -> Due | None:
    what = due(alert)
    return Due.RESOLVE_FORMER if what in (None, Due.TRIGGER) and alert.former else what


def is_gone_when_resolved(alert: Alert, sent: Alert) -> Alert | None:
    return None if alert is sent else resolve_answered(alert, sent)


def is_gone_when_over(alert: Alert, ended_by: Ending) -> Alert | None:
    after = over(alert, ended_by)
    return None if after is not None and after.owed is None and after.route is None else after


def is_gone_when_rejected(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    after, dead = trigger_refused(alert, sent, now)
    return (None if after is not None and after.owed is None and after.route is None else after), dead


def ends_without_a_word(outbox: TaskOutbox, alert: Alert) -> None:
    pass


def resolves_once_it_is_told_elsewhere(alert: Alert) -> Due | None:
    what = due(alert)
    return Due.RESOLVE_FORMER if what is None and alert.former and alert.is_at_provider else what


def is_an_integration_of_its_own(integrations: Integrations, former: Former) -> Former:
    return structs.replace(former, until_over=False)


def puts_without_a_moment(store: Store, alert: Alert, now: float | None = None) -> None:
    PUT(store, alert)


def takes_as_it_is(pipeline: Pipeline, alert: Alert) -> Alert:
    return alert


def has_its_own_incident(alert: Alert) -> bool:
    return alert.route is not None


def leaves_what_is_under_way(alert: Alert, left: Former | None) -> Alert:
    return structs.replace(departed(alert, left), unsettled=False)


def writes_no_former(alert: Alert) -> bytes:
    return encode_alert(structs.replace(alert, former=(), orphans=()))


@dataclass(frozen=True)
class Mutant:
    """A rule weakened, and the promises that this breaks; ``late`` if only with requests that land late, ``tight`` if
    only where the route may owe little, ``routed`` if only where there are several keys,
    ``shared`` if only where these are of an account that shares its alerts. Random walks find what
    ``walk`` shows too seldom. ``silenced`` if only where sessions are silenced for a while."""

    rule: str
    mutate: Callable[[pytest.MonkeyPatch], None]
    breaks: frozenset[str]
    late: bool = False
    tight: bool = False
    walk: tuple[Step, ...] = ()
    routed: bool = False
    shared: bool = False
    silenced: bool = False


def mutant(
    rule: str,
    target: Any,
    name: str,
    value: object,
    *breaks: str,
    late: bool = False,
    tight: bool = False,
    walk: tuple[Step, ...] = (),
    routed: bool = False,
    shared: bool = False,
    silenced: bool = False,
) -> Mutant:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(target, name, value)

    return Mutant(rule, mutate, frozenset(breaks), late, tight, walk, routed, shared, silenced)


def due_and_its_former(due: Callable[[Alert], Due | None]) -> Callable[[pytest.MonkeyPatch], None]:
    """What is due by a weakened rule, and of what an alert has left whatever is the first."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(OUTBOX, "due", due)
        patch.setattr(OUTBOX, "former_due", lambda alert: alert.former[0] if alert.former else None)

    return mutate


COMMITTED: tuple[Step, ...] = (COMMIT, COMMIT)

TOLD_BEFORE_IT_WAS_READ: tuple[Step, ...] = (
    ("silence", 0), event("s1", HIGH), decide(1), ("land", 0), ("crash", 0), decide(1), *COMMITTED, end("s1"),
    decide(1),
)  # fmt: skip
"""A silenced event is told by an owner that has not read of the silence, and dies before its checkpoint."""

BACK_AND_REJECTED: tuple[Step, ...] = (
    event("s1", HIGH), decide(1), ("answer", 0), ("resolve", 1),
    event("s1", HIGH), decide(1), ("answer", 0), ("reject", 0),
)  # fmt: skip
"""What was resolved comes back, and that trigger is rejected."""

ANOTHER_LIFE: tuple[Step, ...] = (
    event("s1", HIGH), decide(1), ("answer", 0), ("resolve", 1), ("answer", 0),
    event("s1", CRITICAL), decide(1), ("land", 0), ("crash", 0),
)  # fmt: skip
"""What was resolved comes back with another severity, is told at once, and the owner dies before its checkpoint."""

THERE_AND_BACK: tuple[Step, ...] = (
    event("s1", HIGH), decide(1), ("answer", 0), *COMMITTED, ("reconfigure", 6),
    event("s1", HIGH), decide(1), *COMMITTED, ("answer", 0), *COMMITTED, ("reconfigure", 0),
    event("s1", HIGH), decide(1), *COMMITTED, ("answer", 0),
)  # fmt: skip
"""The key of an alert is gone, it is told by another, and the old configuration comes back."""

REJECTED_ELSEWHERE: tuple[Step, ...] = (
    event("s1", CRITICAL), decide(1), ("answer", 0), *COMMITTED, ("reconfigure", 4),
    event("s1", CRITICAL), decide(1), *COMMITTED, ("reject", 0),
)  # fmt: skip
"""What a retired key has opened is told by another key, and that trigger is rejected."""

UNSETTLED_AND_ROTATED: tuple[Step, ...] = (
    event("s1", HIGH), decide(1), ("answer", 0), end("s1"), decide(1), ("calm", 0), ("break", 0),
    event("s1", HIGH), decide(1), ("answer", 0), *COMMITTED, *COMMITTED,
    ("reconfigure", 1), COMMIT, ("answer", 0), ("late", 0),
)  # fmt: skip
"""The answer to a resolve is lost, an event opens the alert again, and its key is retired; then the resolve lands."""

CLOSED_BY_BOTH: tuple[Step, ...] = (
    event("s1", HIGH), decide(1), ("answer", 0), *COMMITTED, ("reconfigure", 1), *COMMITTED,
    event("s1", HIGH), decide(1), *COMMITTED, ("answer", 0), *COMMITTED,
    end("s1"), decide(1), TICK, *COMMITTED, TICK, ("answer", 0), *COMMITTED, TICK,
    event("s1", HIGH), decide(1), ("break", 0), *COMMITTED, ("answer", 0), ("late", 0),
)  # fmt: skip
"""A problem is over, today's key has closed its alert, and an event comes while the close by the retired one is on the
wire, which lands late."""

CHECKPOINT, OUTBOX, PIPELINE, ENDINGS, BELONGING = (
    consumer.tasks.partition.checkpoint,
    consumer.tasks.alerting.outbox,
    consumer.deciding.pipeline,
    state.endings,
    providers.belonging,
)

MUTANTS = [
    # those of tests/model/alert.py
    mutant("without the intent checkpoint", Store, "is_held", always(True), NO_INTENT),
    Mutant(
        "an intent checkpoint that is not of the alert as it is now",
        held_if_it_was_resolving,
        frozenset({NO_INTENT}),
    ),
    mutant("an answer to a resolve closes what is resolving", OUTBOX, "resolve_answered", closes_whatever_is_resolving,
           SECOND_INCIDENT, ORPHAN, LOST, OFFSET),
    mutant("an answer to a resolve closes what there is", OUTBOX, "resolve_answered", closes_whatever_there_is,
           ORPHAN, LOST, OFFSET),
    mutant("events on a resolving alert are suppressed", PIPELINE, "occurred", suppresses_on_resolving, LOST, OFFSET),
    mutant("a resolve leaves before the task is caught up", Progress, "is_caught_up", always(True), NOT_CAUGHT_UP),
    mutant("an alert stays open when its trigger was rejected", OUTBOX, "trigger_refused", stays_open_when_rejected,
           ONLY_HERE),
    mutant("after a rejected trigger events are suppressed into what may not be there", OUTBOX, "trigger_refused",
           counts_as_told_when_rejected, LOST, ONLY_HERE),
    mutant("what may be open at the provider is let go with a rejected trigger", OUTBOX, "trigger_refused",
           lets_go_when_rejected, ORPHAN),
    mutant("nor by an earlier owner", TaskOutbox, "_possibly_told", takes_no_inheritance, ORPHAN),
    # the real code's own
    mutant("what is left of a rejected trigger is dropped", OUTBOX, "trigger_refused", drops_what_is_left,
           OFFSET, LOST),
    mutant("what was never sent counts as told", OUTBOX, "trigger_accepted", accepts_what_was_never_sent, HIGHER),
    mutant("higher severities are suppressed", PIPELINE, "occurred", suppresses_higher_severities, HIGHER),
    mutant("what is owed is not kept", CHECKPOINT, "encode_alert", without_what_is_owed, STATE, LOST, OFFSET),
    mutant("the group's offset passes what is owed", Store, "oldest_owed_offset", always(None), OFFSET),
    mutant("dead letters are not committed", Checkpoint, "_send", commits_no_dead_letters, OFFSET, LOST),
    mutant("alerts are not committed", Checkpoint, "_send", commits_no_alerts, STATE, LOST, OFFSET, NO_INTENT),
    mutant("a failed checkpoint counts as committed", Checkpoint, "commit", takes_a_failure_for_success,
           OFFSET, STATE, LOST, NO_INTENT),
    mutant("the position passes what is not decided", Alerter, "restore", restores_no_position, LOST, OFFSET),
    mutant("a resolving alert still counts as the provider's", ENDINGS, "over", still_has_it_when_resolving,
           ONLY_HERE, walk=BACK_AND_REJECTED),
    mutant("a trigger that is owed is not told before the resolve", ENDINGS, "over", over_forgets_what_is_owed,
           LOST, OFFSET),
    mutant("two requests at a time about an alert", Delivery, "changed", asks_about_what_is_on_the_wire,
           TWO_AT_A_TIME),
    mutant("a restored task offers nothing", TaskOutbox, "restored", offers_nothing, OWED),
    mutant("requests leave without proof", Delivery, "_pump", sends_without_proof, UNPROVED),
    # only with requests that land late
    mutant("a trigger after an unknown resolve is not repeated", OUTBOX, "trigger_accepted", repeats_nothing,
           ONLY_HERE, late=True),
    mutant("a resolve leaves while a trigger may still land", TaskOutbox,
           "_not_resolved_before", resolves_at_once, ORPHAN, late=True),
    # delivery in a bad hour
    mutant("a rejection is believed without a check", Settling, "_suspect", believes_every_rejection, REVOKED),
    mutant("a refusal never ends, and nothing is tried", Integration, "over", never_works_again, OWED),
    mutant("what makes room is not dead-lettered", TaskOutbox, "_bury", buries_no_overflow, LOST, OFFSET, tight=True),
    mutant("what makes room is forgotten", OUTBOX, "overflowed", loses_what_it_makes_room_by, ORPHAN, LOST, OFFSET,
           tight=True),
    # the history
    mutant("an end is not told", TaskSteps, "resolved", loses_an_end, HISTORY),
    mutant("the alert does not know its last step", TaskSteps, "told", forgets_that_it_told, HISTORY),
    # time
    mutant("quiet is read from the wall clock", Alerter, "_end_quiet", quiet_by_the_wall_clock, LIVE),
    mutant("how long something is owed is read from the wall clock", TaskOutbox, "_left", gives_up_by_the_wall_clock,
           EARLY),
    # silences
    mutant("what is live at the end of its silences is not told", consumer.tasks.partition.unsilencing, "is_live",
           always(False), LOST, OFFSET, silenced=True),
    mutant("silences end before their time", consumer.tasks.alerting.silence_ends, "ends_at", always(-1.0), SILENT,
           silenced=True),
    mutant("what is silenced while it is resolved is forgotten", state.answers, "left_silenced", always(None),
           LOST, OFFSET, silenced=True),
    mutant("what lives again in silence counts as long quiet", Store, "put", puts_without_a_moment, LOST, OFFSET,
           silenced=True),
    mutant("what an earlier owner may have told ends without a word", Pipeline, "possibly_told", takes_as_it_is, ORPHAN,
           silenced=True, walk=TOLD_BEFORE_IT_WAS_READ),
    # an integration is known by its key
    mutant("the route is that of what is owed, not of the first event", Pipeline, "_integration_of",
           decides_on_what_is_owed, SECOND_INCIDENT, ORPHAN, routed=True),
    mutant("a new life is told before the state knows that the old one has ended", Store, "state_holds_another",
           always(False), SECOND_INCIDENT, ORPHAN, routed=True, walk=ANOTHER_LIFE),
    mutant("an alert is found by the name of its route", Integrations, "placed", knows_names_only,
           SECOND_INCIDENT, ORPHAN, OUT_OF_REACH, ONLY_HERE, LOST, routed=True),
    mutant("an alert stays where it was, although its key is not in use", Integrations, "placed", stays_where_it_was,
           ORPHAN, OUT_OF_REACH, ONLY_HERE, LOST, OFFSET, routed=True),
    mutant("what an alert leaves is forgotten", BELONGING, "departed", leaves_nothing_behind,
           ORPHAN, OUT_OF_REACH, routed=True),
    mutant("events are suppressed into an incident whose key is not in use", BELONGING, "departed",
           is_suppressed_as_before, LOST, OFFSET, ONLY_HERE, LIVE, routed=True),
    mutant("an alert does not come back to a key that is in use again", BELONGING, "returned", never_comes_back,
           SECOND_INCIDENT, LIVE, routed=True, walk=THERE_AND_BACK),
    Mutant("what an alert has left is resolved before it is told elsewhere",
           due_and_its_former(resolves_what_it_has_left_at_once), frozenset({NO_INTENT, LIVE}), routed=True),
    mutant("an alert is gone when it is resolved, whatever it has left", OUTBOX, "resolve_answered",
           is_gone_when_resolved, ORPHAN, routed=True),
    mutant("an alert is over, whatever it has left", ENDINGS, "over", is_gone_when_over, ORPHAN, OUT_OF_REACH,
           routed=True),
    mutant("an alert is gone when its trigger is rejected, whatever it has left", OUTBOX, "trigger_refused",
           is_gone_when_rejected, ORPHAN, OUT_OF_REACH, routed=True, walk=REJECTED_ELSEWHERE),
    mutant("an alert that leaves an orphan ends without a word", TaskOutbox, "ended", ends_without_a_word,
           OUT_OF_REACH, routed=True),
    mutant("what an alert has left is not written", CHECKPOINT, "encode_alert", writes_no_former,
           ORPHAN, OUT_OF_REACH, STATE, NO_INTENT, routed=True),
    Mutant("what an alert has left is resolved once it is told, although both keys have one alert",
           due_and_its_former(resolves_once_it_is_told_elsewhere), frozenset({NO_INTENT}), shared=True),
    mutant("a key of the same account has incidents of its own", Integrations, "_of_account",
           is_an_integration_of_its_own, LIVE, ONLY_HERE, shared=True),
    mutant("a resolve that is under way is forgotten with the key, although both keys have one alert", BELONGING,
           "departed", leaves_what_is_under_way, ONLY_HERE, late=True, shared=True, walk=UNSETTLED_AND_ROTATED),
    mutant("a close by a retired key is of an alert of its own", state.occurrences, "may_be_resolved",
           has_its_own_incident, ONLY_HERE, late=True, shared=True, walk=CLOSED_BY_BOTH),
]  # fmt: skip


def broken_by(walk: list[Step], mutant: Mutant) -> str | None:
    """The promise that the walk breaks."""
    try:
        simulate(walk, late=mutant.late, tight=mutant.tight, routed=mutant.routed, shared=mutant.shared)
    except BrokenPromise as broken:
        return str(broken).partition(":")[0]
    return None


def walks_until_found(mutant: Mutant) -> int | None:
    """How many walks it takes until one breaks one of the promises, which the code as it is keeps."""
    for seed in range(WALKS):
        weights = ROUTED_WEIGHTS if mutant.routed or mutant.shared else WEIGHTS
        weights = SILENCED_WEIGHTS if mutant.silenced else weights
        walk = random_walk(seed, weights=weights) if seed or not mutant.walk else list(mutant.walk)
        with pytest.MonkeyPatch.context() as patch:
            mutant.mutate(patch)
            broken = broken_by(walk, mutant)
        if broken in mutant.breaks and broken_by(walk, mutant) is None:
            return seed + 1
    return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.rule.replace(" ", "_") for mutant in MUTANTS])
def test_the_simulation_notices(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    walks = walks_until_found(mutant)
    record_property("walks", walks)
    assert walks is not None, f"{WALKS} walks survived: {mutant.rule}"
