"""An alert, and the values that it is made of (design section 8).

An `Alert` is a value and never changes. So "the alert exactly as it was" means the same object, and callers compare by
identity. What changes an alert is a pure function from one to the next: `state.occurrences` (an event),
`state.answers` (the provider), `state.over` (the problem is over), `state.silenced` (silences),
`state.provider_feedback` (people at the provider), `state.acknowledging`, `state.departures` and `state.restored`.
"""

from enum import Enum
from functools import lru_cache

from msgspec import Struct

from state.shared import shared
from state.violation import Record, Severity

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
    """The alert had no occurrence for `Policy.quiet_seconds`."""
    SESSION_END = "session_end"
    """An event ended the alert: the end of its session, or an event that matches a rule of
    ``auto_resolve.on_events``."""
    OPERATOR = "operator"
    """An operator's command resolved it."""
    PROVIDER = "provider"
    """Somebody has resolved the alert at the provider."""
    SILENCE = "silence"
    """All occurrences of the alert were silenced, and its problem was over when the silences ended."""


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
    (None: none was). While there are no more of them, the next resolve of that kind is believed. What is silenced does
    not count for that (`state.held.not_silenced`).

    ``acknowledged`` is the provider's time at which it has accepted an acknowledge of this service: who had taken the
    incident before that, or had not, says nothing of it any more (None: it has accepted none, or did not say when).
    """

    at: float | None = None
    incident: str | None = None
    sent_resolve: bool = False
    repeated: int | None = None
    acknowledged: float | None = None


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

    ``not_silenced`` is when the alert's last occurrence before them was decided, which was not silenced (None: there
    was none, or by a release that did not keep it).
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
    not_silenced: float | None = None


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


def last_step_of(alert: Alert) -> LastStep:
    """The last step of the alert. Of one that has only begun nothing is kept: its first event was the step."""
    if alert.last_step is not None:
        return alert.last_step
    return LastStep(alert.first_seen if alert.begun is None else alert.begun, 1)


def kept_name(name: str | None) -> str | None:
    """A guard's or a tenant's name as an alert keeps it: short, and one object for all alerts that have it, as few
    names have very many alerts."""
    return None if name is None else shared(name if len(name) <= LONGEST_NAME else _cut(name))


def short_name(name: str | None) -> str | None:
    """The name in at most `LONGEST_NAME` characters."""
    return name if name is None or len(name) <= LONGEST_NAME else _cut(name)


def _cut(name: str) -> str:
    return f"{name[: LONGEST_NAME - 1]}…"
