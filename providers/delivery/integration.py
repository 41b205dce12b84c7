"""One integration: a key at a provider's host, with all notifications that wait to leave through it, and its condition
(design section 13). No I/O; the monotonic clock comes as an argument.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count, islice
from typing import Final

from msgspec.structs import replace

from providers.answer import Rejected, RouteRefused
from providers.delivery.breaker import Breaker, Probes
from providers.delivery.limiter import KeyLimiter
from providers.delivery.outage import Failure, Outage, Outages
from providers.delivery.outbox import Dispatch, Lane, Outbox, Pending
from providers.delivery.queue import Entry, Queue, Retry
from providers.delivery.verifying import Questions
from state.violation import Severity

CHECK_SECONDS: Final = 10.0
"""The least seconds between two checks of one key."""

CERTAIN_SECONDS: Final = 15.0
"""For so many seconds after a key was seen to work, it is taken to work still: nobody revokes a key and puts it right
again within that time."""

THROTTLED_SECONDS: Final = 180.0
"""If the rate is limited for so many seconds, and nothing is accepted, that counts as an outage. These are at least
three pauses."""

BELIEVED: Final = 2
"""Where the key cannot be checked: how many rejections since the last acceptance count as the alert's own fault."""

_TRIES: Final = 100
"""How many owed triggers are looked at to find one that may go for want of room."""

FORGIVEN: Final = 5
"""How many of the alerts that opened a breaker have their own turn again once it has closed: they were the worst that
waited, and each costs the others one request."""

_FORGIVE_SECONDS: Final = 60.0
"""The least seconds between two such pardons: a breaker that opens again and again is opened by alerts that always
fail."""

_QUICK_PROBES: Final = 5
"""How many alerts that have not failed are tried at once after a key was refused: it may be refused for some alerts
only."""

_BEHIND_SECONDS: Final = 1.0
"""Seconds between two alerts that have failed before, while none of these is accepted."""

_MOST_BEHIND: Final = 64
"""The most alerts that have failed before and are on the wire at once, while such alerts are accepted."""

_THROTTLES: Final = 2
"""After so many answers 429 in a row to one alert, something may throttle that alert alone."""

_TURNS: Final[Sequence[Sequence[Lane]]] = (
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
    (Lane.RESOLVE, Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE),
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
    (Lane.ACKNOWLEDGE, Lane.AGAIN, Lane.NEW, Lane.RESOLVE),
    (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE, Lane.RESOLVE),
)
"""The order in which the lanes are asked, for each of five requests in turn. Two of the five do not begin with new
problems, so that resolves and acknowledges leave in the worst storm, too."""


Alert = tuple[Outbox, str]
"""An alert as delivery identifies it: by its task's outbox and its dedup key."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A notification that was rejected, or whose route was refused. A check of the key will show whether the alert or
    the key is at fault.

    The notification left at ``sent_at`` and was answered at ``answered_at``. ``worked_at`` is when the key was last
    seen to work (minus infinity if it was refused then).
    """

    entry: Entry
    dispatch: Dispatch
    answer: Rejected | RouteRefused
    sent_at: float
    answered_at: float
    worked_at: float

    @property
    def is_certain(self) -> bool:
        """Whether a key that works now has also worked when the request left: it was seen to work just before."""
        return self.sent_at <= self.worked_at + CERTAIN_SECONDS


@dataclass(frozen=True, slots=True)
class Refusal:
    """The provider refuses the key. ``by_check``: a check has found that out. (The outage says why, and since when.)"""

    by_check: bool
    probes: Probes


@dataclass(slots=True, eq=False)
class Owed:
    """What all integrations of a member owe: the number of triggers, and the bytes that are kept for them."""

    triggers: int = 0
    bytes: int = 0


@dataclass(slots=True, eq=False)
class Integration:
    """One integration. Several routes can share it, and with it its rate, its breaker and its refusal.

    ``check_interval`` is in seconds; 0 means no checks. ``may_owe`` is how many triggers may be owed (None: any
    number). Without ``checks_idle`` the key is checked only when there is a doubt about it. ``everything`` counts what
    all integrations of the member owe. Times are by the monotonic clock, in seconds.
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
    """Whether a notification would leave now if the limiter let it."""
    awaiting: int = 0
    """How many requests wait for a token that belong to a notification on the wire, or are a check: they go before
    notifications that have not begun."""
    refusal: Refusal | None = None
    outages: Outages = field(default_factory=Outages)
    throttled_since: float | None = None
    """When the provider began to limit the rate (429); None while it does not."""
    suspects: dict[Alert, Suspect] = field(default_factory=dict)
    accepted_at: float = float("-inf")
    """When the last notification was accepted."""
    worked_at: float = float("-inf")
    """When the provider last accepted a notification or a check with this key."""
    is_checking: bool = False
    checked_at: float = float("-inf")
    heard_at: float = float("-inf")
    """When the provider last said something of the key: it accepted a notification, or answered a check."""
    owed: int = 0
    owed_bytes: int = 0
    questions: Questions = field(default_factory=Questions)
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
    """Whether the last check had no answer that says anything of the key, and nothing has been heard since."""

    @property
    def route(self) -> str:
        """The name of the first of its routes."""
        return self.routes[0]

    def __len__(self) -> int:
        """How many alerts wait to leave through this integration."""
        return sum(len(queue) for queue in self._queues.values())

    @property
    def has_waiting(self) -> bool:
        """Whether an alert waits."""
        return any(len(queue) for queue in self._queues.values())

    def waiting(self) -> Iterator[Entry]:
        """The entries of all alerts that wait, in no order."""
        for queue in self._queues.values():
            yield from queue.waiting()

    # queueing

    def queue(self, outbox: Outbox) -> Queue:
        """The queue of this task; made if there is none yet."""
        queue = self._queues.get(outbox)
        if queue is None:
            queue = self._queues[outbox] = Queue(outbox, self._serial)
        return queue

    def came(self, outbox: Outbox, dedup_key: str, not_before: float) -> None:
        """From now on the alert has something to say through this integration. Its first attempt here is not before
        ``not_before``, as it may have failed at another integration."""
        queue = self.queue(outbox)
        queue.concerned += 1
        if not_before > -math.inf:
            queue.retries[dedup_key] = Retry(not_before=not_before)

    def left(self, outbox: Outbox, dedup_key: str) -> float:
        """The alert has nothing to say through this integration any more. Returns when it would have been tried again
        (minus infinity if it has not failed)."""
        queue = self._queues[outbox]
        queue.concerned -= 1
        queue.remove(dedup_key)
        self.suspects.pop((outbox, dedup_key), None)
        self.owe(outbox, dedup_key, None)
        retry = queue.retries.get(dedup_key)
        self.settled(outbox, dedup_key)
        return -math.inf if retry is None else retry.not_before

    def put(self, outbox: Outbox, dedup_key: str, pending: Pending, now: float) -> None:
        """Take the alert's next notification. It is not lined up while the check is awaited that says whose fault its
        rejection was, or while its task does not let it leave."""
        queue, alert = self._queues[outbox], (outbox, dedup_key)
        suspect = self.suspects.get(alert)
        if suspect is not None and not pending.continues(suspect.entry.pending):
            del self.suspects[alert]  # the rejected notification is no longer to be sent
            suspect = None
        if suspect is not None or not pending.is_ready:
            queue.remove(dedup_key)
        else:
            retry = queue.retries.get(dedup_key)
            if pending.failures == 0 and retry is not None and not retry.throttled:
                del queue.retries[dedup_key]  # this is a new notification: earlier failures do not count
                retry = None
            if retry is not None and retry.not_before > pending.not_before:
                pending = replace(pending, not_before=retry.not_before)
            is_behind = pending.failures > self._forgiven.get(alert, 0)
            queue.put(dedup_key, pending, is_behind=is_behind, now=now)
            if pending.lane is Lane.RESOLVE:
                self._resolving[outbox] = queue
        self.owe(outbox, dedup_key, pending)

    def owe(self, outbox: Outbox, dedup_key: str, pending: Pending | None) -> None:
        """Count the trigger that the alert owes, waiting or on the wire; None if it owes none."""
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
        """The alert's notification was accepted or rejected, or is no longer to be sent: forget its failures."""
        queue = self._queues.get(outbox)
        if queue is not None:
            queue.retries.pop(dedup_key, None)
        self._forgiven.pop((outbox, dedup_key), None)

    def forget(self, outbox: Outbox) -> Queue | None:
        """Forget this task. Returns its queue, of which nothing leaves any more, for the caller to free; None if there
        is none."""
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
        """The task's resolves may leave again. Returns whether there are any that were held back."""
        queue = self._queues.get(outbox)
        if queue is None or outbox in self._resolving or queue.head(Lane.RESOLVE) is None:
            return False
        self._resolving[outbox] = queue
        return True

    # sending

    def unpark(self, now: float) -> bool:
        """Line up the notifications whose moment has come. Returns whether there are more of them."""
        more = False
        for queue in self._queues.values():
            more = queue.unpark(now) or more
        return more

    def take(self, now: float) -> Entry | None:
        """Take the notification that leaves next out of its queue; None if none may leave at this moment."""
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
        """Note that nothing may leave at this moment, for a reason other than the rate."""
        self.is_held_up = False
        self.limiter.set_waiting(False, now)

    def started(self, entry: Entry, now: float) -> None:
        """Note that the taken notification leaves: it uses up a token and its turn."""
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
        """Note that the notification is no longer on the wire."""
        self.in_flight -= 1
        if entry.is_behind:
            self._behind_in_flight -= 1

    @property
    def _is_probing(self) -> bool:
        return self.breaker.is_open or self.refusal is not None

    @property
    def _probing(self) -> Sequence[Probes]:
        """The conditions that must all allow a probe: those of an open breaker, and of a refusal."""
        probing = [self.breaker.probes] if self.breaker.is_open else []
        if self.refusal is not None:
            probing.append(self.refusal.probes)
        return probing

    def _next(self, now: float) -> Entry | None:
        for lane in _TURNS[self._turn % len(_TURNS)]:
            entry = self._first_resolve() if lane is Lane.RESOLVE else self._first(lane)
            if entry is not None:
                return entry
        # Alerts that have failed before leave slowly; else a few that always fail would use up the rate that others
        # need. As many are on the wire at a time as have lately been accepted, else one a second.
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
        """The next resolve that may leave. Tasks whose resolves may leave take turns."""
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
        """The probe that may leave now; None if none may."""
        for is_fresh in (True, False):
            if all(probes.allows(now, self.in_flight, is_fresh=is_fresh) for probes in self._probing):
                entry = self._first_fresh() if is_fresh else self._first_behind()
                if entry is not None:
                    return entry
        return None

    def _first_fresh(self) -> Entry | None:
        """The best probe among alerts that have not failed: triggers first, and of these the least severe, because a
        probe that fails goes behind all alerts that have not failed."""
        for lane in (Lane.NEW, Lane.AGAIN, Lane.ACKNOWLEDGE):
            tails = (tail for queue in self._queues.values() if (tail := queue.tail(lane)) is not None)
            entry = min(tails, key=_rank_of_probe, default=None)
            if entry is not None:
                return entry
        return self._first_resolve()

    def next_due(self, now: float, *, is_held: bool = False) -> float | None:
        """The next moment after ``now`` at which a notification may leave or the key is to be checked; None if there is
        none. While ``is_held``, only checks may leave.
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
        """Until when no probe may leave; minus infinity while all notifications may leave."""
        probing = self._probing
        if not probing:
            return -math.inf
        if self.in_flight:
            return max(probes.due_beside() for probes in probing)
        has_fresh = any(queue.has_fresh for queue in self._queues.values())
        return max(probes.due(has_fresh=has_fresh) for probes in probing)

    # answers

    def accepted(self, entry: Entry, sent_at: float, now: float) -> list[Suspect]:
        """The provider accepted a notification that had left at ``sent_at``. Returns the suspects that had been
        answered by then: the key works, so they are at fault themselves. The caller then calls `over`."""
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
        """A notification has met an outage (after `note_failure`). This counts for the breaker if nothing has been
        accepted since the alert's first failure."""
        if not self.is_own_trouble(entry):
            self.breaker.failed((entry.outbox, entry.dedup_key), now, retry_after or 0.0)

    def is_own_trouble(self, entry: Entry) -> bool:
        """Whether the provider has accepted something since the alert's first failed request left."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and self.worked_at > retry.first_failed

    def fails_alone(self, entry: Entry) -> bool:
        """Whether the provider has accepted something since the alert's first request left that failed in this process.
        (Failures before this process took the alert over do not count here: an acceptance since then does not show that
        the provider accepts anything now.)"""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and self.worked_at > retry.first_failed_here

    def is_asked_again(self, entry: Entry) -> bool:
        """Whether the alert was rejected before, and tried once more after a check showed that the key works."""
        retry = entry.queue.retries.get(entry.dedup_key)
        return retry is not None and retry.is_asked_again

    def note_failure(self, entry: Entry, sent_at: float) -> Retry:
        """A request of the alert has failed that left at ``sent_at``. Failures are kept by the moments at which their
        requests left: an acceptance while a request hung shows as much as a later one. An alert that had failed before
        this process took it over counts as having failed for ever."""
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
        """An alert was answered 429. Returns whether the integration is throttled: then nothing leaves through it for a
        while.

        But something may throttle this alert alone, which would then hold up all others for ever. So after
        `_THROTTLES` such answers in a row the key is checked; an alert that is throttled once more, although the
        provider has accepted something meanwhile, has a trouble of its own (False).
        """
        retry = self.note_failure(entry, sent_at)
        retry.throttled += 1
        if retry.throttled > _THROTTLES and self.is_own_trouble(entry):
            return False
        self.limiter.throttled(now, retry_after)
        self._doubts_throttling = retry.throttled >= _THROTTLES
        return True

    def forgive(self, alert: Alert, now: float) -> None:
        """The alert's failures so far were the route's fault: the alert has its own turn again, until it fails once
        more.

        This is done only once for an alert: it could be the one that makes the route look faulty, and would else be
        tried before all others for ever.
        """
        outbox, dedup_key = alert
        queue = self._queues.get(outbox)
        entry = queue.get(dedup_key) if queue is not None else None
        if queue is not None and entry is not None and entry.is_behind and alert not in self._forgiven:
            self._forgiven[alert] = entry.pending.failures
            queue.put(dedup_key, entry.pending, is_behind=False, now=now)

    def takes_nothing(self, now: float) -> bool:
        """Whether the provider has limited the rate for so long without an acceptance that no page gets through, while
        there are some."""
        since = self.throttled_since
        return since is not None and self.owed > 0 and now >= max(since, self.accepted_at) + THROTTLED_SECONDS

    # refusals

    def refuse(self, failure: Failure, now: float, *, by_check: bool) -> bool:
        """The provider refuses the key, which is an outage as well. Returns whether the key was not refused before."""
        self.outages.failed(failure, now, is_certain=True, by_check=by_check)
        before = self.refusal
        probes = before.probes if before is not None else self._new_probes()
        probes.failed(now)
        self.refusal = Refusal(by_check or (before is not None and before.by_check), probes)
        return before is None

    def _new_probes(self) -> Probes:
        return Probes(self.recovery_seconds, quick=_QUICK_PROBES, fresh_seconds=self.recovery_seconds)

    def over(self) -> Outage | None:
        """End any refusal and outage, and close the breaker: nothing has to wait for their end any more. Returns the
        outage whose beginning was told, else None."""
        self.refusal = None
        self.breaker.succeeded()
        return self.outages.over()

    @property
    def is_idle(self) -> bool:
        """Whether no alert has anything to say through this integration, now or later, and nothing is on the wire."""
        return not (self.in_flight or any(queue.concerned for queue in self._queues.values()))

    def suspect(self, suspect: Suspect) -> None:
        """Let a rejected notification wait for the next check."""
        self.suspects[suspect.entry.outbox, suspect.entry.dedup_key] = suspect

    @property
    def known_to_work_at(self) -> float:
        """When the provider last accepted something with this key; minus infinity while the key is refused."""
        return self.worked_at if self.refusal is None else -math.inf

    def believes_rejection(self, answer: Rejected) -> bool:
        """Count a rejection where the key cannot be checked. Returns whether it counts as the alert's own fault: never
        before the key was seen to work, or each start with a wrong key would cost some alerts. (A status of success is
        that of a request that was accepted, and failed later.)"""
        self._rejected += 1
        has_worked = self.accepted_at > -math.inf or answer.status < HTTPStatus.BAD_REQUEST
        return has_worked and self._rejected <= BELIEVED

    def check_due(self) -> float | None:
        """When the key is to be checked; None for never."""
        if not self.check_interval:
            return None
        if self.suspects or self._doubts_throttling:
            return self.checked_at + CHECK_SECONDS
        is_left = self.outages.current is not None and self.is_idle  # only a check can end the outage now
        if self._is_unheard or is_left or (self.refusal is not None and (self.refusal.by_check or not self.owed)):
            return self.checked_at + max(CHECK_SECONDS, self.recovery_seconds)
        return max(self.heard_at, self.checked_at) + self.check_interval if self.checks_idle else None

    def check_accepted(self, sent_at: float, now: float) -> list[Suspect]:
        """The check that had left at ``sent_at`` was accepted. Returns the suspects that had been answered by then:
        they are at fault themselves."""
        self.worked_at = now
        return self.check_read(sent_at, now)

    def check_read(self, sent_at: float, now: float) -> list[Suspect]:
        """The check that had left at ``sent_at`` was answered, but perhaps by somebody who has not read the key.
        Returns the suspects that had been answered by then."""
        self.heard_at, self._is_unheard = now, False
        self._doubts_throttling = False
        return self._answered_by(sent_at)

    def check_unanswered(self) -> None:
        """The check met an outage or a rate limit, and so says nothing of the key."""
        self._is_unheard = True

    def check_refused(self) -> list[Suspect]:
        """Note that the check of the key was refused. Returns all suspects: they are not at fault."""
        self._is_unheard = False
        return list(self.suspects.values())

    def _answered_by(self, sent_at: float) -> list[Suspect]:
        return [suspect for suspect in self.suspects.values() if suspect.answered_at <= sent_at]

    # room for owed triggers

    def has_come(self) -> bool:
        """One more trigger has come to be owed. Returns whether one has to go for it.

        For triggers that a take-over brought none has to go, although more may be owed then than allowed: only a
        trigger that comes to be owed is paid for.
        """
        if self.may_owe is None or self.owed <= self.may_owe:
            self._unpaid = 0
            return False
        self._unpaid += 1
        return True

    def has_gone(self) -> bool:
        """One trigger has gone. Returns whether one more has to go, for an earlier one that none could go for."""
        self._unpaid -= 1
        return self._unpaid > 0 and self.may_owe is not None and self.owed > self.may_owe

    def has_room(self) -> bool:
        """Whether one more trigger may be owed."""
        return self.may_owe is None or self.owed < self.may_owe

    def least_owed(self) -> Iterator[Alert]:
        """The owed triggers that may go for want of room: those of the least severity, the longest owed first.

        None of a higher severity is among them: while all of the least severe are on the wire or may still land, more
        is owed than allowed.
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
