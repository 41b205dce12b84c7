"""One integration: a key at an address, with everything that waits to leave through it, and its condition (design
section 13). No I/O; the monotonic clock comes as an argument.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from providers.answer import Rejected, RouteRefused
from providers.delivery.breaker import Breaker
from providers.delivery.outbox import Dispatch, Lane, Outbox, Pending
from providers.delivery.queue import Entry, Queue, Retry
from providers.limiter import KeyLimiter
from state.violation import Severity

CHECK_SECONDS: Final = 10.0
"""Between two checks of one key, at least."""

BELIEVED: Final = 2
"""Rejections since the last acceptance that are believed where the key cannot be checked."""

_TRIES: Final = 100
"""So many owed triggers are looked at for one that may go."""

FORGIVEN: Final = 5
"""Of the alerts that have opened a breaker, so many are tried again in their own turn, once it has closed: they are the
worst there were, and each costs the others one request."""

_THROTTLES: Final = 2
"""Answers 429 to one alert in a row, after which something may throttle that alert alone."""

_TURNS: Final[Sequence[Sequence[Lane]]] = (
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
    (Lane.RESOLVE, Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE),
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
    (Lane.ACKNOWLEDGE, Lane.AGAIN, Lane.NEW, Lane.RESOLVE),
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
)
"""Which lane has the first right to each of five requests in turn: two of five are not for new problems, so that what
ends and what somebody has taken is told in the worst storm too."""


Alert = tuple[Outbox, str]
"""An alert, as delivery knows it: whose it is, and its dedup key."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A notification that was rejected, or whose route was refused: the check says whose fault it is."""

    entry: Entry
    dispatch: Dispatch
    answer: Rejected | RouteRefused
    answered_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the provider refuses the key, since when, and whether a check has found it out."""

    reason: str
    by_check: bool


@dataclass(slots=True, eq=False)
class Integration:
    """Several routes can share one, and with it its rate, its breaker and its refusal.

    ``route`` is one of its ``routes``. ``check_interval`` is in seconds, 0 for no checks; ``may_owe`` is how many triggers
    may be owed (None: any number). Times are by the monotonic clock.
    """

    routes: tuple[str, ...]
    limiter: KeyLimiter
    breaker: Breaker[Alert]
    recovery_seconds: float
    check_interval: float
    may_owe: int | None = None
    in_flight: int = 0
    awaiting: int = 0
    """Notifications on the wire whose next request waits for a token: they go before what has not begun."""
    refusal: Refusal | None = None
    suspects: dict[Alert, Suspect] = field(default_factory=dict)
    accepted_at: float = float("-inf")
    """When the last acceptance came."""
    worked_at: float = float("-inf")
    """When the provider last took anything with this key, a check included."""
    is_checking: bool = False
    checked_at: float = float("-inf")
    heard_at: float = float("-inf")
    """When the provider last said something about the key: an acceptance, or the answer to a check."""
    owed: int = 0
    owed_bytes: int = 0
    _queues: dict[Outbox, Queue] = field(default_factory=dict)
    _resolving: OrderedDict[Outbox, Queue] = field(default_factory=OrderedDict)
    _forgiven: dict[Alert, int] = field(default_factory=dict)
    _rejected: int = 0
    _probe_at: float = float("-inf")
    _turn: int = 0
    _doubts_throttling: bool = False

    @property
    def route(self) -> str:
        """The name of one of its routes."""
        return self.routes[0]

    def __len__(self) -> int:
        """How many alerts wait."""
        return sum(len(queue) for queue in self._queues.values())

    def waiting(self) -> Iterator[Entry]:
        """All that wait, in no order."""
        for queue in self._queues.values():
            yield from queue.waiting()

    # what waits

    def queue(self, outbox: Outbox) -> Queue:
        """The queue of this task."""
        queue = self._queues.get(outbox)
        if queue is None:
            queue = self._queues[outbox] = Queue(outbox)
        return queue

    def put(self, outbox: Outbox, dedup_key: str, pending: Pending | None, now: float) -> None:
        """What the alert has to say next through this integration; None if nothing."""
        queue = self._queues.get(outbox)
        if queue is None:
            if pending is None:
                return
            queue = self.queue(outbox)
        if pending is None:
            queue.remove(dedup_key)
            self.settled(outbox, dedup_key)
        elif not pending.is_ready:
            queue.remove(dedup_key)
        else:
            retry = queue.retries.get(dedup_key)
            if pending.failures == 0 and retry is not None and not retry.throttled:
                del queue.retries[dedup_key]  # something new is said, whatever failed before
                retry = None
            if retry is not None and retry.not_before > pending.not_before:
                pending = replace(pending, not_before=retry.not_before)
            is_behind = pending.failures > self._forgiven.get((outbox, dedup_key), 0)
            queue.put(dedup_key, pending, is_behind=is_behind, now=now)
            if pending.lane is Lane.RESOLVE:
                self._resolving[outbox] = queue
        self.owe(outbox, dedup_key, pending)

    def owe(self, outbox: Outbox, dedup_key: str, pending: Pending | None) -> None:
        """The trigger that the alert owes, waiting or on the wire; None if it owes none."""
        queue = self._queues.get(outbox)
        if queue is None:
            return
        self.owed -= queue.count
        self.owed_bytes -= queue.bytes
        queue.owe(dedup_key, pending)
        self.owed += queue.count
        self.owed_bytes += queue.bytes

    def settled(self, outbox: Outbox, dedup_key: str) -> None:
        """What the alert had to say was taken or rejected, or is not to be said any more: what failed is forgotten."""
        queue = self._queues.get(outbox)
        if queue is not None:
            queue.retries.pop(dedup_key, None)
        self._forgiven.pop((outbox, dedup_key), None)

    def forget(self, outbox: Outbox) -> None:
        """Nothing of this task waits any more."""
        queue = self._queues.pop(outbox, None)
        if queue is not None:
            self.owed -= queue.count
            self.owed_bytes -= queue.bytes
        self._resolving.pop(outbox, None)
        for alert in [alert for alert in self.suspects if alert[0] is outbox]:
            del self.suspects[alert]
        for alert in [alert for alert in self._forgiven if alert[0] is outbox]:
            del self._forgiven[alert]

    def may_resolve_again(self, outbox: Outbox) -> bool:
        """The task's resolves may leave again; whether there are any."""
        queue = self._queues.get(outbox)
        if queue is None or outbox in self._resolving or queue.head(Lane.RESOLVE) is None:
            return False
        self._resolving[outbox] = queue
        return True

    # what leaves

    def take(self, now: float) -> Entry | None:
        """What leaves next, taken out of its queue; None if nothing may at this moment."""
        entry = None
        if not self.awaiting and self._queues and self.breaker.allows(now, self.in_flight) and self._is_let(now):
            for queue in self._queues.values():
                queue.unpark(now)
            entry = self._probe() if self.breaker.is_open or self.refusal is not None else self._next()
        is_held_up = entry is not None and not self.limiter.has_token(now)
        self.limiter.set_waiting(is_held_up, now)
        if entry is None or is_held_up:
            return None
        entry.queue.remove(entry.dedup_key)
        return entry

    def started(self, now: float) -> None:
        """What was taken is on the wire: it has its token, and the next one has its turn."""
        self.limiter.take(now)
        self._turn += 1
        self.in_flight += 1

    def _is_let(self, now: float) -> bool:
        """Whether a refusal lets an alert try: of one that a check has found out, only a check says that it is over."""
        if self.refusal is None:
            return True
        return not self.refusal.by_check and self.in_flight == 0 and now >= self._probe_at

    def _next(self) -> Entry | None:
        for lane in _TURNS[self._turn % len(_TURNS)]:
            entry = self._first_resolve() if lane is Lane.RESOLVE else self._first(lane)
            if entry is not None:
                return entry
        return self._first_behind()

    def _first(self, lane: Lane) -> Entry | None:
        heads = (head for queue in self._queues.values() if (head := queue.head(lane)) is not None)
        return min(heads, key=_rank, default=None)

    def _first_resolve(self) -> Entry | None:
        """Of the tasks that are caught up, each has its turn."""
        while self._resolving:
            outbox, queue = next(iter(self._resolving.items()))
            entry = queue.head(Lane.RESOLVE)
            if entry is not None and outbox.may_resolve():
                self._resolving.move_to_end(outbox)
                return entry
            del self._resolving[outbox]
        return None

    def _first_behind(self) -> Entry | None:
        behind = (entry for queue in self._queues.values() if (entry := queue.behind()) is not None)
        return min(behind, key=_rank_behind, default=None)

    def _probe(self) -> Entry | None:
        """The alert with the fewest failures, a trigger before others; of these the least severe, as it may fail too,
        and then goes behind all that have not."""
        for lane in (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE):
            tails = (tail for queue in self._queues.values() if (tail := queue.tail(lane)) is not None)
            entry = min(tails, key=_rank_of_probe, default=None)
            if entry is not None:
                return entry
        return self._first_resolve() or self._first_behind()

    def next_due(self, now: float) -> float | None:
        """When something may leave, or is to be checked, that is not now; None if no time will change that."""
        due: list[float] = []
        if self._queues:
            unparked = [at for queue in self._queues.values() if (at := queue.next_unparked) is not None]
            held_until = max(self.breaker.probe_at or 0.0, self._probe_at if self.refusal is not None else 0.0)
            due += [max(at, held_until) for at in unparked]
            if held_until > now and len(self):
                due.append(held_until)
            if not self.limiter.has_token(now) and any(len(queue) for queue in self._queues.values()):
                due.append(max(held_until, self.limiter.next_at(now)))
        check = self.check_due()
        if check is not None and not self.is_checking:
            due.append(max(check, self.limiter.next_at(now)) if not self.limiter.has_token(now) else check)
        return min((at for at in due if now < at < math.inf), default=None)

    # what answers say

    def accepted(self, sent_at: float, now: float) -> list[Suspect]:
        """The provider took a request that had left at ``sent_at``; gives the suspects that had been answered by then:
        the key works, so it is their own fault."""
        self.accepted_at = self.worked_at = self.heard_at = now
        self._rejected = 0
        opened_by = self.breaker.opened_by[:FORGIVEN]
        self.breaker.succeeded()
        for alert in opened_by:
            self.forgive(alert, now)
        return self._released(lambda suspect: suspect.answered_at <= sent_at)

    def failed(self, entry: Entry, now: float, retry_after: float | None = None) -> None:
        """An outage answer. It counts for the breaker if nothing has been accepted since the alert's first failure."""
        self.note_failure(entry, now)
        if not self.is_own_trouble(entry):
            self.breaker.failed((entry.outbox, entry.dedup_key), now, retry_after or 0.0)

    def is_own_trouble(self, entry: Entry) -> bool:
        """Whether the provider has taken something since the alert first failed."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and self.worked_at > retry.first_failed

    def note_failure(self, entry: Entry, now: float) -> Retry:
        """The alert has failed. One that has failed before this process knew of it has done so for ever."""
        retries = entry.queue.retries
        retry = retries.get(entry.dedup_key)
        if retry is None:
            retry = retries[entry.dedup_key] = Retry(-math.inf if entry.pending.failures else now)
        return retry

    def throttled(self, entry: Entry, retry_after: float | None, now: float) -> bool:
        """An answer 429. Whether it is the integration's: it then lets nothing leave for a while.

        Something may throttle that alert alone, and it would hold up all others for ever. So after some of them in a row
        the key is checked, and what is then throttled once more has a trouble of its own.
        """
        retry = self.note_failure(entry, now)
        retry.throttled += 1
        if retry.throttled > _THROTTLES and self.is_own_trouble(entry):
            return False
        self.limiter.throttled(now, retry_after)
        self._doubts_throttling = retry.throttled >= _THROTTLES
        return True

    def forgive(self, alert: Alert, now: float) -> None:
        """What the alert has failed so far was the route's fault: it has its own turn again, until it fails once more."""
        outbox, dedup_key = alert
        queue = self._queues.get(outbox)
        entry = queue.get(dedup_key) if queue is not None else None
        if queue is not None and entry is not None and entry.is_behind:
            self._forgiven[alert] = entry.pending.failures
            queue.put(dedup_key, entry.pending, is_behind=False, now=now)

    # refusals

    def refuse(self, reason: str, now: float, *, by_check: bool) -> bool:
        """The provider refuses the key. Whether that is news."""
        is_news = self.refusal is None
        self.refusal = Refusal(reason, by_check or (self.refusal is not None and self.refusal.by_check))
        self._probe_at = now + self.recovery_seconds
        return is_news

    def works(self) -> bool:
        """The provider takes the key. Whether that is news."""
        is_news, self.refusal = self.refusal is not None, None
        return is_news

    def suspect(self, suspect: Suspect) -> None:
        """It waits for the next check."""
        self.suspects[suspect.entry.outbox, suspect.entry.dedup_key] = suspect

    def believes_rejection(self) -> bool:
        """Where the key cannot be checked: whether a rejection is taken for the alert's own fault."""
        self._rejected += 1
        return self._rejected <= BELIEVED

    def check_due(self) -> float | None:
        """When the key is to be checked; None for never."""
        if not self.check_interval:
            return None
        if self.suspects or self._doubts_throttling:
            return self.checked_at + CHECK_SECONDS
        if self.refusal is not None and (self.refusal.by_check or not self.owed):
            return self.checked_at + max(CHECK_SECONDS, self.recovery_seconds)
        return max(self.heard_at, self.checked_at) + self.check_interval

    def check_accepted(self, sent_at: float, now: float) -> list[Suspect]:
        """The check that had left at ``sent_at`` was accepted; gives the suspects whose own fault it is then."""
        self.worked_at = self.heard_at = now
        self._doubts_throttling = False
        return self._released(lambda suspect: suspect.answered_at <= sent_at)

    def check_refused(self) -> list[Suspect]:
        """The check was refused; gives the suspects, whose fault it is not."""
        return self._released(lambda suspect: True)

    def _released(self, which: Callable[[Suspect], bool]) -> list[Suspect]:
        released = [suspect for suspect in self.suspects.values() if which(suspect)]
        for suspect in released:
            del self.suspects[suspect.entry.outbox, suspect.entry.dedup_key]
        return released

    # room

    @property
    def owes_too_much(self) -> bool:
        """Whether more triggers are owed than may be."""
        return self.may_owe is not None and self.owed > self.may_owe

    def has_room(self) -> bool:
        """Whether one more trigger may be owed."""
        return self.may_owe is None or self.owed < self.may_owe

    def least_owed(self) -> Iterator[Alert]:
        """Triggers that are owed and may go for another: of the least severity, the longest owed first.

        None of a higher severity: where all of the least severe are on the wire or may still land, more is owed for a
        while than may be, rather than that a worse one goes.
        """
        least_severe: Severity | None = None
        passed_over: dict[Outbox, set[str]] = {outbox: set() for outbox in self._queues}
        for _ in range(_TRIES):
            found = [
                (*least, outbox)
                for outbox, queue in self._queues.items()
                if (least := queue.least_owed(passed_over[outbox])) is not None
            ]
            if not found:
                return
            severity, _, dedup_key, outbox = min(found, key=lambda least: least[:2])
            if least_severe is not None and severity > least_severe:
                return
            least_severe = severity
            yield outbox, dedup_key
            passed_over[outbox].add(dedup_key)


def _rank(entry: Entry) -> tuple[int, float]:
    return (-entry.pending.severity, entry.pending.since)


def _rank_of_probe(entry: Entry) -> tuple[int, float]:
    return (entry.pending.severity, entry.pending.since)


def _rank_behind(entry: Entry) -> tuple[int, int, int, float]:
    pending = entry.pending
    return (pending.failures, pending.lane, -pending.severity, pending.since)
