"""Which alerts stand in the state topic as they are, and which as they were, with counts beside them."""

from collections.abc import Iterable, Iterator, Mapping

import orjson

from state.alert import Alert
from state.counts import Counts, counts_of, with_counts

LARGE_BYTES = 4096
"""Of an owed record: from here on the alert is not written again where only its counts have changed."""

MAX_COUNTS = 256
MAX_COUNTS_BYTES = 64 * 1024
"""Of all counts together, which stand in each checkpoint's own record. What is more is written with its record."""

_COUNTS_BYTES = 230
"""At most, of the numbers of one alert. Its key, escaped, takes up to twice its bytes."""


class Written:
    """What the state topic holds of the alerts that owe a large record.

    Counts are cumulative: they say how an alert differs from its last record, until that is written again or the alert
    is gone. So each checkpoint has those of all alerts, also of those that have not changed since the one before.
    """

    def __init__(self) -> None:
        self._records: dict[str, Alert] = {}
        self._counts: dict[str, Counts] = {}  # what has had counts for longest comes first
        self._bytes = 0

    @property
    def counts(self) -> Mapping[str, Counts]:
        """By dedup key, what the next checkpoint has to say of alerts whose records it does not hold."""
        return self._counts

    def restored(self, alert: Alert, counts: Counts | None) -> None:
        """The alert was read back; ``counts`` are those that the checkpoint held of it."""
        if _is_large(alert):
            self._records[alert.dedup_key] = alert
            if counts is not None:
                self._put(alert.dedup_key, counts)

    def forget(self, dedup_key: str) -> None:
        """Nothing of this alert is written (any more)."""
        self._drop(dedup_key)
        self._records.pop(dedup_key, None)

    def divide(self, changed: Iterable[tuple[str, Alert | None]]) -> Iterator[tuple[str, Alert | None] | None]:
        """What the next checkpoint is to write of the alerts that have changed; None where counts say it all.

        ``changed`` are the alerts by key, as they were at its cut (None: gone). `counts` are those of the cut once all
        of this has been gone through, and not before. What is written is taken as written: behind a checkpoint that
        failed there is none.
        """
        for key, alert in changed:
            before = self._records.get(key)
            if before is None and (alert is None or alert.owed is None):
                yield key, alert  # as most are: nothing is kept of it
                continue
            counts = counts_of(alert) if before is not None and alert is not None and alert.owed is not None else None
            if counts is not None and before is not None and with_counts(before, counts) == alert:
                self._put(key, counts)
                yield None
            else:
                yield self._write(key, alert)
        while len(self._counts) > MAX_COUNTS or self._bytes > MAX_COUNTS_BYTES:
            oldest, counts = next(iter(self._counts.items()))
            # That is the alert at the cut, also if it has not changed since the one before.
            yield self._write(oldest, with_counts(self._records[oldest], counts))

    def _write(self, key: str, alert: Alert | None) -> tuple[str, Alert | None]:
        self._drop(key)
        if alert is not None and _is_large(alert):
            self._records[key] = alert
        else:
            self._records.pop(key, None)
        return key, alert

    def _put(self, key: str, counts: Counts) -> None:
        before = self._counts.get(key)
        self._bytes += _size_of(key, counts) - (0 if before is None else _size_of(key, before))
        self._counts[key] = counts

    def _drop(self, key: str) -> None:
        counts = self._counts.pop(key, None)
        if counts is not None:
            self._bytes -= _size_of(key, counts)


def _is_large(alert: Alert) -> bool:
    return alert.owed is not None and alert.owed.record.size >= LARGE_BYTES


def _size_of(key: str, counts: Counts) -> int:
    return _COUNTS_BYTES + 2 * len(key.encode()) + len(orjson.dumps(counts.owed_last_error))
