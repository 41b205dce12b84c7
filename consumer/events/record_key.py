"""Whether records are keyed as ``kafka.event_key`` says (design section 7).

Deduplication is right only if all events of one dedup key meet in one task. They may not meet if records have no key,
or another key: then one problem arrives in several partitions, and is told once in each.
"""

from collections.abc import Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from consumer.events.event import SecurityEvent
from consumer.events.keys import value_of
from consumer.telemetry.metrics import PipelineMetrics

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class UnexpectedKey:
    """A record's key is ``found`` (None: no key), and should be ``expected`` (None: the event lacks the field)."""

    found: bytes | None
    expected: str | None


class RecordKey:
    """The key that records must have: the value of the event's ``field``, as plain text or as a JSON string."""

    def __init__(self, field: str) -> None:
        self.field = field
        self._value_of: Callable[[SecurityEvent], str | None] = value_of(field)

    def check(self, event: SecurityEvent, key: bytes | None) -> UnexpectedKey | None:
        """What is wrong with the key of this event's record; None if nothing is, or if the event lacks the field."""
        expected = self._value_of(event)
        if key is None:
            return UnexpectedKey(None, expected or None)
        if not expected:
            return None
        text = expected.encode()
        return None if key == text or key == b'"%b"' % text else UnexpectedKey(key, expected)


class KeyWatch:
    """Counts, for one pipeline, the records with unexpected keys, and logs the first."""

    def __init__(self, field: str, metrics: PipelineMetrics, log: FilteringBoundLogger) -> None:
        self._field = field
        self._metrics = metrics
        self._log = log
        self._count = 0
        self._first = ""

    def saw(self, partition: int, offset: int, key: UnexpectedKey) -> None:
        """Take note of the record at this place, which has an unexpected key."""
        self._count += 1
        self._metrics.unexpected_key()
        if self._count == 1:
            found = None if key.found is None else _short(key.found.decode(errors="backslashreplace"))
            expected = None if key.expected is None else _short(key.expected)
            self._first = f"partition {partition}, offset {offset}: {found or 'none'} instead of {expected or 'one'}"
            self._log.warning(
                "record_key_unexpected",
                partition=partition,
                offset=offset,
                key=found,
                expected=expected,
                event_key=self._field,
            )

    @property
    def note(self) -> str | None:
        """A sentence about these records for people; None if there has been none."""
        if not self._count:
            return None
        records = "1 record was" if self._count == 1 else f"{self._count} records were"
        return (
            f"{records} not keyed by {self._field}, as kafka.event_key says, so one problem can be told several times "
            f"(the first: {self._first})"
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
