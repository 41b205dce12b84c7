"""The life of an alert, as pure functions (design section 8).

Each function takes the alert as it is (None: there is none), an input and the time, and returns the alert as it is
afterwards (None: gone). No I/O and no clock: ``now`` is wall-clock time in seconds since the epoch. An `Alert` is a
value and never changes. So "the alert exactly as it was" means the same object, and callers compare by identity.

``state/alert`` knows nothing of requests on the wire, checkpoints or caught-up partitions; whoever calls
`resolve_answered` or sends what `due` says keeps those rules (design section 6).
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from math import inf, nextafter

from msgspec import Struct
from msgspec.structs import replace

from state.shared import shared
from state.violation import Record, Severity

EARLIEST = 1_420_070_400.0
"""2015-01-01 in seconds since the epoch. An earlier time counts as absent: it is 0, or somebody wrote seconds where
milliseconds were meant (design section 8)."""

ELSEWHERE = -1
"""Stands for the offset of an event of another partition: below all offsets of this one. So a trigger that is owed for
such an event counts as inherited, as it should: an earlier owner of the key's home may have sent it."""

LONGEST_NAME = 128
"""How many characters of a guard's or a tenant's name an alert keeps. Events are hostile and can have any name."""

LONGEST_ERROR = 160
"""How many characters of the text of a failed attempt an alert keeps."""

SOURCES = 8192
"""How many `Source` values are cached (`source`). Alerts whose sources are equal share one of them."""


class Status(Enum):
    """The status of an alert. There is none for "gone": an alert that is gone does not exist."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVING = "resolving"

    __hash__ = object.__hash__  # Enum's own is written in Python and slow, and alerts are counted by status


class Ending(Enum):
    """What ended an alert."""

    QUIET = "quiet"
    """It had no occurrence for `Policy.quiet_seconds`."""
    SESSION_END = "session_end"
    """An event said so: the end of its session, or an event that matches a rule of ``auto_resolve.on_events``."""
    OPERATOR = "operator"
    """An operator's command resolved it."""
    PROVIDER = "provider"
    """Somebody has said so at the provider."""
    SILENCE = "silence"
    """All of its occurrences were silenced, and it was over when the silences ended."""


class Outcome(Enum):
    """What became of an occurrence."""

    TRIGGERED = "triggered"
    """The alert now owes a trigger because of the occurrence."""
    COUNTED = "counted"
    """The occurrence was counted into a trigger that was owed already."""
    SUPPRESSED = "suppressed"
    """The occurrence was counted into an alert that the provider has; nothing new is owed."""
    SILENCED = "silenced"
    """A silence keeps the occurrence silent; nothing new is owed."""


# For `occurred`, which asks at every event: to look a member up takes as long as a call.
_OPEN, _ACKNOWLEDGED, _RESOLVING = Status
_TRIGGERED, _COUNTED, _SUPPRESSED = Outcome.TRIGGERED, Outcome.COUNTED, Outcome.SUPPRESSED


class Due(Enum):
    """The notification that an alert owes the provider next."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    RESOLVE_FORMER = "resolve_former"
    """The resolve of an incident at an integration that the alert has left."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The times of one pipeline: the configuration's ``deduplication``, ``auto_resolve`` and ``forget_after``.

    All are in seconds. ``quiet_seconds`` is None where no alert is resolved by quiet.
    """

    window_seconds: float
    renotify_seconds: float
    quiet_seconds: float | None
    forget_seconds: float


class Owed(Struct, frozen=True, gc=False):
    """A trigger that was decided and that the provider has not accepted yet, with all occurrences counted into it.

    ``record`` is the record that is sent, kept and dead-lettered: that of the highest severity, the first on a tie.
    ``since`` is when the trigger came to be owed. ``repeat``: the trigger was accepted, but is sent once more because
    a resolve with an unknown answer may have landed after it (design section 6.7). ``pins_offset`` is the input offset
    that the group's offset must not pass while the trigger is owed: that of the first counted event that came from the
    input. A replayed dead letter pins nothing, as the group passed its offset long ago; if only replays were counted,
    ``pins_offset`` is None.

    ``guard`` and ``tenant`` are those of the record, at most `LONGEST_NAME` characters of each. ``last_error`` says why
    the last attempt failed, without secrets and in at most `LONGEST_ERROR` characters (None: no attempt failed).
    ``last_status`` is the provider's HTTP status (None: there was no answer). All four are None in the state of a
    release that did not keep them.
    """

    record: Record
    severity: Severity
    since: float
    first_offset: int
    last_offset: int
    occurrences: int = 1
    attempts: int = 0
    first_attempt: float | None = None
    last_attempt: float | None = None
    repeat: bool = False
    pins_offset: int | None = None
    guard: str | None = None
    tenant: str | None = None
    last_status: int | None = None
    last_error: str | None = None


class Source(Struct, frozen=True, gc=False):
    """The facts of a told event that it shares with very many others: its guard, its tenant (None: the event names
    none), and the partition of its record. ``guard`` is None if a release told the event that did not keep it."""

    guard: str | None
    tenant: str | None
    topic: str
    partition: int


@lru_cache(maxsize=SOURCES)
def source(guard: str | None, tenant: str | None, topic: str, partition: int) -> Source:
    """A source. Alerts whose sources are equal share one object, as there can be a million alerts."""
    return Source(guard, tenant, topic, partition)


class Notified(Struct, frozen=True, gc=False):
    """What the provider was told: the highest severity, and when it was told last, by our clock (``at``) and by its own
    (``date``, None if its answer did not say). An update that was rejected counts as told (`trigger_refused`).

    ``offset`` is that of the record of the event, in the partition that `Alert.source` names; ``occurrences`` is how
    many there had been when the answer was heard (None: by a release that did not keep it).

    ``left`` is a time by the provider's clock. An incident that was opened before it may be one that the alert has left
    at another integration (None: the alert has left none).

    ``sent_at`` is when the request left that was accepted, by our clock; the provider's ``date`` is not older than that
    (None: by a release that did not keep it).
    """

    severity: Severity
    at: float
    date: float | None = None
    offset: int | None = None
    occurrences: int | None = None
    left: float | None = None
    sent_at: float | None = None


class Former(Struct, frozen=True, gc=False):
    """An integration that an alert has left, and that may still have an incident of it which is not resolved: the
    integration's digest, and the name that its route had then. The digest is None in the state of a release that kept
    the name only.

    ``until_over``: the incident is resolved only when the problem is over. If both integrations are of one account, the
    provider has one alert for both, and an earlier resolve would end the live one."""

    integration: str | None
    route: str
    until_over: bool = False

    def __str__(self) -> str:
        return f"{self.route} ({self.integration or 'key unknown'})"


class Heard(Struct, frozen=True, gc=False):
    """What the provider has said of an alert (`state.provider_feedback`).

    ``at`` is the provider's time of the last feedback applied: what is older is ignored (None: none was). ``incident``
    is the provider's id of the incident that it was about, if it said. ``sent_resolve``: since the last accepted
    trigger a resolve was sent about an incident that the alert has left, whose echo is to end nothing. ``repeated`` is
    how many occurrences there had been when a resolve was doubted, and the trigger came to be repeated because of that
    (None: none was). While there are no more of them, the next resolve of that kind is believed.
    """

    at: float | None = None
    incident: str | None = None
    sent_resolve: bool = False
    repeated: int | None = None


NOTHING_HEARD = Heard()


class LastStep(Struct, frozen=True, gc=False):
    """The last step of an alert that its history tells (design section 21): when that was, in seconds since the epoch,
    and how many occurrences there had been."""

    at: float
    occurrences: int


class Held(Struct, frozen=True, gc=False):
    """The silenced occurrences of an alert since its provider was told last (`state.silenced`).

    ``silences`` are the ids of the silences that the occurrences fell under, each with the end that it had then, in
    seconds since the epoch. ``severity``, ``time`` (event time), ``source`` and ``offset`` are those of the worst of
    the occurrences, the first on a tie: its record is read again from its place once it is owed. The other fields are
    as those of `Alert` and `Owed`, of these occurrences only. While the alert is resolving, its own do not count them.

    ``last_at`` is when the last of them occurred, by the event's own time or that of its record, whichever is earlier:
    no clock of this service is in it.
    """

    silences: tuple[tuple[str, float], ...]
    severity: Severity
    time: float
    source: Source
    offset: int
    first_offset: int
    last_offset: int
    first_seen: float
    last_seen: float
    decided: float
    last_at: float
    occurrences: int = 1


class Alert(Struct, frozen=True, gc=False):
    """What this service knows about one dedup key at one provider.

    ``first_seen`` and ``last_seen`` are event times; ``decided`` is when the last occurrence was decided, by the wall
    clock. ``route`` is None until a trigger may have reached the provider. ``is_at_provider``: the provider has the
    alert, as it accepted a trigger since the alert last was resolving. ``unsettled``: a resolve whose answer is not
    known may still land. ``acknowledging``: an operator's command acknowledged the alert, and the provider is owed an
    acknowledge.

    ``session_id`` is the session in the dedup key, where the key template names one. ``failed`` counts the failed
    attempts of the acknowledge or resolve that is due (those of a trigger are in ``owed``). ``overflow`` is the
    severity of a trigger that was dead-lettered because its integration owed too much: the alert counts on, and is told
    again when there is room.

    ``integration`` is the digest of the integration (key and host) that the alert's first event decided on. By it the
    alert's incident is found whatever the route is called (None: not decided yet, or written by a release that kept the
    name only). ``former`` are integrations that the alert has left and where an incident of it may still be open;
    ``orphans`` are such integrations whose key is not configured at all, which each owner finds out anew (design
    section 18).

    ``key`` is the record key of the last occurrence, by which its producer chose the partition: empty if the record had
    none, None if it is the session's id, as most are (or in the state of a release that did not keep it). ``ended_by``
    is what ended the alert, while it is resolving (None: not known, as in the state of a release that did not keep it).

    ``begun`` tells this life of the key from others. It is the moment when the occurrence was decided that opened the
    alert, or that opened it again while it was resolving. It is only compared for equality, so a wrong clock does no
    harm (None: written by a release that did not keep it).

    ``source`` is the source of the event in ``last_notified``; where that is None, of the event that was told, or
    dead-lettered, before. It decides nothing: it is kept for people. The source of the owed event is in ``owed``.

    ``heard`` is what has come back from the provider (None: nothing, or by a release that did not keep it).

    ``last_step`` is the last step that the history tells (None: that it has begun, or none is told: `last_step_of`).

    ``held`` are the silenced occurrences since the provider was told last (None: there are none). They are no debt:
    nothing is due because of them (design section 22).
    """

    dedup_key: str
    status: Status
    session_id: str | None
    occurrences: int
    first_seen: float
    last_seen: float
    decided: float
    highest: Severity
    route: str | None = None
    last_notified: Notified | None = None
    is_at_provider: bool = False
    unsettled: bool = False
    owed: Owed | None = None
    acknowledging: bool = False
    failed: int = 0
    overflow: Severity | None = None
    integration: str | None = None
    former: tuple[Former, ...] = ()
    orphans: tuple[Former, ...] = ()
    key: bytes | None = None
    ended_by: Ending | None = None
    source: Source | None = None
    begun: float | None = None
    heard: Heard | None = None
    last_step: LastStep | None = None
    held: Held | None = None


class Occurrence(Struct, frozen=True, gc=False):
    """One alertable event: its severity, its event time, and the record that it came in, from the input or a replay.

    ``is_elsewhere``: the record is of another partition, whose task forwarded it. ``guard`` and ``tenant`` are the
    event's.
    """

    severity: Severity
    time: float
    record: Record
    is_replay: bool = False
    is_elsewhere: bool = False
    guard: str | None = None
    tenant: str | None = None

    @property
    def offset(self) -> int:
        """The record's offset; `ELSEWHERE` if the record is of another partition."""
        return ELSEWHERE if self.is_elsewhere else self.record.offset

    @property
    def pins_offset(self) -> int | None:
        """The offset that the group's offset must not pass while this event is owed; None if it holds nothing."""
        return None if self.is_replay or self.is_elsewhere else self.record.offset


def occurred(
    alert: Alert | None,
    dedup_key: str,
    session_id: str | None,
    occurrence: Occurrence,
    now: float,
    policy: Policy,
    integration: str | None = None,
) -> tuple[Alert, Outcome]:
    """Count an alertable event into the alert of its dedup key, or open that. ``integration`` is the digest of the
    integration that a new alert gets; an alert that has one already keeps its own.

    Silenced occurrences that nobody was told of are counted into what is owed now. The severity is the event's: that of
    what is silenced is not sent."""
    severity, time = occurrence.severity, event_time(occurrence.time, occurrence.record.timestamp, now)
    owed: Owed | None
    if alert is None:
        key = of_record_key(occurrence.record, session_id)
        owed = _owe(occurrence, now)
        fresh = Alert(
            dedup_key, _OPEN, session_id, 1, time, time, now, severity,
            owed=owed, integration=integration, key=key, begun=now,
        )  # fmt: skip
        return fresh, _TRIGGERED

    held = None
    if alert.held is not None:
        held, alert = untold(alert), with_held_counted(alert)
    told, owed_before = alert.last_notified, alert.owed
    # A clock that was ahead, this one or an earlier owner's, must not keep the alert from being told again.
    if told is not None and told.at > now:
        told = replace(told, at=now)
    last_seen = alert.last_seen if alert.last_seen <= now else now
    outcome, status, unsettled, begun = _TRIGGERED, alert.status, alert.unsettled, alert.begun
    if status is _RESOLVING:
        begun = now if now != begun else nextafter(now, inf)
        # A resolve may be on the wire, of this task or of a dead owner's: only its answer says whether it landed.
        status, unsettled = _OPEN, unsettled or (owed_before is None and may_be_resolved(alert))
        if owed_before is None:
            owed = _owe(occurrence, now)
        else:
            outcome, owed = _COUNTED, _count(owed_before, occurrence)
    elif owed_before is not None and not owed_before.repeat:
        outcome, owed = _COUNTED, _count(owed_before, occurrence)
    elif (
        told is None
        or severity > told.severity
        or (status is _OPEN and (now - told.at >= policy.renotify_seconds or time - last_seen > policy.window_seconds))
    ):
        owed = _owe(occurrence, now)
    else:
        outcome, owed = _SUPPRESSED, owed_before
    if status is _ACKNOWLEDGED and told is None and alert.route is None:
        status = _OPEN  # what a person acknowledged is an incident that the alert has left
    if held is not None and owed is not None:
        owed = with_held(owed, held)
    if owed_before is not None and owed_before.repeat and owed is not owed_before:
        unsettled = True  # the resolve that made the repeat necessary may still land after the new trigger

    return Alert(
        dedup_key,
        status,
        alert.session_id,
        alert.occurrences + 1,
        alert.first_seen if alert.first_seen <= time else time,
        last_seen if last_seen >= time else time,
        now,
        alert.highest if alert.highest >= severity else severity,
        alert.route,
        told,
        alert.is_at_provider,
        unsettled,
        owed,
        alert.acknowledging,
        alert.failed if status is alert.status else 0,
        alert.overflow,
        integration if alert.integration is None else alert.integration,
        alert.former,
        alert.orphans,
        of_record_key(occurrence.record, alert.session_id),
        None,
        alert.source,
        begun,
        alert.heard,
        alert.last_step,
        held if owed is None else None,
    ), outcome


def restored(alert: Alert, now: float) -> Alert:
    """The alert as a new owner takes it: a time in the future becomes ``now`` (an earlier owner's clock was ahead)."""
    told, owed = alert.last_notified, alert.owed
    if told is not None and told.at > now:
        told = replace(told, at=now)
    if owed is not None and owed.since > now:
        owed = replace(owed, since=now)
    held = alert.held
    if held is not None and (held.decided > now or held.last_seen > now):
        held = replace(
            held,
            first_seen=min(held.first_seen, now),
            last_seen=min(held.last_seen, now),
            decided=min(held.decided, now),
        )
    is_same = told is alert.last_notified and owed is alert.owed and held is alert.held
    if is_same and alert.decided <= now and alert.last_seen <= now:
        return alert
    return replace(
        alert,
        first_seen=min(alert.first_seen, now),
        last_seen=min(alert.last_seen, now),
        decided=min(alert.decided, now),
        last_notified=told,
        owed=owed,
        held=held,
    )


def over(alert: Alert, ended_by: Ending | None = None) -> Alert | None:
    """The threat is over, for the reason ``ended_by`` (None: not known). A trigger that is still owed is sent before
    the resolve.

    Returns None if the alert is gone: no notification of it can have reached the provider (its trigger was
    dead-lettered unsent, or it was silenced), or it has incidents only where no configured key reaches them.
    """
    if alert.status is Status.RESOLVING:
        return with_held_over(alert)
    owed = alert.owed
    if owed is not None and owed.repeat:
        owed = None  # the repeat was to keep the incident open
    if owed is None and alert.route is None and not alert.former:
        return None
    return replace(
        alert,
        status=Status.RESOLVING,
        is_at_provider=False,
        owed=owed,
        acknowledging=False,
        failed=0,
        ended_by=ended_by,
        held=None,
    )


def acknowledge(alert: Alert) -> Alert:
    """An operator's command acknowledges the alert: the provider is owed an acknowledge. Only an open alert changes,
    and none that is silenced: the provider has nothing of it to acknowledge."""
    if alert.status is not Status.OPEN or alert.acknowledging or is_silenced(alert):
        return alert
    return replace(alert, acknowledging=True, failed=0)


def due(alert: Alert) -> Due | None:
    """The notification that the alert owes next, None if it owes none. The caller sends a resolve only if a committed
    checkpoint holds the alert exactly as it is (design section 6.6).

    An incident at an integration that the alert has left is resolved once the alert has another incident, or is over;
    with `Former.until_over` only once the alert is over.
    """
    if alert.owed is not None:
        return Due.TRIGGER
    is_over = alert.status is Status.RESOLVING
    if is_over and (alert.route is not None or not alert.former):
        return Due.RESOLVE
    if alert.acknowledging:
        return Due.ACKNOWLEDGE
    return Due.RESOLVE_FORMER if former_due(alert) is not None else None


def former_due(alert: Alert) -> Former | None:
    """The first integration that the alert has left and whose incident may be resolved now; None if there is none."""
    if alert.status is Status.RESOLVING:
        return alert.former[0] if alert.former else None
    return next((one for one in alert.former if not one.until_over), None) if alert.is_at_provider else None


def trigger_accepted(
    alert: Alert, sent: Owed, route: str, date: float | None, now: float, sent_at: float | None = None
) -> Alert:
    """The provider has accepted the trigger that was ``sent`` at ``sent_at``, by our clock.

    Occurrences that were counted while the request was on the wire are suppressed into the alert that the provider now
    has, unless one is of higher severity than the sent trigger: then a trigger of that severity is owed.
    """
    resolving, heard = alert.status is Status.RESOLVING, alert.heard
    severity = (
        sent.severity
        if alert.last_notified is None or not alert.is_at_provider
        else max(alert.last_notified.severity, sent.severity)
    )
    unsettled, left = alert.unsettled, _never_sent(alert.owed, sent)
    if left is None and unsettled and not resolving:
        left, unsettled = replace(sent, since=now, attempts=0, repeat=True, last_status=None, last_error=None), False
    return replace(
        alert,
        route=route,
        last_notified=Notified(severity, now, date, sent.record.offset, alert.occurrences, _left(alert, date), sent_at),
        is_at_provider=not resolving,
        unsettled=unsettled,
        owed=left,
        overflow=None,
        source=_source_of(sent),
        heard=replace(heard, sent_resolve=False) if heard is not None and heard.sent_resolve else heard,
        held=alert.held if resolving else None,
    )


def _left(alert: Alert, date: float | None) -> float | None:
    """`Notified.left` of the alert, one of whose triggers was accepted at ``date``: that of the first trigger that its
    integration has accepted, where the alert has left an incident at another."""
    if alert.last_notified is not None:
        return alert.last_notified.left
    return date if any(not one.until_over for one in (*alert.former, *alert.orphans)) else None


def owes(alert: Alert, sent: Owed) -> bool:
    """Whether the alert still owes the trigger that was ``sent``, with whatever has been counted into it since.

    False also if the sent trigger was accepted or given up meanwhile and the alert owes a newer one: an answer to the
    sent trigger is no answer to that."""
    return alert.owed is not None and alert.owed.since == sent.since


def trigger_attempted(
    alert: Alert, route: str, unknown: bool, now: float, status: int | None = None, error: str | None = None
) -> Alert:
    """An attempt to send the owed trigger was not accepted: because of ``error`` (without secrets, at most
    `LONGEST_ERROR` characters), and with the HTTP ``status`` if there was an answer.

    ``unknown``: the request may still land. Then the alert stays with this route, if it has none yet.
    """
    owed = alert.owed
    if owed is not None:
        first_attempt = now if owed.first_attempt is None else owed.first_attempt
        owed = replace(
            owed,
            attempts=owed.attempts + 1,
            first_attempt=first_attempt,
            last_attempt=now,
            last_status=status,
            last_error=None if error is None else shared(error),  # in an outage all alerts have the same error
        )
    return replace(alert, route=route if unknown and alert.route is None else alert.route, owed=owed)


def trigger_refused(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    """The trigger that was ``sent``, and that the alert still `owes`, was rejected or is given up. Returns the alert
    afterwards, and what to dead-letter.

    Occurrences that were counted meanwhile go into the dead letter, unless they are of higher severity: that severity
    was never sent and stays owed.

    Where the provider has the alert, the trigger was an update of it. The alert then counts as told at that severity
    until it is due to be told again; else each further event would make one more dead letter.

    Where the provider may have an incident that we do not know of, the alert stays (design section 8): the next event
    triggers anew, and the end of the threat is told, so that no incident stays open.
    """
    owed, left = alert.owed, _never_sent(alert.owed, sent)
    assert owed is not None
    if left is None:
        dead = replace(owed, record=sent.record)
    else:
        attempts = owed.attempts, owed.first_attempt, owed.last_attempt
        dead = replace(sent, attempts=attempts[0], first_attempt=attempts[1], last_attempt=attempts[2])
    # Where a resolve may still land, it is not known whether the provider has the alert, and no trigger is repeated.
    if left is not None or (alert.is_at_provider and not alert.unsettled):
        told = alert.last_notified
        if alert.is_at_provider and told is not None:
            told = replace(told, severity=max(told.severity, sent.severity), at=now)
        return replace(alert, owed=left, last_notified=told, source=_source_without(alert, sent)), dead
    if alert.route is not None:
        return replace(
            alert, owed=None, last_notified=None, is_at_provider=False, source=_source_of(sent), held=untold(alert)
        ), dead
    # No sent trigger can have arrived; but integrations that the alert has left may have incidents of it.
    if alert.former or (alert.orphans and alert.status is not Status.RESOLVING):
        source, held = _source_of(sent), untold(alert)
        return replace(
            alert, owed=None, last_notified=None, is_at_provider=False, integration=None, source=source, held=held
        ), dead
    return _left_silenced(alert), dead


def overflowed(alert: Alert) -> Alert | None:
    """Take the owed trigger from the alert, for want of room: it was dead-lettered to make room, or found none.

    The alert stays, marked by ``overflow``, and counts on. Returns None if the alert is gone: it was resolving, and
    this trigger was all that it had to tell.
    """
    assert alert.owed is not None
    if alert.status is Status.RESOLVING and alert.route is None and not alert.former:
        return _left_silenced(alert)
    severity = alert.owed.severity
    if alert.overflow is not None and alert.overflow > severity:
        severity = alert.overflow
    return replace(alert, owed=None, overflow=severity, source=_source_without(alert, alert.owed))


def needs_room(alert: Alert) -> bool:
    """Whether the trigger that the alert owes may stay owed only if its route has room: an earlier trigger of the alert
    was dead-lettered for want of room, and this one is of no higher severity."""
    return alert.owed is not None and alert.overflow is not None and alert.owed.severity <= alert.overflow


def attempted(alert: Alert) -> Alert:
    """An attempt to send the acknowledge or resolve that is due was not accepted."""
    return replace(alert, failed=alert.failed + 1)


def resolve_answered(alert: Alert, sent: Alert) -> Alert | None:
    """The provider has accepted or rejected a resolve; ``sent`` is the alert as it was when the resolve left.

    The answer ends the alert (None) only if the alert has not changed since, and has no open incident at an integration
    that it has left. Silenced occurrences are no change: they are what is left of the alert.
    """
    if alert is not sent and not is_changed_by_silence_only(alert, sent):
        return replace(alert, unsettled=False)
    if alert.former:
        return replace(alert, route=None, integration=None, last_notified=None, is_at_provider=False, failed=0)
    return _left_silenced(alert)


def is_changed_by_silence_only(alert: Alert, before: Alert) -> bool:
    """Whether the alert has had silenced occurrences since it was as ``before``, or has lost them, and nothing else."""
    return alert.held is not before.held and replace(alert, held=before.held, key=before.key) == before


def former_answered(alert: Alert, integration: str | None) -> Alert | None:
    """The provider has accepted or rejected the resolve of the incident at this ``integration``, which the alert has
    left. Returns None if that was the last thing that the alert had to tell."""
    former = tuple(one for one in alert.former if one.integration != integration)
    if not former and alert.status is Status.RESOLVING and alert.owed is None and alert.route is None:
        return _left_silenced(replace(alert, former=()))
    return replace(alert, former=former, failed=0, heard=_with_resolve_sent(alert))


def former_attempted(alert: Alert) -> Alert:
    """An attempt to resolve the incident at an integration that the alert has left was not accepted: the others come
    first next time."""
    tried = former_due(alert)
    others = tuple(one for one in alert.former if one is not tried)
    former = others if tried is None else (*others, tried)
    return replace(alert, former=former, failed=alert.failed + 1, heard=_with_resolve_sent(alert))


def departed(alert: Alert, left: Former | None) -> Alert:
    """The alert leaves its integration. ``left`` is that integration if it may have an incident of the alert, or None.

    For the integration that the alert gets next, the alert is new. What was silenced while the provider had it was
    counted into what it had.
    """
    status, owed, unsettled = alert.status, alert.owed, False
    if left is not None and left.until_over:  # a resolve on the wire may end the alert that the next trigger opens
        unsettled = alert.unsettled or (owed is not None and owed.repeat)
    if owed is not None:
        status = Status.OPEN if status is Status.ACKNOWLEDGED else status
        owed = replace(owed, attempts=0, repeat=False, last_status=None, last_error=None)
    return replace(
        alert,
        status=status,
        route=None,
        integration=None,
        last_notified=None,
        is_at_provider=False,
        unsettled=unsettled,
        owed=owed,
        failed=0,
        former=alert.former if left is None else (*alert.former, left),
        held=untold(alert),
    )


def returned(alert: Alert, former: Former) -> Alert:
    """The alert, which has no integration, goes back to one that it had left.

    A resolve whose answer is not known may still land there, so the alert is unsettled.
    """
    return replace(
        alert,
        route=former.route,
        integration=former.integration,
        unsettled=True,
        former=tuple(one for one in alert.former if one is not former),
    )


def acknowledge_answered(alert: Alert, accepted: bool) -> Alert:
    """The provider has accepted or rejected an acknowledge. After a rejection the acknowledge is dropped, and the alert
    is open as before.

    An alert that was over meanwhile owes no acknowledge any more, and the answer changes nothing.
    """
    if not alert.acknowledging:
        return alert
    return replace(alert, status=Status.ACKNOWLEDGED if accepted else alert.status, acknowledging=False, failed=0)


def last_step_of(alert: Alert) -> LastStep:
    """The last step of the alert. Of one that has only begun nothing is kept: its first event was the step."""
    if alert.last_step is not None:
        return alert.last_step
    return LastStep(alert.first_seen if alert.begun is None else alert.begun, 1)


def is_new_problem(alert: Alert) -> bool:
    """Whether the trigger that the alert owes tells something new: a problem that the provider may not have, or a
    higher severity. After a resolve that may have landed, the provider may not have the problem any more.
    """
    owed, told = alert.owed, alert.last_notified
    assert owed is not None
    return not alert.is_at_provider or alert.unsettled or owed.repeat or told is None or owed.severity > told.severity


def is_silenced(alert: Alert) -> bool:
    """Whether silences are all that keeps the alert from being told: the provider has nothing of it, and is owed
    nothing."""
    return (
        alert.held is not None
        and alert.owed is None
        and not alert.is_at_provider
        and alert.status is not Status.RESOLVING
    )


def untold(alert: Alert) -> Held | None:
    """The silenced occurrences of the alert that are in no trigger and in nothing that the provider has. Where it has
    the alert, they count into that: whatever takes the alert from it leaves none that anybody still has to be told of.
    """
    return None if alert.is_at_provider else alert.held


def with_held_counted(alert: Alert) -> Alert:
    """The alert without its silenced occurrences, which count as its own from now on."""
    held = alert.held
    if held is None or alert.status is not Status.RESOLVING:
        return replace(alert, held=None)
    return replace(
        alert,
        occurrences=alert.occurrences + held.occurrences,
        first_seen=min(alert.first_seen, held.first_seen),
        last_seen=max(alert.last_seen, held.last_seen),
        decided=max(alert.decided, held.decided),
        held=None,
    )


def with_held_over(alert: Alert) -> Alert:
    """The alert, whose silenced occurrences are over: they count into the trigger that it owes; if none, they are gone.
    Their severity is not sent."""
    held, owed = alert.held, alert.owed
    if held is None:
        return alert
    if owed is None or owed.repeat:
        return replace(alert, held=None)
    return replace(with_held_counted(alert), owed=with_held(owed, held))


def with_held(owed: Owed, held: Held) -> Owed:
    """What is owed, with silenced occurrences counted in that nobody was told of. They hold no offset."""
    return replace(
        owed,
        first_offset=min(owed.first_offset, held.first_offset),
        last_offset=max(owed.last_offset, held.last_offset),
        occurrences=owed.occurrences + held.occurrences,
    )


def event_time(time: float, timestamp: int, now: float) -> float:
    """When an event occurred, in seconds since the epoch: the smallest of the event's own ``time``, its record's
    ``timestamp`` (in milliseconds) and ``now``. A time before `EARLIEST` counts as absent (design section 8).

    A timestamp stands for its whole millisecond: it does not make two events of that millisecond simultaneous."""
    earliest = now
    if EARLIEST <= time < earliest:
        earliest = time
    if EARLIEST <= timestamp / 1000 < earliest and (timestamp + 1) / 1000 <= earliest:
        earliest = timestamp / 1000
    return earliest


def is_over_by(alert: Alert, end: float) -> bool:
    """Whether an end of this event time, which was decided before the alert's last occurrence, has ended the alert: all
    its occurrences are earlier. If the alert is resolving, whether it has ended what was silenced since.

    No time of an alert is later than the clock by which it was decided. That can be far behind, and then the occurrence
    may be later than it seems: a live problem must not look over.
    """
    if alert.status is Status.RESOLVING:
        if alert.held is None:
            return False
        alert = with_held_counted(alert)
    return alert.last_seen < min(end, alert.decided)


def _left_silenced(alert: Alert) -> Alert | None:
    """What is left of an alert whose incidents have ended: its silenced occurrences, which are another life of its key;
    None if it has none."""
    held = alert.held
    if held is None:
        return None
    return Alert(
        alert.dedup_key,
        Status.OPEN,
        alert.session_id,
        held.occurrences,
        held.first_seen,
        held.last_seen,
        held.decided,
        held.severity,
        orphans=alert.orphans,
        key=alert.key,
        begun=held.decided if held.decided != alert.begun else nextafter(held.decided, inf),
        held=held,
    )


def _with_resolve_sent(alert: Alert) -> Heard:
    return replace(alert.heard or NOTHING_HEARD, sent_resolve=True)


def may_be_resolved(alert: Alert) -> bool:
    """Whether a resolve of this alert that may still land would end what the next trigger opens. A resolve at an
    integration that the alert has left does not, unless both integrations may have the same alert."""
    return alert.route is not None or any(one.until_over for one in alert.former)


def of_record_key(record: Record, session_id: str | None) -> bytes | None:
    key = record.key or b""
    return None if session_id is not None and key == session_id.encode() else key


def _owe(occurrence: Occurrence, now: float) -> Owed:
    offset = occurrence.offset
    return Owed(
        occurrence.record, occurrence.severity, now, offset, offset,
        pins_offset=occurrence.pins_offset, guard=kept_name(occurrence.guard), tenant=kept_name(occurrence.tenant),
    )  # fmt: skip


def kept_name(name: str | None) -> str | None:
    """A guard's or a tenant's name as an alert keeps it: at most `LONGEST_NAME` characters, and one object for all
    alerts that have it, as few names have very many alerts."""
    if name is None:
        return None
    return shared(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def _source_of(owed: Owed) -> Source:
    """The source of the event in an owed trigger."""
    return source(owed.guard, owed.tenant, owed.record.topic, owed.record.partition)


def _source_without(alert: Alert, untold: Owed) -> Source | None:
    """The source that the alert keeps once it no longer owes ``untold``, which the provider did not accept."""
    return alert.source if alert.last_notified is not None else _source_of(untold)


def _never_sent(owed: Owed | None, sent: Owed) -> Owed | None:
    """What is owed besides ``sent``: occurrences of a higher severity that came while ``sent`` was on the wire."""
    if owed is None or owed.severity <= sent.severity:
        return None
    if owed.first_offset <= sent.last_offset:  # else it replaced a repeat, whose occurrences it does not count
        owed = replace(
            owed,
            first_offset=sent.last_offset + 1,
            pins_offset=None if owed.pins_offset is None else max(owed.pins_offset, sent.last_offset + 1),
            occurrences=max(1, owed.occurrences - sent.occurrences),
        )
    return replace(owed, attempts=0, first_attempt=None, last_attempt=None, last_status=None, last_error=None)


def _count(owed: Owed, occurrence: Occurrence) -> Owed:
    higher = occurrence.severity > owed.severity
    offset, holds = occurrence.offset, owed.pins_offset
    if holds is None:
        holds = occurrence.pins_offset
    return Owed(
        occurrence.record if higher else owed.record,
        occurrence.severity if higher else owed.severity,
        owed.since,
        owed.first_offset if owed.first_offset <= offset else offset,
        owed.last_offset if owed.last_offset >= offset else offset,
        owed.occurrences + 1,
        owed.attempts,
        owed.first_attempt,
        owed.last_attempt,
        owed.repeat,
        holds,
        kept_name(occurrence.guard) if higher else owed.guard,
        kept_name(occurrence.tenant) if higher else owed.tenant,
        owed.last_status,
        owed.last_error,
    )
