"""The event that an alert's provider was told last, read back from its topic (design section 20).

An alert that was told keeps only where that event stands. It is needed again where somebody has resolved the incident
at the provider, and the problem goes on.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

from structlog.typing import FilteringBoundLogger

from consumer.kafka.reading import Place
from consumer.tasks.partition.read_back import AT_A_TIME, ReadRecords, read_back
from state.alert import Alert
from state.stand_in import stand_in
from state.violation import Record

_SLICE_SECONDS: Final = 0.005

_REASON = "This problem has occurred again since somebody resolved it; its event is not in the topic any more"


class Recall:
    """Reads back some events at a time. ``topic`` is where events of a release that did not say would stand; ``key_of``
    is the dedup key of the event in a record, None if it holds none."""

    def __init__(
        self, read: ReadRecords, key_of: Callable[[Record], str | None], topic: str, log: FilteringBoundLogger
    ) -> None:
        self._read = read
        self._key_of = key_of
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
        if record is not None and told == alert.last_notified:
            return record
        self._wanted = {alert.dedup_key: alert, **self._wanted}  # before what is only asked for soon
        return None

    def want(self, alert: Alert) -> None:
        """The record of the event that was told last of the alert is asked for soon."""
        if len(self._wanted) < AT_A_TIME and not self._is_found(alert):
            self._wanted.setdefault(alert.dedup_key, alert)

    def _is_found(self, alert: Alert) -> bool:
        return alert.dedup_key in self._found and self._found[alert.dedup_key][0] == alert.last_notified

    async def read(self) -> None:
        """Read what is wanted. Where it is not there, a record stands in for it that says what the alert knows: the
        problem is told in any case. So too where what was asked for cannot be read; the others are wanted again."""
        wanted, self._wanted = self._wanted, {}
        if not wanted:
            return
        if len(self._found) > AT_A_TIME:  # it was not asked for
            self._found.clear()
        places = {key: place for key, alert in wanted.items() if (place := _place_of(alert)) is not None}
        found = await read_back(self._read, set(places.values()))
        if found.error is not None:
            unread = sum(place not in found.records for place in places.values())
            self._log.warning("told_event_unread", events=unread, error=found.error)
        turn = perf_counter()
        for number, (dedup_key, alert) in enumerate(wanted.items()):
            if perf_counter() - turn > _SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = perf_counter()
            place = places.get(dedup_key)
            if place is None or place in found.records or number == 0:
                record = None if place is None else found.records.get(place)
                self._found[dedup_key] = alert.last_notified, self._record_of(alert, record)

    def _record_of(self, alert: Alert, record: Record | None) -> Record:
        """The record that was read, if it is of the alert (the topic may have been made anew, or the template have
        changed), or one that stands in for it."""
        if record is not None and self._key_of(record) == alert.dedup_key:
            return record
        self._log.warning("told_event_not_found", dedup_key=alert.dedup_key)
        return told_stand_in(alert, self._topic)


def _place_of(alert: Alert) -> Place | None:
    told, source = alert.last_notified, alert.source
    if told is None or told.offset is None or told.offset < 0 or source is None:
        return None
    return source.topic, source.partition, told.offset


def told_stand_in(alert: Alert, topic: str) -> Record:
    """What stands in for the record of the event that was told last."""
    severity = alert.highest if alert.last_notified is None else alert.last_notified.severity
    return stand_in(alert, f"again-{alert.dedup_key}", severity, alert.source, topic, _REASON)
