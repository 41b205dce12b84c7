"""The way of an event through one pipeline: decode, filter, key, transition, store (design section 3).

A `Pipeline` holds what the events of one provider have in common, whatever their partition. It decides what becomes of
an event; a task carries that out (`consumer.tasks.partition.effects`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from msgspec.structs import replace

from consumer.deciding.decisions import (
    EMPTIED,
    SUPPRESSED,
    BelongsElsewhere,
    Changed,
    Counted,
    DeadLettered,
    DecidedHere,
    Decision,
    Ended,
    Occurred,
    Replayed,
    Silenced,
    Triggered,
)
from consumer.dlq.dead_letter import DeadLetter, DeadLetterStage
from consumer.events.event import TOMBSTONE, Decoder, FetchedRecord, Poison, SecurityEvent
from consumer.events.filter import End as Ends
from consumer.events.keys import KeyTemplate, home_key_of
from consumer.events.record_key import RecordKey
from consumer.feedback.records import Replay
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Silence
from consumer.timing.clock import Moment
from providers.belonging import Integrations
from providers.provider import Provider
from state.alert import Alert, Ending, Owed, Status
from state.facts import LACKING
from state.occurrences import Occurrence, Outcome, event_time, occurred
from state.over import is_over_by, over
from state.policy import Policy
from state.remembered_ends import End, session
from state.silenced import possibly_told, silenced
from state.store import Store
from state.violation import Record

LONGEST_SESSION_ID = 128


class RecentEnds(Protocol):
    """What a task knows of ends: `consumer.tasks.homes.moving`."""

    def ended_at(self, dedup_key: str, session_id: str | None) -> float | None:
        """The event time of an end that was told of before what it ends, if there was one."""
        ...


class Elsewhere(RecentEnds, Protocol):
    """What a task knows of other tasks that have spoken, or are to speak, for its keys (`consumer.tasks.homes`)."""

    def forwards(self, key: bytes | None) -> bool:
        """Whether records of this key are forwarded, as another task decides them."""
        ...


class Silences(Protocol):
    """The silences that a member knows: `consumer.silences.known`."""

    def of(self, event: SecurityEvent, provider: str, at: float) -> Sequence[Silence]:
        """Those that keep an event silent whose record was written then, in seconds since the epoch."""
        ...

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id; None if no record of it was read."""
        ...

    def end_of(self, silence_id: str, until: float, provider: str, decided: float) -> float:
        """When it ends for what it holds at this provider, and was to hold ``until`` then; the last event of that was
        ``decided`` at this time."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The configuration and the decisions of one provider's pipeline, which all partitions share.

    ``max_event_age`` is in seconds; None is any age. An event's age is the smaller of two: that by the host's clock and
    that by the newest record, so that one clock that is ahead dead-letters nothing. ``record_key`` is what the records
    of the input are keyed by; None where a repartition stage has put them into their partitions.
    """

    provider: Provider
    group_id: str
    input_topic: str
    state_topic: str
    dlq_topic: str
    decoder: Decoder
    template: KeyTemplate
    policy: Policy
    max_event_age: float | None
    give_up_seconds: float
    timeout_seconds: float
    commit_interval: float
    max_owed: int
    record_key: RecordKey | None = None
    silences: Silences = field(default_factory=KnownSilences)
    """The silences that this member knows; none, where nobody reads them."""
    integrations: Integrations = field(init=False)
    """The integrations (keys at a host) that the provider's routes lead to."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "integrations", Integrations.of(self.provider))

    def decide(
        self,
        record: FetchedRecord,
        store: Store,
        now: Moment,
        newest: float | None = None,
        elsewhere: Elsewhere | None = None,
        ends: RecentEnds | None = None,
    ) -> Decision | None:
        """Decide one record; None if it neither alerts nor ends an alert, as most do.

        ``newest`` is when the newest record was written, carried on to this moment; None if that is not known.
        ``elsewhere`` is None where homes have never moved. ``ends`` knows of ends that came before what they end; None
        where nothing does.
        """
        event = self.decoder.decode(record)
        if event is None:
            return None
        if isinstance(event, SecurityEvent):
            if not event.concerns_alerts:
                return Changed(change=event) if self.record_key is not None else None
            decision = self._decided(event, record, store, now, newest, elsewhere, ends)
            # Where a stage stands before this, that has told it.
            return replace(decision, change=event) if event.is_change and self.record_key is not None else decision
        if event is TOMBSTONE:
            return EMPTIED
        return DeadLettered(dead_letter=self.poison(event, record))

    def _decided(
        self,
        event: SecurityEvent,
        record: FetchedRecord,
        store: Store,
        now: Moment,
        newest: float | None,
        elsewhere: Elsewhere | None,
        ends: RecentEnds | None,
    ) -> Occurred | DeadLettered | Ended | BelongsElsewhere:
        if elsewhere is not None and elsewhere.forwards(home_key := self.home_key(event, record.key)):
            return BelongsElsewhere(record=kept(record), home_key=home_key)
        decision: Occurred | DeadLettered | Ended
        if event.alertable:
            decision = self._alert(event, record, store, now, newest, ends)
        else:
            decision = self._end(event, record, store, now)
        if self.record_key is not None and (unexpected := self.record_key.check(event, record.key)) is not None:
            return replace(decision, unexpected_key=unexpected)
        return decision

    def forwarded(
        self,
        record: Record,
        store: Store,
        now: Moment,
        newest: float | None,
        elsewhere: Elsewhere,
        *,
        is_replay: bool = False,
    ) -> DecidedHere | None:
        """Decide a record that another task has forwarded, like one of this partition; None if it neither alerts nor
        ends an alert. ``is_replay``: it is a replayed dead letter, which is decided whatever its age."""
        event = self.decoder.decode(record)
        if event is None or event is TOMBSTONE:
            return None
        if isinstance(event, Poison):
            return DeadLettered(dead_letter=self.poison(event, record))
        assert isinstance(event, SecurityEvent)
        if not event.concerns_alerts:
            return None
        if not event.alertable:
            return None if is_replay else self._end(event, record, store, now)
        if is_replay:
            return self._occurred(event, record, store, now, elsewhere, is_replay=True, is_elsewhere=True)
        return self._alert(event, record, store, now, newest, elsewhere, is_elsewhere=True)

    def home_key(self, event: SecurityEvent, key: bytes | None) -> bytes | None:
        """The bytes that decide which partition an event belongs to: the key of its record or, behind a repartition
        stage, what the stage keys records by."""
        if self.record_key is not None:
            return key
        if "session_id" in self.template.fields:
            return (_session(event) or LACKING).encode()
        return self.template.render(event).encode()

    def home_key_of_record(self, record: Record) -> bytes | None:
        """`home_key` of the event in a record; None if it holds no event that alerts or ends an alert."""
        event = self.decoder.decode(record)
        if not isinstance(event, SecurityEvent) or not event.concerns_alerts:
            return None
        return self.home_key(event, record.key)

    def home_key_of(self, alert: Alert) -> bytes | None:
        """The bytes that decide which partition an alert belongs to; None if they are not known."""
        if self.record_key is not None:
            return home_key_of(alert)
        if "session_id" in self.template.fields:
            return (alert.session_id or LACKING).encode()
        return alert.dedup_key.encode()

    def _alert(
        self,
        event: SecurityEvent,
        record: FetchedRecord,
        store: Store,
        now: Moment,
        newest: float | None,
        ends: RecentEnds | None,
        *,
        is_elsewhere: bool = False,
    ) -> Occurred | DeadLettered:
        if self.max_event_age is not None:
            least = now.wall if newest is None else min(now.wall, newest)
            age = least - event_time(event.time, record.timestamp, least)
            if age > self.max_event_age:
                return DeadLettered(dead_letter=self._stale(event, record, age))
        return self._occurred(event, kept(record), store, now, ends, is_elsewhere=is_elsewhere)

    def replay(self, replay: Replay, store: Store, now: Moment, elsewhere: Elsewhere | None = None) -> Replayed | None:
        """Decide a dead letter again, as if its event came now; None if it does not alert any more.

        Events that only end alerts are not replayed: an end says something about its own time, not about now.
        """
        event = self.decoder.decode(replay.original)
        if isinstance(event, Poison):
            return DeadLettered(dead_letter=self.poison(event, replay.record))
        if not isinstance(event, SecurityEvent) or not event.alertable:
            return None
        if elsewhere is not None and elsewhere.forwards(home_key := self.home_key(event, replay.record.key)):
            return BelongsElsewhere(record=replay.record, home_key=home_key)
        return self._occurred(event, replay.record, store, now, elsewhere, is_replay=True)

    def _occurred(
        self,
        event: SecurityEvent,
        record: Record,
        store: Store,
        now: Moment,
        ends: RecentEnds | None,
        *,
        is_replay: bool = False,
        is_elsewhere: bool = False,
    ) -> Occurred:
        template = self.template
        dedup_key = template.render(event)
        session_id = _session(event) if "session_id" in template.fields else None
        occurrence = Occurrence(
            event.severity, event.time, record, is_replay, is_elsewhere, event.guard, event.tenant_id
        )
        before = store.get(dedup_key)
        integration = before.integration if before is not None else None
        if integration is None:
            integration = self._integration_of(before, event)
        at = now.wall if is_replay else record.timestamp / 1000
        if holding := self.silences.of(event, self.provider.name, at):
            until = {one.id: one.expires_at for one in holding}
            alert = silenced(before, dedup_key, session_id, occurrence, until, now.wall, integration)
            store.hear(alert, now.monotonic)
            return Silenced(
                alert=alert,
                silences=tuple(until),
                news=_newly_held(before, alert, until),
                is_over=ends is not None and _is_over_before(alert, ends),
            )
        alert, outcome = occurred(before, dedup_key, session_id, occurrence, now.wall, self.policy, integration)
        is_over = False
        if ends is not None and _is_over_before(alert, ends) and (ended := over(alert, Ending.SESSION_END)) is not None:
            alert, is_over = ended, True  # it is told, and then it is over
        store.hear(alert, now.monotonic)
        if outcome is Outcome.SUPPRESSED and not is_over:
            return SUPPRESSED
        owed = event if alert.owed is not None and alert.owed.record is record else None
        comes_back = before is not None and before.status is Status.RESOLVING
        if outcome is Outcome.TRIGGERED:
            return Triggered(alert=alert, event=owed, comes_back=comes_back)
        return Counted(alert=alert, event=owed, comes_back=comes_back, is_over=is_over)

    def _integration_of(self, before: Alert | None, event: SecurityEvent) -> str:
        """The integration for an alert that has none: that of its route, where an earlier release has kept only the
        name of a route, else that of the route of its first event. It is decided with the event, not when the trigger
        is sent: after a crash the next owner decides the same, whatever was counted in meanwhile."""
        provider = self.provider
        if before is not None and before.route is not None:
            return provider.integration_of(before.route)
        return provider.integration_of(provider.route_of(event.violation()))

    def route(self, alert: Alert, name: str | None) -> str:
        """A route to the alert's integration: the one of this ``name`` if it leads there. For an alert whose
        integration is not configured: the route of this name if there is one, else a route to the last integration that
        it had, else the default route."""
        integrations, integration = self.integrations, alert.integration
        if integration is None and name is not None and name in integrations.of_route:
            return name
        if integration is None and alert.former:
            integration = alert.former[-1].integration
        return integrations.route(integration, name) or self.provider.routes[0]

    def possibly_told(self, alert: Alert) -> Alert:
        """The alert if an earlier owner may have told it. One that is silenced keeps a route then: whatever ends it,
        that end is told (design section 22)."""
        return possibly_told(alert, self.route(alert, None)) if alert.held is not None else alert

    def key_of(self, record: Record) -> str | None:
        """The dedup key of the event in a record that was decided before; None if it holds none."""
        try:
            return self.template.render(self.decoder.violation_of(record))
        except ValueError:
            return None

    def placed(self, written: Alert) -> Alert:
        """A restored alert with its integration by the configuration of today.

        If it has none any more, what it owes goes through the route of the owed record: every owner of the partition
        finds the same.
        """
        alert, provider = self.integrations.placed(written), self.provider
        owed = alert.owed
        if owed is None or alert.integration is not None:
            return alert
        if alert.route is not None:
            return replace(alert, integration=provider.integration_of(alert.route))
        try:
            violation = self.decoder.violation_of(owed.record)
        except ValueError:
            return alert  # it cannot be sent, and will be dead-lettered
        return replace(alert, integration=provider.integration_of(provider.route_of(violation)))

    def _end(self, event: SecurityEvent, record: FetchedRecord, store: Store, now: Moment) -> Ended:
        at, key = event_time(event.time, record.timestamp, now.wall), self.home_key(event, record.key)
        if event.ends is Ends.SESSION:
            session_id = _session(event)
            ends = store.keys_of_session(session_id)
            return Ended(dedup_keys=ends, end=End(session(session_id), at, key))
        dedup_key = self.template.render(event)
        return Ended(dedup_keys=[dedup_key], end=End(dedup_key, at, key))

    # what is dead-lettered, and why

    def poison(self, poison: Poison, record: FetchedRecord) -> DeadLetter:
        """The dead letter of a record that holds no valid event."""
        text = f"{poison.path}: {poison.reason}" if poison.path else poison.reason
        return self._undecided(
            kept(record), DeadLetterStage.DECODE, poison.error_class, text, poison.event_id, retryable=False
        )

    def _stale(self, event: SecurityEvent, record: FetchedRecord, age: float) -> DeadLetter:
        text = f"{age:.0f} s old, more than the {self.max_event_age:.0f} s of max_event_age"
        return self._undecided(kept(record), DeadLetterStage.STALE, "stale", text, event.event_id, retryable=True)

    def undecidable(self, record: FetchedRecord, error: Exception) -> DeadLettered:
        """The decision on a record with which a fault of this program has raised ``error``: a dead letter that can be
        replayed."""
        text = f"internal error: {type(error).__name__}"
        return DeadLettered(
            dead_letter=self._undecided(
                kept(record), DeadLetterStage.DECIDE, "internal_error", text, None, retryable=True
            )
        )

    def _undecided(
        self,
        record: Record,
        stage: DeadLetterStage,
        error_class: str,
        error: str,
        event_id: str | None,
        *,
        retryable: bool,
    ) -> DeadLetter:
        return DeadLetter(
            record=record,
            provider=self.provider.name,
            stage=stage,
            event_id=event_id,
            error_class=error_class,
            error=error,
            retryable=retryable,
            attempts=0,
            first_attempt=None,
            last_attempt=None,
            occurrences=1,
            first_offset=record.offset,
            last_offset=record.offset,
        )

    def undelivered(
        self, owed: Owed, error_class: str, error: str, event_id: str | None, *, retryable: bool
    ) -> DeadLetter:
        """The dead letter of a trigger that the provider rejected, or that was owed for too long."""
        return DeadLetter(
            record=owed.record,
            provider=self.provider.name,
            stage=DeadLetterStage.DELIVER,
            event_id=event_id,
            error_class=error_class,
            error=error,
            retryable=retryable,
            attempts=owed.attempts,
            first_attempt=owed.first_attempt,
            last_attempt=owed.last_attempt,
            occurrences=owed.occurrences,
            first_offset=owed.first_offset,
            last_offset=owed.last_offset,
        )


def _session(event: SecurityEvent) -> str:
    """The session id as alerts keep it: one that is longer than `LONGEST_SESSION_ID`, as no id of the engine is,
    becomes a digest."""
    session_id = event.session_id
    if len(session_id) <= LONGEST_SESSION_ID:
        return session_id
    return sha256(session_id.encode()).hexdigest()


def kept(record: FetchedRecord) -> Record:
    """The fetched record as a plain `Record`, without what the Kafka client adds."""
    return Record(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
    )


def _is_over_before(alert: Alert, ends: RecentEnds) -> bool:
    """Whether an end that was decided before it, and that is later, has ended the alert."""
    ended_at = ends.ended_at(alert.dedup_key, alert.session_id)
    return ended_at is not None and is_over_by(alert, ended_at)


def _newly_held(before: Alert | None, alert: Alert, silences: Mapping[str, float]) -> tuple[str, ...]:
    """Those of the silences that hold something of the alert for the first time."""
    held = None if before is None else before.held
    if alert.held is held:
        return ()
    known = () if held is None else [silence_id for silence_id, _ in held.silences]
    return tuple(silence_id for silence_id in silences if silence_id not in known)
