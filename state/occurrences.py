"""What an alertable event makes of the alert of its dedup key (design section 8).

Pure functions. Each transition of an alert, here and in the modules beside this one, takes the alert as it is (None:
there is none), an input and the time, and returns the alert as it is afterwards (None: gone). No I/O and no clock:
``now`` is wall-clock time in seconds since the epoch.
"""

from enum import Enum
from math import inf, nextafter

from msgspec import Struct
from msgspec.structs import replace

from state.alert import Alert, Owed, Status, kept_name
from state.held import untold, with_held, with_held_counted
from state.over import may_be_resolved
from state.policy import Policy
from state.violation import Record, Severity

EARLIEST = 1_420_070_400.0
"""The earliest event time that is believed: 2015-01-01 in seconds since the epoch. An earlier time counts as absent: it
is 0, or somebody wrote seconds where milliseconds were meant (design section 8)."""

ELSEWHERE = -1
"""The offset that stands for that of an event of another partition: it is below all offsets of this one. So a trigger
that is owed for such an event counts as inherited, as it should: an earlier owner of the key's home may have sent
it."""


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
        or (owed_before is None and not alert.is_at_provider)  # its trigger found no room
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


def of_record_key(record: Record, session_id: str | None) -> bytes | None:
    key = record.key or b""
    return None if session_id is not None and key == session_id.encode() else key


def _owe(occurrence: Occurrence, now: float) -> Owed:
    offset = occurrence.offset
    return Owed(
        occurrence.record, occurrence.severity, now, offset, offset,
        pins_offset=occurrence.pins_offset, guard=kept_name(occurrence.guard), tenant=kept_name(occurrence.tenant),
    )  # fmt: skip


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
