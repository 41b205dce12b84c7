"""Tells operators of records that are not keyed as ``kafka.event_key`` says (`consumer.events.record_key`)."""

from structlog.typing import FilteringBoundLogger

from consumer.events.record_key import UnexpectedKey
from consumer.telemetry.metrics import PipelineMetrics

_SHOWN = 200


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
