"""The repartition stage: which of the engine's events it forwards, and by which key (design section 7).

The stage stands before a pipeline whose key template lacks the field by which the engine's records are keyed. Events of
one dedup key come in several partitions; in the topic between stage and pipeline they meet in one.
"""

from dataclasses import dataclass

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import TOMBSTONE, FetchedRecord, SecurityEvent, Tombstone
from state.facts import LACKING


@dataclass(frozen=True, slots=True)
class Forward:
    """The record is forwarded to where the events of this key meet. ``change`` is its event, if it is told as a change
    besides."""

    key: bytes
    change: SecurityEvent | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The event is told as a change, and concerns no alert."""

    event: SecurityEvent


@dataclass(frozen=True, slots=True)
class Repartition:
    """The stage before one pipeline: it forwards ``input_topic`` to the pipeline's input."""

    pipeline: Pipeline
    group_id: str
    input_topic: str
    positions_topic: str

    @property
    def name(self) -> str:
        """The stage's name in health, metrics and logs."""
        return f"{self.pipeline.provider.name}-repartition"

    def decide(self, record: FetchedRecord) -> Forward | Change | DeadLetter | Tombstone | None:
        """Decide one record; None if it concerns nobody, like most records.

        Events that may alert or end an alert are forwarded. Poison has no key, so it is dead-lettered here.
        """
        event = self.pipeline.decoder.decode(record)
        if event is None or event is TOMBSTONE:
            return event
        if isinstance(event, SecurityEvent):
            if not event.concerns_alerts:
                return Change(event)
            return Forward(self._key(event).encode(), event if event.is_change else None)
        return self.pipeline.poison(event, record)

    def undecidable(self, record: FetchedRecord, error: Exception) -> DeadLetter:
        """The dead letter of a record that cannot be decided because of a bug."""
        return self.pipeline.undecidable(record, error).dead_letter

    def _key(self, event: SecurityEvent) -> str:
        """The key by which the event is forwarded: the session id where the template has it, so that a session's end
        meets its alerts; else the dedup key.

        An event without a session id renders the same dedup key as a session with the name `LACKING`, so it goes to the
        same partition.
        """
        if "session_id" in self.pipeline.template.fields:
            return event.session_id or LACKING
        return self.pipeline.template.render(event)
