"""The event that an alert's provider was told last, read back from its topic (design section 20).

An alert that was told keeps only where that event stands. It is needed again where somebody has resolved the incident
at the provider, and the problem goes on.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from datetime import UTC, datetime
from time import perf_counter
from typing import Final

import orjson
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from providers.errors import text_of
from state.alert import ELSEWHERE, Alert
from state.violation import Record

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""

ReadRecords = Callable[[Collection[Place]], AsyncGenerator[Record, None]]
"""Reads the records at these places; none of those that are not there (any more). Raises KafkaError, OSError."""

AT_A_TIME: Final = 200
"""So many events at most are read at once."""

BYTES_AT_A_TIME: Final = 8 * 1024 * 1024
"""No more is read once there are so many."""

READ_SECONDS: Final = 5.0
"""For so long are they read: a checkpoint waits for it."""

_SLICE_SECONDS: Final = 0.005

_REASON = "This problem has occurred again since somebody resolved it; its event is not in the topic any more"


class Recall:
    """Reads back some events at a time. ``topic`` is where events of a release that did not say would stand."""

    def __init__(self, read: ReadRecords, template: KeyTemplate, topic: str, log: FilteringBoundLogger) -> None:
        self._read = read
        self._template = template
        self._topic = topic
        self._log = log
        self._wanted: dict[str, Alert] = {}
        self._found: dict[str, tuple[object, Record]] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether there is something to be read."""
        return bool(self._wanted)

    def record(self, alert: Alert) -> Record | None:
        """The record of the event that was told last of the alert; None: it is wanted now (`read`), to be asked for
        again."""
        told, record = self._found.pop(alert.dedup_key, (None, None))
        if record is not None and told == alert.told:
            return record
        self._wanted = {alert.dedup_key: alert, **self._wanted}  # before what is only asked for soon
        return None

    def want(self, alert: Alert) -> None:
        """The record of the event that was told last of the alert is asked for soon."""
        if len(self._wanted) < AT_A_TIME and not self._is_found(alert):
            self._wanted.setdefault(alert.dedup_key, alert)

    def _is_found(self, alert: Alert) -> bool:
        return alert.dedup_key in self._found and self._found[alert.dedup_key][0] == alert.told

    async def read(self) -> None:
        """Read what is wanted. Where it is not there, a record stands in for it that says what the alert knows: the
        problem is told in any case. So too where what was asked for cannot be read; the others are wanted again."""
        wanted, self._wanted = self._wanted, {}
        if not wanted:
            return
        if len(self._found) > AT_A_TIME:  # it was not asked for
            self._found.clear()
        places = {key: place for key, alert in wanted.items() if (place := _place_of(alert)) is not None}
        records: dict[Place, Record] = {}
        is_read, size = False, 0
        try:
            async with asyncio.timeout(READ_SECONDS):
                if places:
                    async with aclosing(self._read(set(places.values()))) as found:
                        async for record in found:
                            records[record.topic, record.partition, record.offset] = record
                            size += record.size
                            if size > BYTES_AT_A_TIME:
                                break
            is_read = size <= BYTES_AT_A_TIME
        except (KafkaError, OSError, TimeoutError) as error:
            unread = sum(place not in records for place in places.values())
            self._log.warning("told_event_unread", events=unread, error=text_of(error, "no answer"))
        turn = perf_counter()
        for number, (dedup_key, alert) in enumerate(wanted.items()):
            if perf_counter() - turn > _SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = perf_counter()
            place = places.get(dedup_key)
            read = None if place is None else records.get(place)
            if read is not None or place is None or is_read or number == 0:
                self._found[dedup_key] = alert.told, self._record_of(alert, read)

    def _record_of(self, alert: Alert, record: Record | None) -> Record:
        """The record that was read, if it is of the alert (the topic may have been made anew, or the template have
        changed), or one that stands in for it."""
        if record is not None:
            try:
                if self._template.render(violation_of(record)) == alert.dedup_key:
                    return record
            except ValueError:
                pass  # it is no event
        self._log.warning("told_event_not_found", dedup_key=alert.dedup_key)
        return stand_in(alert, self._topic)


def _place_of(alert: Alert) -> Place | None:
    told, source = alert.told, alert.source
    if told is None or told.offset is None or told.offset < 0 or source is None:
        return None
    return source.topic, source.partition, told.offset


def stand_in(alert: Alert, topic: str) -> Record:
    """A record with an event that says what is known of the alert. It stands nowhere, and cannot be replayed."""
    source = alert.source
    severity = alert.highest if alert.told is None else alert.told.severity
    event = {
        "event_id": f"again-{alert.dedup_key}",
        "event_type": "policy_violation",
        "timestamp": datetime.fromtimestamp(alert.last_seen, UTC).isoformat(),
        "agent": {"id": "unknown"},
        "session": {"id": alert.session_id or "unknown", "tenant_id": None if source is None else source.tenant},
        "decision": {
            "allowed": False,
            "guard": (None if source is None else source.guard) or "unknown",
            "severity": severity.label,
            "reason": _REASON,
        },
        "resource": {"type": "unknown", "name": alert.dedup_key},
    }
    return Record(topic, 0, ELSEWHERE, int(alert.last_seen * 1000), alert.key, orjson.dumps(event))
