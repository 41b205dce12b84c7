"""Whether records are keyed as ``kafka.event_key`` says (design section 7).

Deduplication is right only if all events of one dedup key meet in one task. They do not where records have no key, or
another one: then one problem comes in several partitions, and is told once in each.
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
    """A record's key is ``found`` (None: it has none), and should be ``expected`` (None: its event lacks that)."""

    found: bytes | None
    expected: str | None


class RecordKey:
    """The key that records are to have: the value of ``field`` of their events, as text or as JSON."""

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
    """Counts, for one pipeline, the records with unexpected keys; tells of the first."""

    def __init__(self, field: str, metrics: PipelineMetrics, log: FilteringBoundLogger) -> None:
        self._field = field
        self._metrics = metrics
        self._log = log
        self._count = 0
        self._first = ""

    def saw(self, partition: int, offset: int, key: UnexpectedKey) -> None:
        """The record at this place has such a key."""
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
        """What somebody should know; None if there has been no such record."""
        if not self._count:
            return None
        records = "1 record was" if self._count == 1 else f"{self._count} records were"
        return (
            f"{records} not keyed by {self._field}, as kafka.event_key says, so one problem can be told several times "
            f"(the first: {self._first})"
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
