"""A step in the life of an alert, and the record of the history topic that tells it (design section 21).

The value is JSON as ``schema.json`` beside this module describes it, the key is the dedup key, and the headers are
those of a CloudEvent in binary mode. Other systems may read it. Pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, Self

import msgspec
import orjson
from msgspec import Struct

from state.alert import LONGEST_ERROR, Alert, short_name
from state.violation import Violation

Headers = tuple[tuple[str, bytes], ...]

CLOUD_EVENT_TYPE: Final = "clawdstrike.alerting.alert."
"""What the CloudEvents type of each step begins with; the kind follows."""

SCHEMA: Final = "schema.json"
"""The file of the JSON Schema, in this package."""


class StepKind(StrEnum):
    """What has happened to an alert."""

    TRIGGERED = "triggered"
    """The alert owes a trigger because of an event."""
    TOLD = "told"
    """The provider has accepted a trigger, and had no incident of it before."""
    RAISED = "raised"
    """The provider has accepted a trigger of a higher severity than it had been told."""
    TOLD_AGAIN = "told_again"
    """The provider has accepted a trigger that says once more what it had been told."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody has acknowledged the alert."""
    UNACKNOWLEDGED = "unacknowledged"
    """At the provider, nobody has acknowledged the alert any more."""
    REOPENED = "reopened"
    """Somebody has opened the alert's incident again."""
    REASSIGNED = "reassigned"
    """Somebody else has the alert at the provider: it was reassigned, delegated or escalated."""
    ANNOTATED = "annotated"
    """Somebody has written a note to the alert's incident."""
    PRIORITY_CHANGED = "priority_changed"
    """The alert's incident has another priority."""
    RESOLVED = "resolved"
    """The problem is over. If the provider has an incident, it is told afterwards."""
    SILENCED = "silenced"
    """A silence keeps the provider from being told of the alert."""
    DEAD_LETTERED = "dead_lettered"
    """The trigger that the alert owed became a dead letter."""
    GIVEN_UP = "given_up"
    """The trigger that the alert owed became a dead letter, because it was owed for too long."""
    HANDED_OVER = "handed_over"
    """The alert was handed over to the task of another partition."""
    ORPHANED = "orphaned"
    """The alert is gone, and an incident of it may be left where no configured key reaches it."""
    FORGOTTEN = "forgotten"
    """The alert is dropped, since nothing was heard of it for very long. Nothing is sent."""


class Reason(StrEnum):
    """Why an alert owes a trigger."""

    NEW = "new"
    """There was no alert of its dedup key."""
    REOPENED = "reopened"
    """The alert was over, and the provider had not heard of that yet."""
    UNTOLD = "untold"
    """The provider has not been told of the alert: an earlier trigger became a dead letter, or it was silenced."""
    RAISED = "raised"
    """The event is of a higher severity than what was told."""
    RENOTIFY = "renotify"
    """The provider was told ``renotify_seconds`` ago."""
    WINDOW = "window"
    """The event before it was more than ``window_seconds`` ago."""
    CLOSED_AT_PROVIDER = "closed_at_provider"
    """Somebody has closed the alert at the provider, and its problem goes on."""
    SILENCE_ENDED = "silence_ended"
    """The silences of the alert have ended, and its problem goes on."""


class Step(Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One step. ``at`` is in seconds since the epoch, by the task's clock.

    ``partition`` is that of the task. ``life`` tells this life of the dedup key from others (`Alert.begun`).
    ``severity`` is that of what is owed, was told, or became a dead letter; else the highest that has occurred.
    ``reason`` is a `Reason`, or the class of the error. ``actor`` is who has done it: ``quiet``, ``session_end``,
    ``rule``, ``operator:NAME``, ``provider:NAME``, ``silence:ID``. ``attempts`` counts the requests for what was told
    or became a dead letter.

    ``occurrences`` counts all events of the alert so far. ``suppressed`` of them came since the step before, and have
    no step of their own. ``first_offset`` and ``last_offset`` are the first and last
    input offset that the trigger counts (-1: of another partition). ``seconds`` is the time since the step before.
    """

    kind: StepKind
    at: float
    provider: str
    partition: int
    dedup_key: str
    severity: str
    occurrences: int
    suppressed: int = 0
    life: float | None = None
    reason: str | None = None
    actor: str | None = None
    route: str | None = None
    attempts: int | None = None
    guard: str | None = None
    tenant: str | None = None
    session: str | None = None
    event_id: str | None = None
    policy_hash: str | None = None
    ruleset: str | None = None
    first_offset: int | None = None
    last_offset: int | None = None
    seconds: float | None = None

    @property
    def is_first(self) -> bool:
        """Whether there was no alert of its key before: an event has opened one, which is told, or silenced."""
        return self.reason == Reason.NEW or (self.kind == StepKind.SILENCED and self.seconds is None)


class About(Struct, frozen=True, gc=False):
    """What a step says of the event that it is about."""

    guard: str | None = None
    tenant: str | None = None
    event_id: str | None = None
    policy_hash: str | None = None
    ruleset: str | None = None

    @classmethod
    def of(cls, violation: Violation) -> Self:
        """The facts of this event. Events are hostile, so each is kept short."""
        return cls(
            short_name(violation.guard),
            short_name(violation.tenant_id),
            short_name(violation.event_id),
            short_name(violation.policy_hash),
            short_name(violation.ruleset),
        )

    @classmethod
    def of_alert(cls, alert: Alert) -> Self:
        """What an alert has kept of its event."""
        if alert.owed is not None and alert.source is None:
            return cls(alert.owed.guard, alert.owed.tenant)
        return cls() if alert.source is None else cls(alert.source.guard, alert.source.tenant)


class NoStep(ValueError):
    """A record of the history topic is no step, or one that this release cannot read; one line says why."""


def encode(step: Step) -> bytes:
    """The value of the step's record."""
    return _ENCODE(step)


def decode(value: bytes | None) -> Step:
    """The step in a record of the history topic. Fields that a later release adds are left out. Raises `NoStep` if the
    record is no step."""
    if value is None:
        raise NoStep("a record without a value")
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise NoStep(str(error)[:LONGEST_ERROR]) from error


class CloudEvents:
    """The headers of steps from one ``source``, a URI reference. ``unique`` is what no other series of steps from this
    source has: together with a number it is the id of each."""

    def __init__(self, source: str, unique: str) -> None:
        self._unique = unique
        self._constant: Headers = (
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("content-type", b"application/json"),
        )

    def headers(self, step: Step, number: int) -> Headers:
        """The headers of the record of this step, which has this ``number`` in the series."""
        second, milliseconds = divmod(round(step.at * 1e6) // 1000, 1000)
        return (
            ("ce_id", f"{self._unique}-{number}".encode()),
            ("ce_type", _TYPES[step.kind]),
            ("ce_time", f"{_second(second)}.{milliseconds:03}Z".encode()),
            *self._constant,
        )


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    """A second since the epoch as a time of RFC 3339, up to its fraction."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema of a step, as it ships with the package."""
    found: Mapping[str, Any] = orjson.loads((files("consumer.history") / SCHEMA).read_bytes())
    return found


_ENCODE = msgspec.json.Encoder().encode
_DECODER = msgspec.json.Decoder(Step)
_TYPES = {kind: (CLOUD_EVENT_TYPE + kind).encode() for kind in StepKind}
