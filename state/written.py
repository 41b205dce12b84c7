"""Which alerts the next checkpoint writes in full, and of which it writes the counts only (design section 6.4)."""

from collections.abc import Iterable, Iterator, Mapping

import orjson

from state.alert import Alert
from state.counts import Counts, counts_of, with_counts

LARGE_BYTES = 4096
"""An alert whose owed record has at least so many bytes is not written again if only its counts have changed."""

MAX_COUNTS = 256
MAX_COUNTS_BYTES = 64 * 1024
"""How many counts (`MAX_COUNTS`), and of how many bytes together, stand in the checkpoint's own record at most. Beyond
that, alerts are written in full again."""

_COUNTS_BYTES = 230
"""How many bytes the numbers of one alert take at most. Its key, escaped, takes at most twice its bytes."""


class Written:
    """What the state topic holds of the alerts that owe a large record.

    Counts are cumulative: they say how an alert differs from its last state record, until that is written again or the
    alert is gone. So each checkpoint has all counts, also of alerts that have not changed since the checkpoint before.
    """

    def __init__(self) -> None:
        self._records: dict[str, Alert] = {}
        self._counts: dict[str, Counts] = {}  # the alert that has had counts for longest first
        self._bytes = 0

    @property
    def counts(self) -> Mapping[str, Counts]:
        """The counts that the next checkpoint has to hold, by dedup key: of alerts that it does not write in full."""
        return self._counts

    def restored(self, alert: Alert, counts: Counts | None) -> None:
        """The alert was restored; ``counts`` are those that the checkpoint held of it, which it has already."""
        if _is_large(alert):
            self._records[alert.dedup_key] = alert
            if counts is not None:
                self._put(alert.dedup_key, counts)

    def forget(self, dedup_key: str) -> None:
        """Note that the state topic does not hold this alert (any more)."""
        self._drop(dedup_key)
        self._records.pop(dedup_key, None)

    def divide(self, changed: Iterable[tuple[str, Alert | None]]) -> Iterator[tuple[str, Alert | None] | None]:
        """The alerts that the next checkpoint is to write, with their keys; None for one of which its counts say all.

        ``changed`` are the alerts by key, as they were at the cut (None: gone). `counts` belong to the cut once this
        iterator is exhausted, not before. An alert that is returned here counts as written at once: a checkpoint that
        fails is written again, and no other one is written before.
        """
        for key, alert in changed:
            before = self._records.get(key)
            if before is None and (alert is None or alert.owed is None):
                yield key, alert  # most alerts: nothing is kept of them here
                continue
            counts = counts_of(alert) if before is not None and alert is not None and alert.owed is not None else None
            if counts is not None and before is not None and with_counts(before, counts) == alert:
                self._put(key, counts)
                yield None
            else:
                yield self._write(key, alert)
        while len(self._counts) > MAX_COUNTS or self._bytes > MAX_COUNTS_BYTES:
            oldest, counts = next(iter(self._counts.items()))
            # Record and counts together are the alert as it was at the cut, also if it has not changed since the last.
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
