"""One integration: a key at an address, with everything that waits to leave through it, and its condition (design
section 13). No I/O; the monotonic clock comes as an argument.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Final

from msgspec.structs import replace

from providers.answer import Rejected, RouteRefused
from providers.delivery.breaker import Breaker, Probes
from providers.delivery.limiter import KeyLimiter
from providers.delivery.outage import Failure, Outage, Outages
from providers.delivery.outbox import Dispatch, Lane, Outbox, Pending
from providers.delivery.queue import Entry, Queue, Retry
from state.violation import Severity

CHECK_SECONDS: Final = 10.0
"""Between two checks of one key, at least."""

CERTAIN_SECONDS: Final = 15.0
"""So long after a key was seen to work it is taken to work still; nobody revokes it and puts it right meanwhile."""

BELIEVED: Final = 2
"""Rejections since the last acceptance that are believed where the key cannot be checked."""

_TRIES: Final = 100
"""So many owed triggers are looked at for one that may go."""

FORGIVEN: Final = 5
"""Of the alerts that have opened a breaker, so many are tried again in their own turn, once it has closed: they are the
worst there were, and each costs the others one request."""

_FORGIVE_SECONDS: Final = 60.0
"""Between two times at least: a breaker that opens again and again was opened by alerts that always fail."""

_QUICK_PROBES: Final = 5
"""Alerts that have not failed and are tried at once when a key is refused: it may be refused for some alerts only."""

_BEHIND_SECONDS: Final = 1.0
"""Between two alerts that have failed before, where the last of these has failed again."""

_MOST_BEHIND: Final = 64
"""So many of them are on the wire at most, while they are accepted."""

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
    """A notification that was rejected, or whose route was refused: the check says whose fault it is.

    It left at ``sent_at``, and was answered at ``answered_at``; the key was last seen to work at ``worked_at``, which
    is never where it has been seen not to since.
    """

    entry: Entry
    dispatch: Dispatch
    answer: Rejected | RouteRefused
    sent_at: float
    answered_at: float
    worked_at: float

    @property
    def is_certain(self) -> bool:
        """Whether, if the key works now, it has worked all the time: it was seen to just before the request left."""
        return self.sent_at <= self.worked_at + CERTAIN_SECONDS


@dataclass(frozen=True, slots=True)
class Refusal:
    """The provider refuses the key; whether a check has found it out. (Why, and since when, the outage says.)"""

    by_check: bool
    probes: Probes


@dataclass(slots=True, eq=False)
class Owed:
    """What is owed through all integrations of a member: triggers, and the bytes that are kept because of them."""

    triggers: int = 0
    bytes: int = 0


@dataclass(slots=True, eq=False)
class Integration:
    """Several routes can share one, and with it its rate, its breaker and its refusal.

    ``route`` is one of its ``routes``. ``check_interval`` is in seconds, 0 for no checks; ``may_owe`` is how many
    triggers may be owed (None: any number). One that is not checked when it is idle is checked in doubt only. Times are
    by the monotonic clock.
    """

    routes: tuple[str, ...]
    limiter: KeyLimiter
    breaker: Breaker[Alert]
    recovery_seconds: float
    check_interval: float
    may_owe: int | None = None
    everything: Owed = field(default_factory=lambda: Owed())
    checks_idle: bool = True
    in_flight: int = 0
    is_held_up: bool = False
    """Whether something would leave now but for the limiter."""
    awaiting: int = 0
    """Notifications on the wire whose next request waits for a token: they go before what has not begun."""
    refusal: Refusal | None = None
    outages: Outages = field(default_factory=Outages)
    throttled_since: float | None = None
    """When the provider began to limit the rate, until it is as it should be."""
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
    is_proved: bool = False
    """Whether what it accepts is believed to come about: once it was asked (`providers.delivery.verifying`)."""
    is_asking: bool = False
    """Whether the questions about one notification go before what has not begun."""
    _queues: dict[Outbox, Queue] = field(default_factory=dict)
    _resolving: OrderedDict[Outbox, Queue] = field(default_factory=OrderedDict)
    _forgiven: dict[Alert, int] = field(default_factory=dict)
    _rejected: int = 0
    _serial: Iterator[int] = field(default_factory=count)
    _turn: int = 0
    _behind_in_flight: int = 0
    _window: int = 1
    _forgave_at: float = float("-inf")
    _behind_at: float = float("-inf")
    _unpaid: int = 0
    _doubts_throttling: bool = False
    _is_unheard: bool = False
    """Whether the last check had no answer that says anything, and nothing has been heard since."""

    @property
    def route(self) -> str:
        """The name of one of its routes."""
        return self.routes[0]

    def __len__(self) -> int:
        """How many alerts wait."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits."""
        return any(len(queue) for queue in self._queues.values())

    def waiting(self) -> Iterator[Entry]:
        """All that wait, in no order."""
        for queue in self._queues.values():
            yield from queue.waiting()

    # what waits

    def queue(self, outbox: Outbox) -> Queue:
        """The queue of this task."""
        queue = self._queues.get(outbox)
        if queue is None:
            queue = self._queues[outbox] = Queue(outbox, self._serial)
        return queue

    def came(self, outbox: Outbox, dedup_key: str, not_before: float) -> None:
        """The alert has something to say through this integration from now on, which it tries at ``not_before`` at the
        earliest: it may have failed elsewhere."""
        queue = self.queue(outbox)
        queue.concerned += 1
        if not_before > -math.inf:
            queue.retries[dedup_key] = Retry(not_before=not_before)

    def left(self, outbox: Outbox, dedup_key: str) -> float:
        """The alert has nothing to say through this integration any more. Gives when it would have tried again."""
        queue = self._queues[outbox]
        queue.concerned -= 1
        queue.remove(dedup_key)
        self.suspects.pop((outbox, dedup_key), None)
        self.owe(outbox, dedup_key, None)
        retry = queue.retries.get(dedup_key)
        self.settled(outbox, dedup_key)
        return -math.inf if retry is None else retry.not_before

    def put(self, outbox: Outbox, dedup_key: str, pending: Pending, now: float) -> None:
        """What the alert has to say next through this integration; it waits while there is a doubt about just that."""
        queue, alert = self._queues[outbox], (outbox, dedup_key)
        suspect = self.suspects.get(alert)
        if suspect is not None and not pending.continues(suspect.entry.pending):
            del self.suspects[alert]  # what was rejected is not to be said any more
            suspect = None
        if suspect is not None or not pending.is_ready:
            queue.remove(dedup_key)
        else:
            retry = queue.retries.get(dedup_key)
            if pending.failures == 0 and retry is not None and not retry.throttled:
                del queue.retries[dedup_key]  # something new is said, whatever failed before
                retry = None
            if retry is not None and retry.not_before > pending.not_before:
                pending = replace(pending, not_before=retry.not_before)
            is_behind = pending.failures > self._forgiven.get(alert, 0)
            queue.put(dedup_key, pending, is_behind=is_behind, now=now)
            if pending.lane is Lane.RESOLVE:
                self._resolving[outbox] = queue
        self.owe(outbox, dedup_key, pending)

    def owe(self, outbox: Outbox, dedup_key: str, pending: Pending | None) -> None:
        """The trigger that the alert owes, waiting or on the wire; None if it owes none."""
        queue = self._queues.get(outbox)
        if queue is None:
            return
        count, size = queue.count, queue.bytes
        queue.owe(dedup_key, pending)
        self._count(queue.count - count, queue.bytes - size)

    def _count(self, triggers: int, size: int) -> None:
        self.owed += triggers
        self.owed_bytes += size
        self.everything.triggers += triggers
        self.everything.bytes += size

    def settled(self, outbox: Outbox, dedup_key: str) -> None:
        """What the alert had to say was taken or rejected, or is not to be said any more: what failed is forgotten."""
        queue = self._queues.get(outbox)
        if queue is not None:
            queue.retries.pop(dedup_key, None)
        self._forgiven.pop((outbox, dedup_key), None)

    def forget(self, outbox: Outbox) -> Queue | None:
        """Nothing of this task waits any more; gives what waited, of which nothing leaves any more."""
        queue = self._queues.pop(outbox, None)
        if queue is not None:
            self._count(-queue.count, -queue.bytes)
        self._resolving.pop(outbox, None)
        self.breaker.forget(lambda alert: alert[0] is outbox)
        for alert in [alert for alert in self.suspects if alert[0] is outbox]:
            del self.suspects[alert]
        for alert in [alert for alert in self._forgiven if alert[0] is outbox]:
            del self._forgiven[alert]
        return queue

    def may_resolve_again(self, outbox: Outbox) -> bool:
        """The task's resolves may leave again; whether there are any."""
        queue = self._queues.get(outbox)
        if queue is None or outbox in self._resolving or queue.head(Lane.RESOLVE) is None:
            return False
        self._resolving[outbox] = queue
        return True

    # what leaves

    def unpark(self, now: float) -> bool:
        """Line up what has waited for its moment. Whether more of it is to come."""
        more = False
        for queue in self._queues.values():
            more = queue.unpark(now) or more
        return more

    def take(self, now: float) -> Entry | None:
        """What leaves next, taken out of its queue; None if nothing may at this moment."""
        entry = None
        if not self.awaiting and self._queues:
            entry = self._probe(now) if self._is_probing else self._next(now)
        self.is_held_up = entry is not None and not self.limiter.has_token(now)
        self.limiter.set_waiting(self.is_held_up or self.awaiting > 0, now)
        if entry is None or self.is_held_up:
            return None
        entry.queue.remove(entry.dedup_key)
        return entry

    def withhold(self, now: float) -> None:
        """Nothing may leave at this moment, for a reason that is not the limiter's."""
        self.is_held_up = False
        self.limiter.set_waiting(False, now)

    def started(self, entry: Entry, now: float) -> None:
        """What was taken is on the wire: it has its token, and the next one has its turn."""
        self.limiter.take(now)
        if entry.is_behind:
            self._behind_in_flight += 1
            self._behind_at = now
        if self._is_probing:
            for probes in self._probing:
                probes.left(now, is_fresh=not entry.is_behind)
        self._turn += 1
        self.in_flight += 1

    def finished(self, entry: Entry) -> None:
        """It is on the wire no more."""
        self.in_flight -= 1
        if entry.is_behind:
            self._behind_in_flight -= 1

    @property
    def _is_probing(self) -> bool:
        return self.breaker.is_open or self.refusal is not None

    @property
    def _probing(self) -> Sequence[Probes]:
        """What has to allow a probe: an open breaker, and a refusal."""
        probing = [self.breaker.probes] if self.breaker.is_open else []
        if self.refusal is not None:
            probing.append(self.refusal.probes)
        return probing

    def _next(self, now: float) -> Entry | None:
        for lane in _TURNS[self._turn % len(_TURNS)]:
            entry = self._first_resolve() if lane is Lane.RESOLVE else self._first(lane)
            if entry is not None:
                return entry
        # What has failed before is let go by and by, or a few that always fail would use up what others need: so many
        # at a time as have lately been accepted.
        if self._behind_in_flight < self._window or now >= self._behind_at + _BEHIND_SECONDS:
            return self._first_behind()
        return None

    def _first(self, lane: Lane) -> Entry | None:
        first: Entry | None = None
        for queue in self._queues.values():
            head = queue.head(lane)
            if head is not None and (first is None or _rank(head) < _rank(first)):
                first = head
        return first

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

    def _probe(self, now: float) -> Entry | None:
        """What may leave while it is not known whether the provider takes anything; of a refusal that a check has found
        out, only a check says that it is over."""
        if self.refusal is not None and self.refusal.by_check:
            return None
        for is_fresh in (True, False):
            if all(probes.allows(now, self.in_flight, is_fresh=is_fresh) for probes in self._probing):
                entry = self._first_fresh() if is_fresh else self._first_behind()
                if entry is not None:
                    return entry
        return None

    def _first_fresh(self) -> Entry | None:
        """An alert that has not failed, a trigger before others; of these the least severe, as it may fail too, and
        then goes behind all that have not."""
        for lane in (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE):
            tails = (tail for queue in self._queues.values() if (tail := queue.tail(lane)) is not None)
            entry = min(tails, key=_rank_of_probe, default=None)
            if entry is not None:
                return entry
        return self._first_resolve()

    def next_due(self, now: float, *, is_held: bool = False) -> float | None:
        """When something may leave, or is to be checked, that is not now; None if no time will change that.

        While all is ``is_held``, nothing but checks may leave.
        """
        due: list[float] = []
        if self._queues and not is_held:
            held_until = self._held_until(now)
            due += [max(at, held_until) for queue in self._queues.values() if (at := queue.next_unparked) is not None]
            if self.has_waiting:
                due += [held_until, self._behind_at + _BEHIND_SECONDS]
                if not self.limiter.has_token(now):
                    due.append(max(held_until, self.limiter.next_at(now)))
        check = self.check_due()
        if check is not None and not self.is_checking:
            due.append(max(check, self.limiter.next_at(now)) if not self.limiter.has_token(now) else check)
        return min((at for at in due if now < at < math.inf), default=None)

    def _held_until(self, now: float) -> float:
        """Before when no probe leaves; no time at all if anything may leave."""
        probing = self._probing
        if not probing:
            return -math.inf
        if self.refusal is not None and self.refusal.by_check:
            return math.inf
        if self.in_flight:
            return max(probes.due_beside() for probes in probing)
        has_fresh = any(queue.has_fresh for queue in self._queues.values())
        return max(probes.due(has_fresh=has_fresh) for probes in probing)

    # what answers say

    def accepted(self, entry: Entry, sent_at: float, now: float) -> list[Suspect]:
        """The provider took what had left at ``sent_at``; gives the suspects that had been answered by then:
        the key works, so it is their own fault. Then whatever was wrong is `over`."""
        self.accepted_at = self.worked_at = self.heard_at = now
        self._is_unheard = False
        self._rejected = 0
        if entry.is_behind:
            self._window = min(_MOST_BEHIND, max(1, 2 * self._window))
        opened_by = self.breaker.opened_by[:FORGIVEN]
        if opened_by and now >= self._forgave_at + _FORGIVE_SECONDS:
            self._forgave_at = now
            for alert in opened_by:
                self.forgive(alert, now)
        return self._answered_by(sent_at)

    def failed(self, entry: Entry, now: float, retry_after: float | None = None) -> None:
        """An outage answer (`note_failure`). It counts for the breaker if nothing has been accepted since the alert's
        first failure."""
        if not self.is_own_trouble(entry):
            self.breaker.failed((entry.outbox, entry.dedup_key), now, retry_after or 0.0)

    def is_own_trouble(self, entry: Entry) -> bool:
        """Whether the provider has taken something since a request of the alert left that then failed."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and self.worked_at > retry.first_failed

    def fails_alone(self, entry: Entry) -> bool:
        """Whether the provider has taken something since a request of the alert left that then failed, as this process
        has seen it. What was taken before is no sign that it takes anything now."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and self.worked_at > retry.first_failed_here

    def is_asked_again(self, entry: Entry) -> bool:
        """Whether the alert has been rejected before, and a check has shown since then that the key is read."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and retry.is_asked_again

    def note_failure(self, entry: Entry, sent_at: float) -> Retry:
        """A request of the alert has failed that left at ``sent_at``: what was accepted while it hung shows as much as
        what was accepted afterwards. One that has failed before this process knew of it has done so for ever."""
        retry = entry.queue.retries.setdefault(entry.dedup_key, Retry())
        if retry.first_failed == math.inf:
            retry.first_failed = -math.inf if entry.pending.failures else sent_at
            retry.first_failed_here = retry.last_failed = sent_at
        if entry.is_behind:
            self._window //= 2
        retry.others_accepted = self.worked_at > retry.last_failed
        retry.last_failed = sent_at
        return retry

    def throttled(self, entry: Entry, retry_after: float | None, sent_at: float, now: float) -> bool:
        """An answer 429. Whether it is the integration's: it then lets nothing leave for a while.

        Something may throttle that alert alone, and it would hold up all others for ever. So after some of them in a
        row the key is checked, and what is then throttled once more has a trouble of its own.
        """
        retry = self.note_failure(entry, sent_at)
        retry.throttled += 1
        if retry.throttled > _THROTTLES and self.is_own_trouble(entry):
            return False
        self.limiter.throttled(now, retry_after)
        self._doubts_throttling = retry.throttled >= _THROTTLES
        return True

    def forgive(self, alert: Alert, now: float) -> None:
        """What the alert has failed so far was the route's fault: it has its own turn again, until it fails once more.

        Only once: it could be the alert that makes the route look faulty, and would be tried before all others for
        ever.
        """
        outbox, dedup_key = alert
        queue = self._queues.get(outbox)
        entry = queue.get(dedup_key) if queue is not None else None
        if queue is not None and entry is not None and entry.is_behind and alert not in self._forgiven:
            self._forgiven[alert] = entry.pending.failures
            queue.put(dedup_key, entry.pending, is_behind=False, now=now)

    # refusals

    def refuse(self, failure: Failure, now: float, *, by_check: bool) -> bool:
        """The provider refuses the key, which is an outage as well. Whether that is news."""
        self.outages.failed(failure, now, is_certain=True, by_check=by_check)
        before = self.refusal
        probes = before.probes if before is not None else self._new_probes()
        probes.failed(now)
        self.refusal = Refusal(by_check or (before is not None and before.by_check), probes)
        return before is None

    def _new_probes(self) -> Probes:
        return Probes(self.recovery_seconds, quick=_QUICK_PROBES, fresh_seconds=self.recovery_seconds)

    def over(self) -> Outage | None:
        """The key is not refused, and no outage goes on, as far as is known, so nothing has to wait for its end any
        more: gives the outage that somebody knows of."""
        self.refusal = None
        self.breaker.succeeded()
        return self.outages.over()

    @property
    def is_idle(self) -> bool:
        """Whether no alert has anything to say through it, at this moment or later, and nothing is on the wire."""
        return not (self.in_flight or any(queue.concerned for queue in self._queues.values()))

    def suspect(self, suspect: Suspect) -> None:
        """It waits for the next check."""
        self.suspects[suspect.entry.outbox, suspect.entry.dedup_key] = suspect

    @property
    def known_to_work_at(self) -> float:
        """When the provider last took something with this key; no time at all if it has refused it since."""
        return self.worked_at if self.refusal is None else -math.inf

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
        is_left = self.outages.current is not None and self.is_idle  # of an outage that only a check can end now
        if self._is_unheard or is_left or (self.refusal is not None and (self.refusal.by_check or not self.owed)):
            return self.checked_at + max(CHECK_SECONDS, self.recovery_seconds)
        return max(self.heard_at, self.checked_at) + self.check_interval if self.checks_idle else None

    def check_accepted(self, sent_at: float, now: float) -> list[Suspect]:
        """The check that had left at ``sent_at`` was accepted; gives the suspects whose own fault it is then."""
        self.worked_at = now
        return self.check_read(sent_at, now)

    def check_read(self, sent_at: float, now: float) -> list[Suspect]:
        """The same of a check that was answered, where that can also be said by somebody who has not read the key."""
        self.heard_at, self._is_unheard = now, False
        self._doubts_throttling = False
        return self._answered_by(sent_at)

    def check_unanswered(self) -> None:
        """The check has met an outage, or a limiter, and says nothing of the key."""
        self._is_unheard = True

    def check_refused(self) -> list[Suspect]:
        """The check was refused; gives the suspects, whose fault it is not."""
        self._is_unheard = False
        return list(self.suspects.values())

    def _answered_by(self, sent_at: float) -> list[Suspect]:
        return [suspect for suspect in self.suspects.values() if suspect.answered_at <= sent_at]

    # room

    def has_come(self) -> bool:
        """One more trigger has come to be owed. Whether one has to go for it, or for one that came before.

        What a take-over has brought is more than may be owed through no fault of what comes now: it stays.
        """
        if self.may_owe is None or self.owed <= self.may_owe:
            self._unpaid = 0
            return False
        self._unpaid += 1
        return True

    def has_gone(self) -> bool:
        """One has gone for another. Whether one more has to."""
        self._unpaid -= 1
        return self._unpaid > 0 and self.may_owe is not None and self.owed > self.may_owe

    def has_room(self) -> bool:
        """Whether one more trigger may be owed."""
        return self.may_owe is None or self.owed < self.may_owe

    def least_owed(self) -> Iterator[Alert]:
        """Triggers that are owed and may go for another: of the least severity, the longest owed first.

        None of a higher severity: where all of the least severe are on the wire or may still land, more is owed for a
        while than may be, rather than that a worse one goes.
        """
        least_severe: Severity | None = None
        owed = [queue.least_owed() for queue in self._queues.values()]
        for severity, _, _, queue, dedup_key in islice(heapq.merge(*owed), _TRIES):
            if least_severe is not None and severity > least_severe:
                return
            least_severe = severity
            yield queue.outbox, dedup_key


def _rank(entry: Entry) -> tuple[int, float]:
    return (-entry.pending.severity, entry.pending.since)


def _rank_of_probe(entry: Entry) -> tuple[int, float]:
    return (entry.pending.severity, entry.pending.since)


def _rank_behind(entry: Entry) -> tuple[int, int, int, float]:
    pending = entry.pending
    return (pending.failures, pending.lane, -pending.severity, pending.since)
