"""The life of an alert, as pure functions (design section 8).

Each takes the alert as it is (None: there is none), an input and the time, and gives the alert as it is afterwards
(None: gone). No I/O and no clock: ``now`` is wall-clock time in seconds since the epoch. An `Alert` is a value and
never changes, so "the alert exactly as it was" is the same object, and that is how it is compared.

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
"""2015-01-01 in seconds since the epoch: a time before it is none (0, or seconds where milliseconds are meant)."""

ELSEWHERE = -1
"""The offset of what is owed because of events of another partition: before all of this one. So it counts as inherited,
which it is: who owned the key's home before may have sent it."""

LONGEST_NAME = 128
"""Characters of a guard's or a tenant's name that an alert keeps. Events are hostile, and name what they like."""

LONGEST_ERROR = 160
"""Characters of the text of a failed attempt that an alert keeps."""

SOURCES = 8192
"""How many sources are remembered, each of which is one value then (`source`)."""


class Status(Enum):
    """What an alert is; an alert that is gone is no alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVING = "resolving"

    __hash__ = object.__hash__  # that of an Enum is a function in Python, and alerts are counted by their status


class Ending(Enum):
    """What an alert was ended by."""

    QUIET = "quiet"
    """Nothing of it had occurred for `Policy.quiet_seconds`."""
    SESSION_END = "session_end"
    """An event said that its session is over."""
    OPERATOR = "operator"
    """Somebody has said so here."""
    PROVIDER = "provider"
    """Somebody has said so at the provider."""


class Outcome(Enum):
    """What became of an occurrence."""

    TRIGGERED = "triggered"
    """A trigger is owed because of it."""
    COUNTED = "counted"
    """It was counted into a trigger that is owed already."""
    SUPPRESSED = "suppressed"
    """It was counted into an alert that the provider has."""


class Due(Enum):
    """What is to be said to the provider next."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    RESOLVE_FORMER = "resolve_former"
    """The resolve of an incident at an integration that the alert has left."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How alerts of one pipeline live: the configuration's ``deduplication``, ``auto_resolve`` and ``forget_after``.

    All in seconds. ``quiet_seconds`` is None where quiet resolves nothing.
    """

    window_seconds: float
    renotify_seconds: float
    quiet_seconds: float | None
    forget_seconds: float


class Owed(Struct, frozen=True, gc=False):
    """A trigger that was decided and that the provider has not accepted yet, with all occurrences counted into it.

    ``record`` is the one that is sent, kept and dead-lettered: of the highest severity, the first on a tie.
    ``since`` is when it came to be owed. ``repeat`` marks one that was accepted, but to be said once more because
    a resolve with an unknown answer may have landed after it (design section 6.7). ``holds`` is the input offset that
    the group's offset must not pass because of it: of the first event counted into it that came from the input. A
    replayed dead letter was passed long ago and holds nothing; only replays counted, it is None.

    ``guard`` and ``tenant`` are those of the record, at most `LONGEST_NAME` characters of each (no guard: the state of
    a release that did not keep it). ``last_error`` is why the last attempt has failed, without secrets and at most
    `LONGEST_ERROR` characters (None: none has failed, or by such a release), ``last_status`` the provider's status
    (None: there was no answer).
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
    holds: int | None = None
    guard: str | None = None
    tenant: str | None = None
    last_status: int | None = None
    last_error: str | None = None


class Source(Struct, frozen=True, gc=False):
    """What an event that was told has in common with very many: its guard, its tenant (None: it names none), and the
    partition in which its record stands. No guard: it was told by a release that did not keep it."""

    guard: str | None
    tenant: str | None
    topic: str
    partition: int


@lru_cache(maxsize=SOURCES)
def source(guard: str | None, tenant: str | None, topic: str, partition: int) -> Source:
    """A source: the same value for all alerts that have it, of which there can be a million."""
    return Source(guard, tenant, topic, partition)


class Told(Struct, frozen=True, gc=False):
    """What the provider was told last: the highest severity, when by our clock, and when by its own (if it said).

    ``offset`` is that of the record of the event, in the partition that `Alert.source` names; ``occurrences`` is how
    many there had been when the answer was heard (None: by a release that did not keep it).
    """

    severity: Severity
    at: float
    date: float | None = None
    offset: int | None = None
    occurrences: int | None = None


class Former(Struct, frozen=True, gc=False):
    """An integration that an alert has left, and where it may have an incident that is not resolved: its digest, and
    the name that its route had then. The digest is None in the state of a release that kept the name only.

    ``until_over``: the provider has one alert for both integrations if they are of one account, so that a resolve there
    would end what is live. It is resolved only when the problem is over."""

    integration: str | None
    route: str
    until_over: bool = False

    def __str__(self) -> str:
        return f"{self.route} ({self.integration or 'key unknown'})"


class Heard(Struct, frozen=True, gc=False):
    """What the provider has said of an alert (`state.provider_feedback`).

    ``at`` is the provider's time of the last feedback applied: what is older is ignored (None: none was). ``incident``
    is the provider's id of the incident that it was about, if it said. ``sent_resolve``: since the last accepted
    trigger a resolve was sent about an incident that the alert has left, whose echo is to end nothing.
    """

    at: float | None = None
    incident: str | None = None
    sent_resolve: bool = False


NOTHING_HEARD = Heard()


class Alert(Struct, frozen=True, gc=False):
    """What this service knows about one dedup key at one provider.

    ``first_seen`` and ``last_seen`` are event times; ``decided`` is when the last occurrence was decided, by the wall
    clock. ``route`` is None until a trigger may have reached the provider. ``has``: a trigger was accepted since the
    alert last was resolving. ``unsettled``: a resolve may still be under way whose answer is not known.
    ``acknowledging``: somebody has taken the alert here, and the provider is owed an acknowledge. ``session_id`` is the
    session in the dedup key, where the key template names one. ``failed`` counts the attempts of the acknowledge or
    resolve that is due (those of a trigger are in ``owed``). ``overflow`` is the severity of a trigger that was
    dead-lettered because its route owed too much: the alert counts on, and is told again when there is room.

    ``integration`` is the digest of the key and host that the alert's first event decided on, from then on: it finds
    the alert's incident whatever the route is called (None: not decided, or by a release that kept the name only).
    ``former`` are integrations that it has left, until its incidents there are resolved; ``orphans`` are those of them
    whose key is not configured at all, which each owner finds out anew (design section 18).

    ``key`` is the record key of the last occurrence, by which its producer chose the partition: empty if it had none,
    None if it is the session's id, as most are (or in the state of a release that did not keep it). ``ended_by`` is
    what has ended it, while it is resolving (None: not known, as in the state of a release that did not keep it).

    ``begun`` tells this life of the key from others: when its first occurrence was decided, or the one that opened it
    again when it was resolving. It is compared and nothing else, so no clock matters (None: by a release that did not
    keep it).

    ``source`` is that of the event in ``told``; where that is None, of the one that was told, or was to be, before. It
    decides nothing: people ask for it. That of what is owed is in ``owed``.

    ``heard`` is what has come back from the provider (None: nothing, or by a release that did not keep it).
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
    told: Told | None = None
    has: bool = False
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


class Occurrence(Struct, frozen=True, gc=False):
    """One alertable event: its severity, its event time and the record it came in, by the input or by a replay.

    ``is_elsewhere``: the record is of another partition, and was forwarded. ``guard`` and ``tenant`` are the event's.
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
        """Where it stands in the partition that is decided."""
        return ELSEWHERE if self.is_elsewhere else self.record.offset

    @property
    def holds(self) -> int | None:
        """What the group's offset must not pass because of it."""
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
    """An alertable event with this dedup key has been decided. ``integration`` is the one that it would open its alert
    through; an alert that has one stays with that."""
    severity, time = occurrence.severity, event_time(occurrence.time, occurrence.record.timestamp, now)
    owed: Owed | None
    if alert is None:
        key = _kept_key(occurrence.record, session_id)
        owed = _owe(occurrence, now)
        fresh = Alert(
            dedup_key, Status.OPEN, session_id, 1, time, time, now, severity,
            owed=owed, integration=integration, key=key, begun=now,
        )  # fmt: skip
        return fresh, Outcome.TRIGGERED

    told, owed_before = alert.told, alert.owed
    # A clock that was ahead, here or at an earlier owner, must keep nothing from being told again.
    if told is not None and told.at > now:
        told = replace(told, at=now)
    last_seen = alert.last_seen if alert.last_seen <= now else now
    outcome, status, unsettled, begun = Outcome.TRIGGERED, alert.status, alert.unsettled, alert.begun
    if status is Status.RESOLVING:
        begun = now if now != begun else nextafter(now, inf)
        # The resolve may be on the wire, or may have been a dead owner's: only its answer settles that.
        status, unsettled = Status.OPEN, unsettled or (owed_before is None and _may_be_resolved(alert))
        if owed_before is None:
            owed = _owe(occurrence, now)
        else:
            outcome, owed = Outcome.COUNTED, _count(owed_before, occurrence)
    elif owed_before is not None and not owed_before.repeat:
        outcome, owed = Outcome.COUNTED, _count(owed_before, occurrence)
    elif (
        told is None
        or severity > told.severity
        or (
            status is Status.OPEN
            and (now - told.at >= policy.renotify_seconds or time - last_seen > policy.window_seconds)
        )
    ):
        owed = _owe(occurrence, now)
    else:
        outcome, owed = Outcome.SUPPRESSED, owed_before
    if status is Status.ACKNOWLEDGED and told is None and alert.route is None:
        status = Status.OPEN  # what somebody has taken is an incident that the alert has left
    if owed_before is not None and owed_before.repeat and owed is not owed_before:
        unsettled = True  # what made the repeat necessary is still true of the trigger that takes its place

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
        alert.has,
        unsettled,
        owed,
        alert.acknowledging,
        alert.failed if status is alert.status else 0,
        alert.overflow,
        integration if alert.integration is None else alert.integration,
        alert.former,
        alert.orphans,
        _kept_key(occurrence.record, alert.session_id),
        None,
        alert.source,
        begun,
        alert.heard,
    ), outcome


def restored(alert: Alert, now: float) -> Alert:
    """The alert as a new owner takes it: times that lie in the future are now (an earlier owner's clock was ahead)."""
    told, owed = alert.told, alert.owed
    if told is not None and told.at > now:
        told = replace(told, at=now)
    if owed is not None and owed.since > now:
        owed = replace(owed, since=now)
    if told is alert.told and owed is alert.owed and alert.decided <= now and alert.last_seen <= now:
        return alert
    return replace(
        alert,
        first_seen=min(alert.first_seen, now),
        last_seen=min(alert.last_seen, now),
        decided=min(alert.decided, now),
        told=told,
        owed=owed,
    )


def over(alert: Alert, ended_by: Ending | None = None) -> Alert | None:
    """The threat is over: quiet for long enough, or somebody or something says so (``ended_by``, None: that is not
    known). A trigger still owed goes first.

    None: the alert is gone, for nothing of it can have reached the provider (its trigger was dead-lettered unsent), or
    nothing but what is out of reach.
    """
    if alert.status is Status.RESOLVING:
        return alert
    owed = alert.owed
    if owed is not None and owed.repeat:
        owed = None  # it was to keep the incident open
    if owed is None and alert.route is None and not alert.former:
        return None
    return replace(
        alert, status=Status.RESOLVING, has=False, owed=owed, acknowledging=False, failed=0, ended_by=ended_by
    )


def acknowledge(alert: Alert) -> Alert:
    """An operator has taken the alert: the provider is to be told. One that is being resolved is nobody's any more."""
    if alert.status is not Status.OPEN or alert.acknowledging:
        return alert
    return replace(alert, acknowledging=True, failed=0)


def due(alert: Alert) -> Due | None:
    """What the alert owes next. A resolve leaves only from a checkpoint that holds the alert exactly as it is.

    An incident at an integration that the alert has left is resolved once the alert has another one, or is over; it may
    have to wait until it is over.
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
    """Whose turn it is of the integrations that the alert has left: the first whose incident may be resolved now."""
    if alert.status is Status.RESOLVING:
        return alert.former[0] if alert.former else None
    return next((one for one in alert.former if not one.until_over), None) if alert.has else None


def trigger_accepted(alert: Alert, sent: Owed, route: str, date: float | None, now: float) -> Alert:
    """The provider has accepted the trigger that was ``sent``.

    What was counted in while the request was on the wire is suppressed into the alert that the provider now has,
    unless it is of higher severity than what was sent: then that is owed.
    """
    resolving, heard = alert.status is Status.RESOLVING, alert.heard
    severity = sent.severity if alert.told is None or not alert.has else max(alert.told.severity, sent.severity)
    unsettled, left = alert.unsettled, _never_sent(alert.owed, sent)
    if left is None and unsettled and not resolving:
        left, unsettled = replace(sent, since=now, attempts=0, repeat=True, last_status=None, last_error=None), False
    return replace(
        alert,
        route=route,
        told=Told(severity, now, date, sent.record.offset, alert.occurrences),
        has=not resolving,
        unsettled=unsettled,
        owed=left,
        overflow=None,
        source=_source_of(sent),
        heard=replace(heard, sent_resolve=False) if heard is not None and heard.sent_resolve else heard,
    )


def owes(alert: Alert, sent: Owed) -> bool:
    """Whether the alert still owes the trigger that was ``sent``, with whatever has been counted into it since. One
    that came to be owed after that was told or given up is another, which nobody has answered."""
    return alert.owed is not None and alert.owed.since == sent.since


def trigger_attempted(
    alert: Alert, route: str, unknown: bool, now: float, status: int | None = None, error: str | None = None
) -> Alert:
    """An attempt to send the owed trigger has not been accepted, for this ``error`` (without secrets, at most
    `LONGEST_ERROR` characters), with this ``status`` if it was answered.

    Where it may still land (``unknown``), the alert stays with that route.
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
            last_error=None if error is None else shared(error),  # in an outage all have the same
        )
    return replace(alert, route=route if unknown and alert.route is None else alert.route, owed=owed)


def trigger_refused(alert: Alert, sent: Owed, now: float) -> tuple[Alert | None, Owed]:
    """The trigger that was ``sent``, and that the alert still `owes`, was rejected or is given up: the alert
    afterwards, and what to dead-letter.

    What was counted in meanwhile goes into the dead letter, unless it is of higher severity and so was never sent.

    Where the provider has the alert, this was an update of it: it counts as told at its severity until it is due to be
    told again, or each further event would be one more dead letter.

    Where the provider may have an incident without our knowing, the alert is not gone, as design section 8 has it:
    the next event triggers anew all the same, but the end of the threat is told, so that no incident stays open.
    """
    owed, left = alert.owed, _never_sent(alert.owed, sent)
    assert owed is not None
    if left is None:
        dead = replace(owed, record=sent.record)
    else:
        attempts = owed.attempts, owed.first_attempt, owed.last_attempt
        dead = replace(sent, attempts=attempts[0], first_attempt=attempts[1], last_attempt=attempts[2])
    # Where a resolve may still land, what the provider has cannot be known, and no trigger is left to be repeated.
    if left is not None or (alert.has and not alert.unsettled):
        told = alert.told
        if alert.has and told is not None:
            told = replace(told, severity=max(told.severity, sent.severity), at=now)
        return replace(alert, owed=left, told=told, source=_source_without(alert, sent)), dead
    if alert.route is not None:
        return replace(alert, owed=None, told=None, has=False, source=_source_of(sent)), dead
    # Nothing that could have arrived has been sent; but there may be incidents where it was before.
    if alert.former or (alert.orphans and alert.status is not Status.RESOLVING):
        source = _source_of(sent)
        return replace(alert, owed=None, told=None, has=False, integration=None, source=source), dead
    return None, dead


def overflowed(alert: Alert) -> Alert | None:
    """The trigger that the alert owes leaves to make room: dead-lettered, or never owed because there was none.

    The alert stays, marked, and counts on. None: it was only to be told before its end.
    """
    assert alert.owed is not None
    if alert.status is Status.RESOLVING and alert.route is None and not alert.former:
        return None
    severity = alert.owed.severity
    if alert.overflow is not None and alert.overflow > severity:
        severity = alert.overflow
    return replace(alert, owed=None, overflow=severity, source=_source_without(alert, alert.owed))


def needs_room(alert: Alert) -> bool:
    """Whether what the alert owes may only be owed if its route has room: a trigger of it was dead-lettered for want of
    room before, and this one is not worse."""
    return alert.owed is not None and alert.overflow is not None and alert.owed.severity <= alert.overflow


def attempted(alert: Alert) -> Alert:
    """An attempt to send the acknowledge or resolve that is due has not been accepted."""
    return replace(alert, failed=alert.failed + 1)


def resolve_answered(alert: Alert, sent: Alert) -> Alert | None:
    """The provider has accepted or rejected the resolve that left when the alert was ``sent``.

    It ends the alert only if that has not changed since, and has no incident at an integration that it has left.
    """
    if alert is not sent:
        return replace(alert, unsettled=False)
    if alert.former:
        return replace(alert, route=None, integration=None, told=None, has=False, failed=0)
    return None


def former_answered(alert: Alert, integration: str | None) -> Alert | None:
    """The resolve of the incident at an integration that the alert has left was accepted or rejected."""
    former = tuple(one for one in alert.former if one.integration != integration)
    if not former and alert.status is Status.RESOLVING and alert.owed is None and alert.route is None:
        return None
    return replace(alert, former=former, failed=0, heard=_with_resolve_sent(alert))


def former_attempted(alert: Alert) -> Alert:
    """An attempt to resolve the incident at an integration that the alert has left was not accepted: the others have
    their turn."""
    tried = former_due(alert)
    others = tuple(one for one in alert.former if one is not tried)
    former = others if tried is None else (*others, tried)
    return replace(alert, former=former, failed=alert.failed + 1, heard=_with_resolve_sent(alert))


def departed(alert: Alert, left: Former | None) -> Alert:
    """The alert is told through its integration no more; ``left``, if it may have an incident there.

    To the integration that it goes to next it is new.
    """
    status, owed, unsettled = alert.status, alert.owed, False
    if left is not None and left.until_over:  # a resolve that is under way ends what the next trigger is to tell
        unsettled = alert.unsettled or (owed is not None and owed.repeat)
    if owed is not None:
        status = Status.OPEN if status is Status.ACKNOWLEDGED else status
        owed = replace(owed, attempts=0, repeat=False, last_status=None, last_error=None)
    return replace(
        alert,
        status=status,
        route=None,
        integration=None,
        told=None,
        has=False,
        unsettled=unsettled,
        owed=owed,
        failed=0,
        former=alert.former if left is None else (*alert.former, left),
    )


def returned(alert: Alert, former: Former) -> Alert:
    """The alert has no integration, and is told through this one again, which it had left.

    A resolve may be under way there, whose answer is not known.
    """
    return replace(
        alert,
        route=former.route,
        integration=former.integration,
        unsettled=True,
        former=tuple(one for one in alert.former if one is not former),
    )


def acknowledge_answered(alert: Alert, accepted: bool) -> Alert:
    """The provider has accepted or rejected an acknowledge; rejected, it is dropped and the alert is open as before.

    One that was over meanwhile owes it no longer, and is not acknowledged by it either.
    """
    if not alert.acknowledging:
        return alert
    return replace(alert, status=Status.ACKNOWLEDGED if accepted else alert.status, acknowledging=False, failed=0)


def is_new_problem(alert: Alert) -> bool:
    """Whether the trigger that the alert owes tells something new: a problem the provider may not have, or a worse one.

    One that is owed after a resolve which may have landed is new to the provider.
    """
    owed, told = alert.owed, alert.told
    assert owed is not None
    return not alert.has or alert.unsettled or owed.repeat or told is None or owed.severity > told.severity


def event_time(time: float, timestamp: int, now: float) -> float:
    """When an event occurred, in seconds since the epoch: the smallest of its own ``time``, that of its record
    (``timestamp``, in milliseconds) and ``now``; one that cannot be true counts as absent (design section 14)."""
    earliest = now
    if EARLIEST <= time < earliest:
        earliest = time
    if EARLIEST <= timestamp / 1000 < earliest:
        earliest = timestamp / 1000
    return earliest


def _with_resolve_sent(alert: Alert) -> Heard:
    return replace(alert.heard or NOTHING_HEARD, sent_resolve=True)


def _may_be_resolved(alert: Alert) -> bool:
    """Whether a resolve that may be under way for this alert would end what its next trigger tells. One at an
    integration that it has left does not, unless both may have the same alert."""
    return alert.route is not None or any(one.until_over for one in alert.former)


def _kept_key(record: Record, session_id: str | None) -> bytes | None:
    key = record.key or b""
    return None if session_id is not None and key == session_id.encode() else key


def _owe(occurrence: Occurrence, now: float) -> Owed:
    offset = occurrence.offset
    return Owed(
        occurrence.record, occurrence.severity, now, offset, offset,
        holds=occurrence.holds, guard=kept_name(occurrence.guard), tenant=kept_name(occurrence.tenant),
    )  # fmt: skip


def kept_name(name: str | None) -> str | None:
    """What is kept of the name of a guard or a tenant, of which few have very many alerts."""
    if name is None:
        return None
    return shared(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def _source_of(owed: Owed) -> Source:
    """The source of the event that is owed."""
    return source(owed.guard, owed.tenant, owed.record.topic, owed.record.partition)


def _source_without(alert: Alert, untold: Owed) -> Source | None:
    """The source of an alert that does not owe this any more, which was not told either."""
    return alert.source if alert.told is not None else _source_of(untold)


def _never_sent(owed: Owed | None, sent: Owed) -> Owed | None:
    """What is owed apart from what was sent: occurrences of a higher severity that came while it was on the wire."""
    if owed is None or owed.severity <= sent.severity:
        return None
    if owed.first_offset <= sent.last_offset:  # else it took the place of a repeat, and has none of its occurrences
        owed = replace(
            owed,
            first_offset=sent.last_offset + 1,
            holds=None if owed.holds is None else max(owed.holds, sent.last_offset + 1),
            occurrences=max(1, owed.occurrences - sent.occurrences),
        )
    return replace(owed, attempts=0, first_attempt=None, last_attempt=None, last_status=None, last_error=None)


def _count(owed: Owed, occurrence: Occurrence) -> Owed:
    higher = occurrence.severity > owed.severity
    offset, holds = occurrence.offset, owed.holds
    if holds is None:
        holds = occurrence.holds
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
