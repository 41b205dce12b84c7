"""What becomes of silenced alerts once their silences have ended (design section 22).

What is over is gone. What is live is owed, and sent with the record of its worst event. Of that an alert keeps only the
place, so the record is read again from there, of many alerts at once.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from consumer.kafka.reading import Place
from consumer.tasks.alerting.silence_ends import SilenceEnds
from consumer.tasks.partition.read_back import AT_A_TIME, ReadBack, ReadRecords, Unread, read_back
from consumer.timing.clock import Clock, Moment
from consumer.timing.turns import Turns
from state.alert import Alert
from state.held import is_live, untold
from state.policy import Policy
from state.silenced import owes_after_silence
from state.stand_in import silenced_stand_in
from state.store import Store
from state.violation import Record

UNREAD_SECONDS: Final = 60.0
"""How many seconds the task tries to read records again. Then it tells of live alerts what these know by themselves."""


class UnsilencingHandler(Protocol):
    """What a task does about the ends of silences."""

    @property
    def is_running(self) -> bool:
        """Whether the task decides."""
        ...

    def live_after_silence(self, alert: Alert) -> None:
        """The problem goes on, and the alert, which is to be put into the store, owes a trigger."""
        ...

    def over_after_silence(self, alert: Alert) -> None:
        """The problem of this alert of the store was over when its silences ended."""
        ...

    def urge(self) -> None:
        """Ask for a checkpoint soon."""
        ...


class Unsilencing:
    """Ends the silences of one task's alerts."""

    def __init__(
        self,
        *,
        store: Store,
        ends: SilenceEnds,
        policy: Policy,
        key_of: Callable[[Record], str | None],
        read: ReadRecords,
        effects: UnsilencingHandler,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._store = store
        self._ends = ends
        self._policy = policy
        self._key_of = key_of
        self._read = read
        self._effects = effects
        self._clock = clock
        self._log = log
        self._is_due = False
        self._unread = Unread()

    def silences_changed(self) -> None:
        """The member has read of silences."""
        self._ends.silences_changed()

    def passes(self, now: Moment, by_records: float | None) -> Iterator[None]:
        """A while has passed; done by going through what is returned. ``by_records`` is the time by the newest records,
        in seconds since the epoch (None: none was read)."""
        if not self._store.silenced_count or by_records is None:
            return
        self._ends.passes(now.monotonic, by_records)
        if self._is_due:
            return
        for found in self._ends.ended():
            yield
            if found is not None:
                self._is_due = True
                self._effects.urge()
                return

    async def judge(self, turns: Turns, has_room: Callable[[], bool]) -> None:
        """Judge alerts whose silences have ended, as long as the next checkpoint ``has_room``."""
        if not self._is_due:
            return
        self._is_due = False
        live: list[Alert] = []
        await turns.through(self._over(live, has_room))
        if live:
            await turns.through(self._tell(live, await self._read_again(live)))
        if self._is_due:  # there are more
            self._effects.urge()

    def _over(self, live: list[Alert], has_room: Callable[[], bool]) -> Iterator[None]:
        """End what is over, and find what is ``live``."""
        for found in self._ends.ended():
            yield
            if not self._effects.is_running:
                return
            if found is None:
                continue
            if len(live) == AT_A_TIME or not has_room():
                self._is_due = True
                return
            alert, end = found
            held = untold(alert)
            if held is None or self._store.get(alert.dedup_key) is not alert:
                continue  # others have had their turn meanwhile
            if is_live(held, end, self._policy):
                live.append(alert)
            else:
                self._effects.over_after_silence(alert)

    async def _read_again(self, live: Collection[Alert]) -> ReadBack:
        """The records of the worst events of these alerts, as far as they could be read."""
        places = {place for alert in live if (place := _place(alert)) is not None}
        now = self._clock.monotonic()
        found = await read_back(self._read, places)
        if found.error is not None:
            self._log.warning("silenced_events_unread", alerts=len(live), error=found.error)
        found.records.update(dict.fromkeys(self._unread.given_up(found, places, now, UNREAD_SECONDS)))
        return found

    def _tell(self, live: Collection[Alert], found: ReadBack) -> Iterator[None]:
        for before in live:
            yield
            if not self._effects.is_running:
                return
            alert = self._store.get(before.dedup_key)
            place = None if alert is None else _place(alert)
            # Others have had their turn meanwhile: it may be told or gone, or a worse event may have come.
            if alert is None or place is None or place not in found.records or self._ends.end_of(alert) is None:
                continue
            record = found.records[place]
            if record is None or self._key_of(record) != alert.dedup_key:  # the topic may have been made anew since
                self._log.warning("silenced_event_not_found", dedup_key=alert.dedup_key)
                record = silenced_stand_in(alert)
            self._effects.live_after_silence(owes_after_silence(alert, record, self._clock.wall()))


def _place(alert: Alert) -> Place | None:
    """Where the worst silenced event of the alert stands; None if nobody needs it."""
    held = untold(alert)
    return None if held is None else (held.source.topic, held.source.partition, held.offset)
