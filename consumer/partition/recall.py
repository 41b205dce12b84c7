"""The event that an alert's provider was told last, read back from its topic (design section 20).

An alert that was told keeps only where that event stands. It is needed again where somebody has resolved the incident
at the provider, and the problem goes on.
"""

from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from providers.errors import text_of
from state.alert import Alert
from state.stand_in import stand_in
from state.violation import Record

ReadRecord = Callable[[str, int, int], Awaitable[Record | None]]
"""Reads the record at a topic, partition and offset; None if there is none (any more). Raises KafkaError, OSError,
TimeoutError."""

_REASON = "This problem has occurred again since somebody resolved it; its event is not in the topic any more"


class Recall:
    """Reads back one event at a time. ``topic`` is where events of a release that did not say would stand."""

    def __init__(self, read: ReadRecord, template: KeyTemplate, topic: str, log: FilteringBoundLogger) -> None:
        self._read = read
        self._template = template
        self._topic = topic
        self._log = log
        self._wanted: Alert | None = None
        self._found: tuple[str, object, Record] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is something to be read."""
        return self._wanted is not None

    def record(self, alert: Alert) -> Record | None:
        """The record of the event that was told last of the alert; None: it is wanted now (`read`), to be asked for
        again."""
        if self._found is not None and self._found[:2] == (alert.dedup_key, alert.told):
            record, self._found = self._found[2], None
            return record
        self._wanted = alert
        return None

    async def read(self) -> None:
        """Read what is wanted. Where it is not there, or cannot be read, a record stands in for it that says what the
        alert knows: the problem is told in any case."""
        alert = self._wanted
        if alert is None:
            return
        record = await self._read_back(alert)
        if record is None:
            self._log.warning("told_event_not_found", dedup_key=alert.dedup_key)
            record = told_stand_in(alert, self._topic)
        self._found, self._wanted = (alert.dedup_key, alert.told, record), None

    async def _read_back(self, alert: Alert) -> Record | None:
        told, source = alert.told, alert.source
        if told is None or told.offset is None or told.offset < 0 or source is None:
            return None
        try:
            record = await self._read(source.topic, source.partition, told.offset)
            if record is None or self._template.render(violation_of(record)) != alert.dedup_key:
                return None  # the topic was made anew, or the template changed
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            self._log.warning("told_event_unread", dedup_key=alert.dedup_key, error=text_of(error, "no answer"))
            return None
        return record


def told_stand_in(alert: Alert, topic: str) -> Record:
    """What stands in for the record of the event that was told last."""
    severity = alert.highest if alert.told is None else alert.told.severity
    return stand_in(alert, f"again-{alert.dedup_key}", severity, alert.source, topic, _REASON)
