"""Decodes a record into an event (design section 4).

Most events concern nobody, so decoding has two steps. The *gate* reads four fields of the JSON, and nothing else. If
these fields show that an event neither may alert nor ends an alert, the event is done. Only the other events, and those
that the gate cannot read, are parsed and validated in full. A record that fails is poison: the result is then a value
that says what is wrong and where; no exception is raised.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol

from consumer.events.filter import IGNORED, End, EndRules, Filter
from consumer.events.schema import (
    CategoryGate,
    Event,
    Gate,
    Poison,
    read_category_gate,
    read_event,
    read_gate,
    unknown_severity,
)
from consumer.events.severities import AS_SAID, Severities
from consumer.events.wrapping import unwrapped
from state.violation import Record, Severity, Violation, size_of

__all__ = ["TOMBSTONE", "Decoder", "InputRecord", "Poison", "SecurityEvent", "Tombstone", "violation_of"]


class Tombstone(Enum):
    """The type of TOMBSTONE, so that ``is TOMBSTONE`` narrows."""

    TOMBSTONE = "tombstone"


TOMBSTONE: Final = Tombstone.TOMBSTONE
"""The result of decoding a record without a value, which is skipped and counted."""


class SecurityEvent:
    """A validated event that is alertable, or ends alerts, or both; or one that was allowed and is told as a change.

    ``time`` is the event's own timestamp in seconds since the epoch. A field that the event lacks is None. Treat it as
    frozen: it is a plain class only because one is made for every alertable event, and making a frozen dataclass takes
    four times as long.
    """

    __slots__ = (
        "_event", "_violation", "alertable", "allowed", "concerns_alerts", "ends", "event_type", "guard", "is_change",
        "session_id", "severity", "time",
    )  # fmt: skip

    def __init__(
        self,
        event: Event,
        time: float,
        severity: Severity,
        alertable: bool,
        ends: End | None,
        is_change: bool = False,
    ) -> None:
        decision = event.decision
        self._event = event
        self._violation: Violation | None = None
        self.event_type = event.event_type
        self.guard = decision.guard
        self.allowed = decision.allowed
        self.severity = severity
        self.session_id = event.session.id
        self.time = time
        self.alertable = alertable
        self.ends = ends
        self.is_change = is_change
        self.concerns_alerts = alertable or ends is not None
        """Whether it may alert, or ends an alert; else it is a change, and nothing but that."""

    def __repr__(self) -> str:
        return f"SecurityEvent(event_id={self.event_id!r}, alertable={self.alertable}, ends={self.ends})"

    @property
    def event_id(self) -> str:
        """The engine's id of the event."""
        return self._event.event_id

    @property
    def agent_id(self) -> str:
        """The agent that tried the action."""
        return self._event.agent.id

    @property
    def user_id(self) -> str | None:
        """The session's user."""
        return self._event.session.user_id

    @property
    def tenant_id(self) -> str | None:
        """The session's tenant."""
        return self._event.session.tenant_id

    @property
    def environment(self) -> str | None:
        """The session's environment."""
        return self._event.session.environment

    @property
    def resource_type(self) -> str:
        """The type of the resource that the action was about."""
        return self._event.resource.type

    @property
    def resource_name(self) -> str:
        """The name of the resource that the action was about."""
        return self._event.resource.name

    @property
    def runtime_agent_id(self) -> str | None:
        """The agent that really acted, where another one has let it."""
        return self._event.told("runtime_agent_id")

    @property
    def runtime_agent_kind(self) -> str | None:
        """Of what kind that agent is."""
        return self._event.told("runtime_agent_kind")

    @property
    def ruleset(self) -> str | None:
        """The engine's rule set that decided."""
        return self._event.decision.ruleset

    @property
    def labels(self) -> Mapping[str, str]:
        """The event's labels; without any, an empty mapping."""
        return self._event.labels or {}

    def violation(self) -> Violation:
        """The facts that a notification is made of. Built at the first call, since most events never need them."""
        if self._violation is None:
            self._violation = _violation(self._event, self.severity)
        return self._violation


class InputRecord(Protocol):
    """The parts of a record that decoding reads: of aiokafka's ``ConsumerRecord`` or our ``Record``."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class FetchedRecord(InputRecord, Protocol):
    """A record as it was fetched: aiokafka's ``ConsumerRecord`` or our ``Record``."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


class Decoder:
    """Decodes records for one pipeline. ``max_event_bytes`` bounds key, value and headers together; allowed events of
    the categories ``changes`` are told as changes."""

    def __init__(
        self,
        filter: Filter,
        ends: EndRules | None,
        max_event_bytes: int,
        changes: Collection[str] = (),
        severities: Severities = AS_SAID,
    ) -> None:
        self.severities = severities
        self._severity_of_denial = severities.of_denials.get
        self._reason = filter.reason
        self.ignored = dict.fromkeys(IGNORED, 0)
        """How many events concerned nobody, by reason."""
        ends = ends or EndRules()
        self._end_of, self._ending = ends.end_of, ends.event_types
        self._max_event_bytes = max_event_bytes
        self._changes = frozenset(changes)
        self._read_gate: Callable[[bytes], Gate | Poison] = read_category_gate if changes else read_gate

    def decode(self, record: InputRecord) -> SecurityEvent | Poison | Tombstone | None:
        """The event in the record; None if it concerns nobody, as by far the most do. Raises nothing, whatever the
        bytes.
        """
        value, headers = record.value, record.headers
        if value is None:
            return TOMBSTONE
        size = size_of(record.key, value, headers) if headers else len(value) + len(record.key or b"")
        if size > self._max_event_bytes:
            return Poison("", f"{size} bytes are more than the {self._max_event_bytes} allowed", "too_large")
        if headers or value[:1] == b"\0":  # most records have neither, and cannot be wrapped
            inner = unwrapped(value, headers)
            if isinstance(inner, Poison):
                return inner
            value = inner
        gate = self._read_gate(value)
        if isinstance(gate, Poison):
            return gate
        event_type, decision = gate.event_type, gate.decision
        allowed = decision.allowed
        reason: str | None = "allowed"
        severity: Severity | None = None
        if not allowed:
            severity = self._severity_of_denial(decision.severity)
            if severity is None:
                return unknown_severity(value)
            reason = self._reason(severity, decision.guard, event_type)
        ends = None
        if self._ending is None or event_type in self._ending:
            ends = self._end_of(event_type, decision.guard, allowed)
        if reason is not None and ends is None:
            self.ignored[reason] += 1
            return self._change(gate, value) if self._changes and allowed else None

        found = read_event(value)
        if isinstance(found, Poison):
            return found
        event, time = found
        is_change = allowed and self._is_change(gate)
        if severity is None:  # that of a valid event is always a known one
            severity = self.severities.of(event.decision)
        return SecurityEvent(event, time, severity, reason is None, ends, is_change)

    def violation_of(self, record: Record) -> Violation:
        """The violation in a record that was decoded before (restored from the state).

        Raises `ValueError`, with the path and the reason, if the record holds no valid event.
        """
        return violation_of(record, self.severities)

    def _is_change(self, gate: Gate) -> bool:
        return (
            isinstance(gate, CategoryGate)
            and isinstance(gate.event_category, str)
            and (gate.event_category in self._changes)
        )

    def _change(self, gate: Gate, value: bytes) -> SecurityEvent | None:
        """An allowed event that is told as a change; None if it is none, or not valid in full, which makes no poison
        of what concerns no alert."""
        found = read_event(value) if self._is_change(gate) else None
        if found is None or isinstance(found, Poison):
            return None
        event, time = found
        return SecurityEvent(event, time, self.severities.of(event.decision), False, None, is_change=True)


def violation_of(record: Record, severities: Severities = AS_SAID) -> Violation:
    """The violation in a record; a pipeline's own is `Decoder.violation_of`.

    Raises `ValueError`, with the path and the reason, if the record holds no valid event.
    """
    if record.value is None:
        raise ValueError("no event: the record has no value")
    value = unwrapped(record.value, record.headers)
    found = value if isinstance(value, Poison) else read_event(value)
    if isinstance(found, Poison):
        raise ValueError(f"no event: {found.path or 'the whole'}: {found.reason}")
    return _violation(found[0], severities.of(found[0].decision))


def _violation(event: Event, severity: Severity) -> Violation:
    decision, session, resource = event.decision, event.session, event.resource
    return Violation(
        event_id=event.event_id,
        event_type=event.event_type,
        timestamp=event.timestamp,
        guard=decision.guard,
        severity=severity,
        reason=decision.reason,
        allowed=decision.allowed,
        agent_id=event.agent.id,
        session_id=session.id,
        resource_type=resource.type,
        resource_name=resource.name,
        user_id=session.user_id,
        tenant_id=session.tenant_id,
        environment=session.environment,
        policy_hash=decision.policy_hash,
        ruleset=decision.ruleset,
        action=event.action,
        resource_path=resource.path,
        resource_host=resource.host,
        resource_port=resource.port,
        runtime_agent_id=event.told("runtime_agent_id"),
        runtime_agent_kind=event.told("runtime_agent_kind"),
        labels=event.labels or {},
    )
