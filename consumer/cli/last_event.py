"""The event that an alert is about: the event that is owed, or else the one that its provider was told about last.

An alert that owes a trigger holds the event itself. An alert that was told holds only the event's place, since there
can be a million alerts: the event is read from its topic when somebody asks for it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from consumer.events.event import violation_of
from consumer.events.keys import KeyTemplate
from consumer.events.severities import Severities
from providers.errors import text_of
from providers.notification import Origin
from state.alert import Alert
from state.violation import Record, Violation

ReadRecord = Callable[[str, int, int], Awaitable[Record | None]]
"""Reads the record at a topic, partition and offset; None if there is none, or none any more. Raises `KafkaError`,
`OSError` or `TimeoutError` if Kafka does not answer as it should."""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The event's place and its facts; each is None if it is not known, and then ``note`` says why."""

    place: Origin | None
    says: Violation | None
    note: str | None = None


def place_of(alert: Alert) -> Origin | None:
    """The event's place; None if the alert has not kept it."""
    if (owed := alert.owed) is not None:
        return Origin(owed.record.topic, owed.record.partition, owed.record.offset)
    told, source = alert.last_notified, alert.source
    if told is None or told.offset is None or source is None:
        return None
    return Origin(source.topic, source.partition, told.offset)


def names_of(alert: Alert) -> tuple[str, str | None] | None:
    """The guard and the tenant of the event; None if they are not known (an earlier release, which did not keep them,
    has told it)."""
    owed, source = alert.owed, alert.source
    if owed is None:
        return None if source is None or source.guard is None else (source.guard, source.tenant)
    if owed.guard is not None:
        return owed.guard, owed.tenant
    try:
        violation = violation_of(owed.record)
    except ValueError:
        return None
    return violation.guard, violation.tenant_id


async def last_event(alert: Alert, template: KeyTemplate, severities: Severities, read: ReadRecord) -> LastEvent:
    """The event, from the alert or from the event's topic; ``severities`` is what its words count as.

    Raises nothing, since an alert is shown also without its event.
    """
    place = place_of(alert)
    if alert.owed is not None:
        try:
            return LastEvent(place, violation_of(alert.owed.record, severities))
        except ValueError as error:
            return LastEvent(place, None, str(error))
    if place is None:
        return LastEvent(None, None, _why_nowhere(alert))
    try:
        record = await read(place.topic, place.partition, place.offset)
    except (KafkaError, OSError, TimeoutError) as error:
        return LastEvent(place, None, f"not read: {text_of(error, 'no answer')}")
    if record is None:
        return LastEvent(place, None, "not there any more: its topic no longer has the record")
    try:
        violation = violation_of(record, severities)
    except ValueError:
        violation = None
    if violation is None or template.render(violation) != alert.dedup_key:
        return LastEvent(place, None, "another event is there: the topic was made anew, or the key template changed")
    return LastEvent(place, violation)


def _why_nowhere(alert: Alert) -> str:
    if alert.last_notified is not None:
        return "not known: an earlier release, which kept no place, has told it"
    if alert.overflow is not None:
        return "dead-lettered, as its route owed too much: see `dlq list`"
    return "not known: it was dead-lettered (`dlq list`), or told through an integration that the alert has left"
