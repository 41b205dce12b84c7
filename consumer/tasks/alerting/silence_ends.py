"""Which silenced alerts of a task are to be judged: their silences have ended, and everything that was recorded before
the end is decided (design section 22)."""

from collections.abc import Iterator
from functools import partial
from typing import Protocol

from consumer.input.progress import Progress
from consumer.silences.silence import Silence
from state.alert import Alert, Held
from state.held import ends_at, untold
from state.store import Store


class Known(Protocol):
    """The silences that a member knows: `consumer.silences.known`."""

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id; None if no record of it was read."""
        ...

    def end_of(self, silence_id: str, until: float, provider: str, decided: float) -> float:
        """When it ends for what it holds at this provider, and was to hold ``until`` then; the last event of that was
        ``decided`` at this time."""
        ...


class SilenceEnds:
    """The ends of silences, as one task comes to them. ``known`` are the silences that its member knows now,
    ``provider`` is the name of the one that the task tells.

    Silences hold by the times of records. So an end has come once it is past by the records' time, and the task has
    then decided all that could be read at that moment. What a producer writes with an earlier time after that is
    silenced still; it is counted into what the alert has become.

    The store keeps silenced alerts in the order of the ends that are known, and asks for these here: each look stops at
    the first end that has not come. Only a silence that holds something and is written again has all of them ordered
    anew.
    """

    def __init__(self, store: Store, progress: Progress, known: Known, provider: str) -> None:
        self._store = store
        self._progress = progress
        self._known = known
        self._provider = provider
        self._decided_before: float | None = None
        self._noted: tuple[float, float] | None = None  # a time by records, and the moment at which it was that
        self._asked: dict[str, Silence | None] = {}  # by id: as they were when alerts were ordered by their ends
        self._is_news = True
        store.order_silenced(self._end)
        self._is_in_order = not store.silenced_count

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
            yield from self._compare()
        if not self._is_in_order:
            self._is_in_order = True
            self._asked.clear()
            for dedup_key in self._store.silenced():
                self._store.order_again(dedup_key)
                yield None
        for dedup_key in self._store.silenced():
            alert = self._store.get(dedup_key)
            held = None if alert is None else untold(alert)
            if alert is None or held is None:
                continue
            if (end := self._end(held)) > before:
                return
            yield alert, end

    def end_of(self, alert: Alert) -> float | None:
        """The end of the silences of an alert, if it has come; None if it has not, or if none holds the alert."""
        before, held = self._decided_before, untold(alert)
        if before is None or held is None or (end := self._end(held)) > before:
            return None
        return end

    def _is_decided_to(self, moment: float, now: float) -> bool:
        """Whether all that could be read then is decided, here and by the stage before."""
        return self._progress.is_decided_to(moment) and self._progress.is_caught_up(now)

    def _compare(self) -> Iterator[None]:
        """Look whether a silence that holds something has changed since the alerts were put in order."""
        for silence_id, before in tuple(self._asked.items()):
            if self._known.get(silence_id) != before:
                self._is_in_order = False
                return
            yield None

    def _end(self, held: Held) -> float:
        """When the silences end that hold this, as far as that is known now."""
        return ends_at(held, partial(self._end_of_one, decided=held.decided))

    def _end_of_one(self, silence_id: str, until: float, decided: float) -> float:
        self._asked.setdefault(silence_id, self._known.get(silence_id))
        return self._known.end_of(silence_id, until, self._provider, decided)
