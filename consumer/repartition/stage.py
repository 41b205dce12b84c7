"""The repartition stage: what of the engine's events it forwards, and to which partition (design section 7).

It stands before a pipeline whose key template lacks the field that the engine keys its records by: the events of one
dedup key, which come in several partitions, meet in one partition of a topic between the stage and the pipeline.
"""

from dataclasses import dataclass

from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import TOMBSTONE, FetchedRecord, SecurityEvent, Tombstone
from consumer.events.keys import LACKING
from consumer.pipeline import Pipeline


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
        """Decide one record; None if it concerns nobody, which is what most do.

        What may alert and what may end an alert is forwarded. Poison has no key: it is dead-lettered here.
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
        """The decision on a record that a fault of this program makes undecidable."""
        return self.pipeline.undecidable(record, error).dead_letter

    def _key(self, event: SecurityEvent) -> str:
        """By session where the template has it, so that a session's end meets its alerts; else by dedup key.

        Sessions without an id render the key of the one that is called as they are rendered, so they meet it.
        """
        if "session_id" in self.pipeline.template.fields:
            return event.session_id or LACKING
        return self.pipeline.template.render(event)
