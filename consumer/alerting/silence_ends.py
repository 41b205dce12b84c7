"""Which silenced alerts of a task are to be judged: their silences have ended, and everything that was recorded before
the end is decided (design section 22)."""

from collections.abc import Iterator
from typing import Protocol

from consumer.input.progress import Progress
from consumer.silences.silence import Silence
from state.alert import Alert, untold
from state.silenced import ends_at
from state.store import Store


class Known(Protocol):
    """The silences that a member knows: `consumer.silences.known`."""

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id; None if no record of it was read."""
        ...


class SilenceEnds:
    """The ends of silences, as one task comes to them. ``known`` are the silences that its member knows now.

    Silences hold by the times of records. So an end has come once it is past by the records' time, and the task has
    then decided all that could be read at that moment. What a producer writes with an earlier time after that is
    silenced still; it is counted into what the alert has become.
    """

    def __init__(self, store: Store, progress: Progress, known: Known) -> None:
        self._store = store
        self._progress = progress
        self._known = known
        self._decided_before: float | None = None
        self._noted: tuple[float, float] | None = None  # a time by records, and the moment at which it was that
        self._early: dict[str, None] = {}  # keys with a silence that ends earlier than it was to end
        self._is_news = True

    def silences_changed(self) -> None:
        """The member has read of silences."""
        self._is_news = True

    def passes(self, now: float, by_records: float) -> None:
        """A while has passed. ``now`` is by the monotonic clock, ``by_records`` the time by the newest records that
        were read (`consumer.kafka.record_clock`), in seconds since the epoch."""
        if self._noted is not None and self._is_decided_to(self._noted[1], now):
            before = self._noted[0]
            if self._decided_before is None or before > self._decided_before:
                self._decided_before = before
            self._noted = None
        if self._noted is None:
            self._noted = by_records, now

    def ended(self) -> Iterator[tuple[Alert, float] | None]:
        """The alerts whose silences have ended, each with the end, until they are judged; None for one that was only
        looked at. Alerts may change meanwhile."""
        before = self._decided_before
        if before is None:
            return
        if self._is_news:
            self._is_news = False
            for dedup_key in self._store.silenced():
                if self._early_end(dedup_key) is not None:
                    self._early[dedup_key] = None
                yield None
        for dedup_key in list(self._early):
            found = self._early_end(dedup_key)
            if found is None:
                self._early.pop(dedup_key, None)
            yield found if found is not None and found[1] <= before else None
        for dedup_key in self._store.silenced():
            alert = self._store.get(dedup_key)
            held = None if alert is None else untold(alert)
            if alert is None or held is None:
                continue
            if ends_at(held, {}) > before:
                return
            end = self._end(alert)
            yield (alert, end) if end <= before else None

    def end_of(self, alert: Alert) -> float | None:
        """The end of the silences of an alert, if it has come; None if it has not, or if none holds the alert."""
        before, held = self._decided_before, untold(alert)
        if before is None or held is None or (end := self._end(alert)) > before:
            return None
        return end

    def _is_decided_to(self, moment: float, now: float) -> bool:
        """Whether all that could be read then is decided, here and by the stage before."""
        return self._progress.is_decided_to(moment) and self._progress.is_caught_up(now)

    def _early_end(self, dedup_key: str) -> tuple[Alert, float] | None:
        """The alert, and the end of its silences, if that is earlier than it was to be."""
        alert = self._store.get(dedup_key)
        held = None if alert is None else untold(alert)
        if alert is None or held is None or (end := self._end(alert)) >= ends_at(held, {}):
            return None
        return alert, end

    def _end(self, alert: Alert) -> float:
        held = untold(alert)
        assert held is not None
        found = ((silence_id, self._known.get(silence_id)) for silence_id, _ in held.silences)
        return ends_at(held, {silence_id: one.expires_at for silence_id, one in found if one is not None})
