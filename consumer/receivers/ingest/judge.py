"""Whether an event can be decided by a pipeline, and how its record is keyed. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from consumer.config import UNKEYED
from consumer.dlq.dead_letter import DeadLetter, DeadLetterStage
from consumer.events.event import SecurityEvent
from consumer.events.filter import SESSION_END
from consumer.events.keys import value_of
from consumer.events.schema import Poison, read_event, read_gate
from consumer.events.severities import AS_SAID, Severities
from state.facts import LACKING
from state.violation import Record

NAME = "ingest"
"""What stands in the place of a provider in the dead letters of the way in."""

_NOWHERE = -1
"""Partition and offset in the dead letter of an event that was never a record."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """An event for the events topic. ``event_id`` is None if it has none that can be read."""

    event_id: str | None
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Unfit:
    """Bytes that are no valid event, and why."""

    poison: Poison
    value: bytes


class Judge:
    """Checks events, and gives them a record key. ``event_key`` is a placeholder of the key templates, or ``none``."""

    def __init__(self, event_key: str, max_event_bytes: int, severities: Severities = AS_SAID) -> None:
        self._severities = severities
        self._key_of: Callable[[SecurityEvent], str | None] | None = None
        if event_key != UNKEYED:
            self._key_of = value_of(event_key)
        self._max_event_bytes = max_event_bytes

    def judge(self, value: bytes) -> Judgement | Unfit:
        """Check one event. Raises nothing, whatever the bytes.

        As for a pipeline, an event that concerns nobody by its gate fields need not be valid in full (design section
        4): it is written without a key, as no task needs one.
        """
        if len(value) > self._max_event_bytes:  # parsing would take too long
            return self._measured(Judgement(None, None, value))
        found = read_event(value)
        if isinstance(found, Poison):
            fits = self._is_harmless(value)
            return self._measured(Judgement(None, None, value)) if fits else Unfit(found, value)
        event, time = found
        facts = SecurityEvent(event, time, self._severities.of(event.decision), False, None)
        return self._measured(Judgement(event.event_id, self._key(facts), value))

    def _key(self, facts: SecurityEvent) -> bytes | None:
        """The record key. All events that lack the field have the same key: for a template with that field they are one
        problem."""
        return None if self._key_of is None else (self._key_of(facts) or LACKING).encode()

    def _measured(self, fit: Judgement) -> Judgement | Unfit:
        size = len(fit.value) + len(fit.key or b"")
        if size <= self._max_event_bytes:
            return fit
        reason = f"{size} bytes are more than the {self._max_event_bytes} allowed"
        return Unfit(Poison("", reason, "too_large", fit.event_id), fit.value)

    def _is_harmless(self, value: bytes) -> bool:
        gate = read_gate(value)
        return not isinstance(gate, Poison) and gate.decision.allowed and gate.event_type != SESSION_END


def dead_letter_of(unfit: Unfit, topic: str, now: float) -> DeadLetter:
    """The dead letter of an invalid event for this topic; ``now`` is in seconds since the epoch."""
    poison = unfit.poison
    return DeadLetter(
        record=Record(topic, _NOWHERE, _NOWHERE, int(now * 1000), None, unfit.value),
        provider=NAME,
        stage=DeadLetterStage.INGEST,
        event_id=poison.event_id,
        error_class=poison.error_class,
        error=f"{poison.path}: {poison.reason}" if poison.path else poison.reason,
        retryable=False,
        attempts=0,
        first_attempt=None,
        last_attempt=None,
        occurrences=1,
        first_offset=_NOWHERE,
        last_offset=_NOWHERE,
    )
