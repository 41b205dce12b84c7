"""What a task owes the provider: which notification of an alert may be sent now, and what the answer makes of the alert
(design sections 6, 8 and 13)."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import islice, takewhile
from math import inf
from typing import Final

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from consumer.deciding.pipeline import Pipeline
from consumer.dlq.dead_letter import DeadLetter
from consumer.events.event import SecurityEvent
from consumer.feedback.records import Replay
from consumer.history.step import StepKind
from consumer.history.steps import TaskSteps
from consumer.input.progress import Progress
from consumer.tasks.alerting.moments import Moments
from consumer.tasks.alerting.voice import TheOnlyVoice, Voice
from consumer.telemetry.metrics import PipelineMetrics
from consumer.timing.clock import Clock
from providers.answer import Accepted, Rejected, RouteRefused, Unavailable
from providers.delivery.delivery import Delivery
from providers.delivery.outbox import Dispatch, Lane, Outcome, Pending
from providers.notification import Acknowledge, Resolve, Trigger
from providers.text import shorten
from state.acknowledging import acknowledge_answered
from state.alert import LONGEST_ERROR, Alert, Owed, Status
from state.answers import (
    attempted,
    former_answered,
    former_attempted,
    overflowed,
    resolve_answered,
    trigger_accepted,
    trigger_attempted,
    trigger_refused,
)
from state.due import Due, due, former_due, is_new_problem, needs_room, owes
from state.held import is_silenced, last_silence
from state.occurrences import EARLIEST
from state.store import Store
from state.violation import Record, Violation

LONGEST_WAIT_SECONDS: Final = 60.0
"""Seconds for which a first trigger waits at most for a checkpoint, or for the task that had the key before. Then it is
sent all the same: a page that does not come is worse than one that comes twice."""

LEAST_RUN_SECONDS: Final = 600.0
"""Seconds for which a task that has taken over gives up no trigger, and forgets no alert (design section 14)."""

_GIVEN_UP_AT_A_TIME: Final = 500
_LOOKED_AT: Final = 20_000
"""At most so many overdue triggers are looked at each second for those that may be given up."""


class TaskOutbox:
    """The notifications that one task owes; delivery asks it what to send (`providers.delivery.outbox.Outbox`).

    It keeps for some alerts a moment before which nothing may be sent, because an earlier request may still take effect
    at the provider (design section 6.7). These moments are of the monotonic clock and end with the task; a restored
    task waits anew.
    """

    def __init__(
        self,
        *,
        partition: int,
        pipeline: Pipeline,
        store: Store,
        delivery: Delivery,
        progress: Progress,
        clock: Clock,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        urgent: Callable[[], None],
        dead_letter: Callable[[DeadLetter], None],
        notified: Callable[[], None],
        settled: Callable[[], None] = lambda: None,
        steps: TaskSteps,
        voice: Voice | None = None,
    ) -> None:
        self._voice = TheOnlyVoice() if voice is None else voice
        self._partition = partition
        self._pipeline = pipeline
        self._store = store
        self._delivery = delivery
        self._progress = progress
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._urgent = urgent
        self._dead_letter = dead_letter
        self._notified = notified
        self._settled = settled
        self._steps = steps
        self._inherited_end = 0
        self._inherited_until = 0.0
        self._unsettled = Moments()  # until when an earlier request of the alert may still take effect
        self._closing = Moments()  # the same of alerts that are gone: their resolve may still take effect
        self._repeats = Moments()  # when a trigger is to be sent once more
        self._give_up_at: OrderedDict[str, float] = OrderedDict()
        self._tried: set[str] = set()
        self._gated: set[str] = set()
        self._waits_until: dict[str, float] = {}  # first triggers of keys of which the state holds an earlier alert
        self._awaiting: dict[str, float] = {}  # alerts that wait for the key's former task; a repeat without end
        self._are_marks_news = False
        self._are_homes_others = False
        self._violations: dict[str, tuple[Record, Violation]] = {}
        self._reasons: dict[str, str] = {}  # why what is owed was not accepted when it was last tried

    def emptied(self) -> Iterator[None]:
        """Free everything in small steps, once the task is over."""
        for kept in (self._violations, self._give_up_at, self._reasons, self._waits_until, self._awaiting):
            while kept:
                kept.popitem()
                yield
        for moments in (self._unsettled, self._closing, self._repeats):
            yield from moments.forgotten_before(inf)

    def restored(self, dedup_keys: Iterable[str], end: int, written_at: float | None) -> Iterator[None]:
        """Offer to delivery what the restored alerts owe, step by step: one alert each time the returned iterator goes
        on.

        Requests of an earlier owner may still take effect, also for events that it had decided after its last
        checkpoint: they are below ``end``, the end of the input at the take-over. ``written_at`` is when the last
        checkpoint was written, by the clock of its owner.
        """
        now, wall = self._clock.monotonic(), self._clock.wall()
        settled = self._inherited_until = now + self._pipeline.timeout_seconds
        self._inherited_end = end
        known = wall if written_at is None else min(wall, written_at)
        return self._offered(dedup_keys, now, known, settled)

    def _offered(self, dedup_keys: Iterable[str], now: float, known: float, settled: float) -> Iterator[None]:
        for dedup_key in self._store.owing():  # longest owed first: in this order they are given up
            alert = self._store.get(dedup_key)
            if alert is not None and alert.owed is not None:
                self._give_up_at[dedup_key] = now + self._left(known - alert.owed.since)
            yield
        for dedup_key in dedup_keys:
            alert = self._store.get(dedup_key)
            if alert is None:
                continue
            self._unsettled.set(dedup_key, settled)
            if alert.owed is not None and alert.owed.repeat:
                self._repeats.set(dedup_key, settled)
            self._delivery.changed(self, dedup_key)
            yield

    def _left(self, age: float) -> float:
        """For how many seconds a restored trigger is still owed at least; ``age`` is how old it was at the last
        checkpoint.

        It is not given up before this task has run for a while, since neither the clock of an earlier owner nor this
        host's is trusted to say how old it is now.
        """
        give_up = self._pipeline.give_up_seconds
        least = max(LEAST_RUN_SECONDS, self._pipeline.policy.quiet_seconds or 0.0)
        return min(give_up, max(least, give_up - age))

    def owes(self, alert: Alert, *, event: SecurityEvent | None = None, is_new: bool = False) -> None:
        """Have delivery ask what the alert owes, which may have changed. ``is_new``: it owes a trigger that it did not
        owe before, which may be sent at once whatever failed before. ``event`` is the event in the owed record, if that
        record is another one now."""
        dedup_key, owed = alert.dedup_key, alert.owed
        if event is not None and owed is not None:
            self._violations[dedup_key] = (owed.record, event.violation())
        if is_new and owed is not None:
            if needs_room(alert) and not self._delivery.has_room(self._route(alert), owed.record.size):
                self._put_or_drop(alert, overflowed(self._possibly_told(alert, owed)))
                is_new = False
            else:
                self._give_up_at[dedup_key] = self._clock.monotonic() + self._pipeline.give_up_seconds
                self._give_up_at.move_to_end(dedup_key)
                self._tried.discard(dedup_key)
                self._still_unsettled(alert, owed)
        self._delivery.changed(self, dedup_key, is_new=is_new)

    def _still_unsettled(self, alert: Alert, owed: Owed) -> None:
        """Mark an alert that begins while an earlier request with its key may still take effect."""
        dedup_key, now = alert.dedup_key, self._clock.monotonic()
        may_land_until = max(self._closing.get(dedup_key), self._unsettled.get(dedup_key))
        if alert.last_notified is None and not alert.unsettled and now < may_land_until:
            self._store.put(replace(alert, unsettled=True))
        elif self._may_be_inherited(owed, now):
            self._unsettled.set(dedup_key, max(self._inherited_until, self._unsettled.get(dedup_key)))

    def _may_be_inherited(self, owed: Owed, now: float) -> bool:
        """Whether an earlier owner may have sent it a moment ago, so that its request may still take effect."""
        return owed.first_offset < self._inherited_end and now < self._inherited_until

    def state_is_new(self, dedup_keys: Iterable[str]) -> Iterator[None]:
        """Let notifications of these keys be sent that waited for a checkpoint, which is committed now; step by
        step."""
        for dedup_key in dedup_keys:
            if self._waits_until.pop(dedup_key, None) is not None:
                self._delivery.changed(self, dedup_key)
            yield

    def taken_over(self, alert: Alert) -> None:
        """Begin to send for an alert that another task has handed over. A request of that task may still take
        effect."""
        dedup_key, owed = alert.dedup_key, alert.owed
        self.owes(alert, is_new=owed is not None and not owed.repeat)
        settled = self._clock.monotonic() + self._pipeline.timeout_seconds
        self._unsettled.set(dedup_key, settled)
        if owed is not None and owed.repeat:
            self._repeats.set(dedup_key, settled)
        self._delivery.changed(self, dedup_key)

    def homes_changed(self, *, are_others: bool) -> None:
        """Note that the tasks changed for which this one has to wait; ``are_others``: also which task owns which
        key."""
        self._are_marks_news = True
        self._are_homes_others |= are_others

    def _heard_of_homes(self) -> Iterator[None]:
        are_others, self._are_homes_others = self._are_homes_others, False
        if are_others:
            for dedup_key in self._store.keys_in_pieces():
                alert = self._store.get(dedup_key)
                if alert is not None and due(alert) is not None:
                    self._delivery.changed(self, dedup_key)
                yield
        are_news, self._are_marks_news = self._are_marks_news, False
        if are_news:
            for dedup_key in list(self._awaiting):
                alert = self._store.get(dedup_key)
                if alert is None or not self._voice.awaits(alert):
                    self._awaiting.pop(dedup_key, None)
                    self._delivery.changed(self, dedup_key)
                yield

    def ended(self, alert: Alert) -> None:
        """Log which incidents an alert that is gone may have left where nothing here can resolve them."""
        if alert.orphans:
            self._steps.left(StepKind.ORPHANED, alert)
            integrations = [str(one) for one in alert.orphans]
            self._log.warning("orphan_left_behind", dedup_key=alert.dedup_key, integrations=integrations)

    def silenced(self, alert: Alert) -> Alert:
        """The alert, of which an event was silenced. An earlier owner that did not know of the silence may have told
        it."""
        held = alert.held
        if held is None or held.first_offset >= self._inherited_end:
            return alert
        return self._pipeline.possibly_told(alert)

    def closing(self, dedup_key: str) -> None:
        """Note that the alert was ended at the provider, where an earlier request of this task may still take
        effect."""
        now = self._clock.monotonic()
        if now < self._unsettled.get(dedup_key):
            self._closing.set(dedup_key, now + self._pipeline.timeout_seconds)

    def may_land_yet(self, dedup_key: str) -> None:
        """What was sent of the alert may land for a while yet: no resolve leaves before."""
        self._unsettled.set(dedup_key, self._clock.monotonic() + self._pipeline.timeout_seconds)

    def tick(self) -> Iterator[None]:
        """Do what is due once a second, step by step: let resolves be sent that had to wait, give up triggers that were
        owed for too long."""
        now = self._clock.monotonic()
        yield from self._heard_of_homes()
        if self.may_resolve():
            self._delivery.may_resolve_again(self)
            gated, self._gated = self._gated, set()
            while gated:
                self._delivery.changed(self, gated.pop())
                yield
        yield from self._given_up(now)
        for moments in (self._unsettled, self._closing, self._repeats):
            yield from moments.forgotten_before(now)

    # delivery's questions

    def pending(self, dedup_key: str) -> Pending | None:
        """What is to be sent next for the alert, and when; None if nothing is."""
        alert = self._store.get(dedup_key)
        what = due(alert) if alert is not None else None
        if alert is None or what is None:
            self._forget(dedup_key)
            return None
        if self._voice.is_elsewhere(alert):
            return None  # the alert is about to be handed over
        owed = alert.owed
        if what is Due.TRIGGER and owed is not None:
            try:
                self._violation(dedup_key, owed)
            except ValueError as error:  # this release cannot read the event in the state
                routes = self._pipeline.provider.routes
                self._dead_letter_owed(alert, owed, "undecodable", str(error), routes[0], retryable=False)
                return self.pending(dedup_key)
            return Pending(
                self._route(alert),
                Lane.NEW if is_new_problem(alert) else Lane.AGAIN,
                owed.severity,
                owed.since,
                owed.attempts,
                self._not_told_before(alert, owed),
                owed.record.size,
                is_ready=not self._is_repeat_awaiting(alert, owed),
            )
        self._violations.pop(dedup_key, None)
        if alert.orphans and alert.route is None and not alert.former:
            self._nobody_to_tell(alert, what)
            return self.pending(dedup_key)
        severity, since = alert.highest, alert.decided
        if what is Due.ACKNOWLEDGE:
            return Pending(self._route(alert), Lane.ACKNOWLEDGE, severity, since, alert.failed)
        route = self._former_route(alert) if what is Due.RESOLVE_FORMER else self._route(alert)
        if route is None:
            self._nobody_to_tell(alert, what)
            return self.pending(dedup_key)
        not_before, is_ready = self._not_resolved_before(dedup_key), self._may_be_resolved(alert)
        return Pending(route, Lane.RESOLVE, severity, since, alert.failed, not_before, is_ready=is_ready)

    def _nobody_to_tell(self, alert: Alert, what: Due) -> None:
        """Log that a notification cannot be sent because its integration key is not configured, and go on as if it was
        answered."""
        self._log.warning("orphan_not_told", dedup_key=alert.dedup_key, action=what.value)
        after: Alert | None = None
        if what is Due.ACKNOWLEDGE:
            after = acknowledge_answered(alert, False)
        elif what is Due.RESOLVE_FORMER:
            former = former_due(alert)
            after = former_answered(alert, former.integration if former is not None else None)
        self._put_or_drop(alert, after)
        self._urgent()

    def _not_told_before(self, alert: Alert, owed: Owed) -> float:
        """Until when the owed trigger has to wait, by the monotonic clock.

        The first trigger of a new alert, or of one that goes to another integration, is sent only when the state does
        not hold an earlier alert of the key any more (design section 18): after a crash the next owner would go on with
        that one, and send it elsewhere.
        """
        dedup_key = alert.dedup_key
        not_before = self._repeats.get(dedup_key) if owed.repeat else 0.0
        if alert.route is not None:
            return not_before
        longest = self._clock.monotonic() + LONGEST_WAIT_SECONDS
        if self._voice.awaits(alert):
            # One moment for all problems: the former task can be out of reach for very long.
            since = self._voice.awaits_since
            until = longest if since is None else min(longest, since + LONGEST_WAIT_SECONDS)
            not_before = max(not_before, self._awaiting.setdefault(dedup_key, until))
        if self._store.state_holds_another(dedup_key):
            self._urgent()  # the trigger may be sent after the next checkpoint
            not_before = max(not_before, self._waits_until.setdefault(dedup_key, longest))
        return not_before

    def _is_repeat_awaiting(self, alert: Alert, owed: Owed) -> bool:
        """Whether a trigger that is to be repeated has to wait until the key's former task has said that it sends no
        more."""
        if not owed.repeat or not self._voice.awaits(alert):
            return False
        self._awaiting[alert.dedup_key] = inf
        return True

    def _may_be_resolved(self, alert: Alert) -> bool:
        """Whether a checkpoint holds the intent to resolve. The incident that an alert has left at a former integration
        needs none, as the problem has an incident elsewhere by now."""
        return alert.status is not Status.RESOLVING or self._store.is_held(alert.dedup_key)

    def _not_resolved_before(self, dedup_key: str) -> float:
        """Until when an earlier request may still take effect, of this task or of an earlier owner, by the monotonic
        clock."""
        unsettled = self._unsettled.get(dedup_key)
        if self._store.is_unheard(dedup_key):
            return max(unsettled, self._inherited_until)
        return unsettled

    def may_resolve(self) -> bool:
        """Whether resolves may be sent at this moment: the task has decided everything that is in its input, and every
        alert has arrived that other tasks have to hand over."""
        return self._voice.is_settled and self._progress.is_caught_up(self._clock.monotonic())

    def take(self, dedup_key: str, route: str) -> Dispatch | None:
        """The notification to send now for this alert through this route. None: there is none, or it is held back."""
        alert = self._store.get(dedup_key)
        if alert is not None and self._voice.is_elsewhere(alert):
            return None
        match due(alert) if alert is not None else None:
            case Due.TRIGGER:
                assert alert is not None
                return self._trigger(self._warned(alert), route)
            case Due.RESOLVE | Due.RESOLVE_FORMER:
                assert alert is not None
                now = self._clock.monotonic()
                if not self._may_be_resolved(alert) or now < self._not_resolved_before(dedup_key):
                    return None  # it may be sent once a checkpoint holds the intent, and earlier requests are settled
                if not self.may_resolve():
                    self._gated.add(dedup_key)
                    return None
                return Dispatch(dedup_key, route, Resolve(dedup_key, alert.ended_by), alert, self._partition)
            case Due.ACKNOWLEDGE:
                return Dispatch(dedup_key, route, Acknowledge(dedup_key), alert, self._partition)
            case None:
                return None

    def _warned(self, alert: Alert) -> Alert:
        """Mark an alert whose trigger is sent before the key's former task has said that it sends no more: the trigger
        will be repeated, since a resolve of that task may take effect behind it."""
        if alert.route is not None or alert.unsettled or not self._voice.awaits(alert):
            return alert
        alert = replace(alert, unsettled=True)
        self._store.put(alert)
        self._log.info("told_before_its_old_home_has_moved", dedup_key=alert.dedup_key)
        return alert

    def told(self, dispatch: Dispatch, outcome: Outcome) -> None:
        """Change the alert by the provider's answer to a notification."""
        dedup_key, now = dispatch.dedup_key, self._clock.monotonic()
        self._reasons.pop(dedup_key, None)
        if isinstance(outcome, Unavailable) and outcome.unknown:
            self._unsettled.set(dedup_key, now + self._pipeline.timeout_seconds)
        alert = self._store.get(dedup_key)
        if alert is None:
            return  # forgotten meanwhile
        match dispatch.notification:
            case Trigger() as notification:
                after = self._trigger_told(alert, dispatch, notification, outcome)
            case Acknowledge():
                after = self._acknowledge_told(alert, outcome)
            case Resolve():
                after = self._resolve_told(alert, dispatch, outcome)
        if after is None and (alert.unsettled or now < self._unsettled.get(dedup_key)):
            self._closing.set(dedup_key, now + self._pipeline.timeout_seconds)
        self._put_or_drop(alert, after)
        self._settled()  # feedback that waited for this answer is applied before delivery asks for more

    def make_room(self, dedup_key: str) -> bool:
        """Dead-letter the trigger that this alert owes, because its route owes too much. False if it may still take
        effect, or repeats one that was accepted."""
        alert, now = self._store.get(dedup_key), self._clock.monotonic()
        owed = alert.owed if alert is not None else None
        if alert is None or owed is None or owed.repeat or now < self._unsettled.get(dedup_key):
            return False
        if self._may_be_inherited(owed, now):
            return False
        reason = self._reasons.pop(dedup_key, "not tried yet")
        after = overflowed(self._possibly_told(alert, owed))
        error = f"the route owes too much; {reason}"
        self._put_or_drop(alert, self._bury(alert, after, owed, "overflow", error, retryable=True))
        return True

    def has_room_for(self, replay: Replay, position: int) -> bool:
        """Whether a replayed dead letter may be decided now: there has to be room for what it will owe, and it
        displaces nothing.

        It also waits until the task's ``position`` is beyond everything that an earlier owner may have decided: after a
        crash the same event must come out as the first of its alert, and so take the same route.
        """
        if position < self._inherited_end:
            return False
        try:
            route = self._pipeline.provider.route_of(self._pipeline.decoder.violation_of(replay.original))
        except ValueError:
            return True  # its decision will owe nothing
        return self._delivery.has_room(route, replay.record.size)

    # what leaves

    def _violation(self, dedup_key: str, owed: Owed) -> Violation:
        """The event in the owed record, decoded once. Raises `ValueError` if the record holds no event."""
        known = self._violations.get(dedup_key)
        if known is not None and known[0] is owed.record:
            return known[1]
        violation = self._pipeline.decoder.violation_of(owed.record)
        self._violations[dedup_key] = (owed.record, violation)
        return violation

    def _route(self, alert: Alert) -> str:
        """The route through which notifications of the alert are sent."""
        owed, name = alert.owed, alert.route
        if name is None and owed is not None:
            name = self._pipeline.provider.route_of(self._violation(alert.dedup_key, owed))
        return self._pipeline.route(alert, name)

    def _former_route(self, alert: Alert) -> str | None:
        """A route to the former integration whose incident is to be resolved next; None if it is not configured any
        more. (A route to another integration would resolve the live incident.)"""
        former = former_due(alert)
        return self._pipeline.integrations.route(former.integration) if former is not None else None

    def _trigger(self, alert: Alert, route: str) -> Dispatch:
        owed = alert.owed
        assert owed is not None
        trigger = Trigger.of(alert, self._violation(alert.dedup_key, owed))
        return Dispatch(alert.dedup_key, route, trigger, owed, self._partition, self._clock.wall())

    # what follows

    def _trigger_told(self, alert: Alert, dispatch: Dispatch, notification: Trigger, outcome: Outcome) -> Alert | None:
        dedup_key, sent, now = alert.dedup_key, dispatch.token, self._clock.wall()
        match outcome:
            case Accepted(date=date):
                self._urgent()
                self._notified()
                if EARLIEST <= sent.record.timestamp / 1000 <= now:
                    self._metrics.accepted(now - sent.record.timestamp / 1000)
                after = trigger_accepted(alert, sent, dispatch.route, date, now, dispatch.at)
                after = self._steps.told(alert, after, sent, dispatch.route, notification.violation)
                self._tried.discard(dedup_key)
                if after.owed is not None:
                    moment = self._clock.monotonic()
                    if after.owed.repeat:
                        self._repeats.set(dedup_key, moment + self._pipeline.timeout_seconds)
                    self._give_up_at[dedup_key] = moment + self._pipeline.give_up_seconds
                    self._give_up_at.move_to_end(dedup_key)
                return after
            case Rejected() if not owes(alert, sent):
                return alert
            case Rejected(status=status, reason=reason):
                after = trigger_attempted(alert, dispatch.route, False, now)
                return self._refused(after, sent, f"rejected_{status}", reason, dispatch.route)
            case Unavailable(status=answered, reason=reason) | RouteRefused(status=answered, reason=reason):
                self._reasons[dedup_key] = reason
                self._tried.add(dedup_key)
                unknown = isinstance(outcome, Unavailable) and outcome.unknown
                error = shorten(reason, LONGEST_ERROR)  # reasons of answers have no secrets
                return trigger_attempted(alert, dispatch.route, unknown, now, answered, error)

    def _acknowledge_told(self, alert: Alert, outcome: Outcome) -> Alert:
        match outcome:
            case Accepted(date=date):
                self._urgent()
                self._notified()
                return acknowledge_answered(alert, accepted=True, date=date)
            case Rejected(status=status, reason=reason):
                self._urgent()
                self._log.error("acknowledge_rejected", dedup_key=alert.dedup_key, status=status, error=reason)
                return acknowledge_answered(alert, accepted=False)
            case _:
                return attempted(alert) if alert.acknowledging else alert

    def _resolve_told(self, alert: Alert, dispatch: Dispatch, outcome: Outcome) -> Alert | None:
        is_former = due(dispatch.token) is Due.RESOLVE_FORMER
        match outcome:
            case Accepted() | Rejected():
                self._urgent()
                if isinstance(outcome, Rejected):
                    status, reason = outcome.status, outcome.reason
                    self._log.error("resolve_rejected", dedup_key=alert.dedup_key, status=status, error=reason)
                else:
                    self._notified()
                if is_former:
                    return former_answered(alert, self._pipeline.provider.integration_of(dispatch.route))
                return resolve_answered(alert, dispatch.token)
            case _ if is_former:
                self._urgent()
                return former_attempted(alert)
            case _:
                if alert is not dispatch.token:
                    return alert
                self._urgent()  # it may be sent again once a checkpoint holds this attempt
                return attempted(alert)

    def _refused(self, alert: Alert, sent: Owed, error_class: str, error: str, route: str) -> Alert | None:
        after, dead = trigger_refused(self._possibly_told(alert, sent, route), sent, self._clock.wall())
        return self._bury(alert, after, dead, error_class, error, route, retryable=False)

    def _possibly_told(self, alert: Alert, owed: Owed, route: str | None = None) -> Alert:
        """The alert as one that the provider may have, if its trigger is given up now. An earlier owner may have sent
        what it decided, and died before a checkpoint held that; and a gateway may answer 5xx to what the provider has
        taken."""
        was_failed = owed.last_status is not None and owed.last_status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if alert.route is None and (was_failed or owed.first_offset < self._inherited_end):
            return replace(alert, route=route or self._route(alert))
        return alert

    def _given_up(self, now: float) -> Iterator[None]:
        """Dead-letter triggers that were owed for longer than ``give_up_after``, if they or their route were tried in
        vain."""
        if self._pipeline.give_up_seconds <= 0:
            return
        left = _GIVEN_UP_AT_A_TIME
        for dedup_key in self._overdue(now):
            yield
            alert = self._store.get(dedup_key)
            # Other tasks ran meanwhile: it may have been accepted, and another trigger be owed.
            is_overdue = self._give_up_at.get(dedup_key, inf) <= now and not self._delivery.is_busy(self, dedup_key)
            if not is_overdue or alert is None or alert.owed is None:
                continue
            doubt = self._delivery.doubted(self, dedup_key)
            if dedup_key in self._tried or doubt is not None or self._delivery.is_down(self._route(alert)):
                untried = "not tried: nothing leaves through the route"
                reason = self._reasons.get(dedup_key) or doubt or untried
                self._dead_letter_owed(alert, alert.owed, "given_up", reason, retryable=True)
                self._delivery.changed(self, dedup_key)
                left -= 1
                if not left:
                    return

    def _overdue(self, now: float) -> list[str]:
        looked_at = islice(self._give_up_at.items(), _LOOKED_AT)
        return [dedup_key for dedup_key, _ in takewhile(lambda item: item[1] <= now, looked_at)]

    def _dead_letter_owed(
        self, alert: Alert, owed: Owed, error_class: str, error: str, route: str | None = None, *, retryable: bool
    ) -> None:
        after, dead = trigger_refused(self._possibly_told(alert, owed, route), owed, self._clock.wall())
        self._put_or_drop(alert, self._bury(alert, after, dead, error_class, error, route, retryable=retryable))

    def _bury(
        self,
        before: Alert,
        after: Alert | None,
        dead: Owed,
        error_class: str,
        error: str,
        route: str | None = None,
        *,
        retryable: bool,
    ) -> Alert | None:
        """Dead-letter what the alert owed; returns ``after``, once that is told to its history."""
        known = self._violations.get(before.dedup_key)
        event_id = known[1].event_id if known is not None and known[0] is dead.record else None
        self._dead_letter(self._pipeline.undelivered(dead, error_class, error, event_id, retryable=retryable))
        self._urgent()
        noted = self._steps.buried(before, dead, error_class, event_id, route)
        if after is not None:
            return replace(after, last_step=noted.last_step)
        self._store.put(noted)  # as it is gone
        return None

    def _put_or_drop(self, before: Alert, after: Alert | None) -> None:
        if after is None:
            gone = self._store.get(before.dedup_key)
            self._store.drop(before.dedup_key)
            self.ended(before if gone is None else gone)
        elif after is not before:
            if is_silenced(after) and after.begun != before.begun:
                self._store.put(self._begun_in_silence(after), self._clock.monotonic())
            else:
                self._store.put(after)
        if after is None or after.owed is None:
            self._forget(before.dedup_key)

    def _begun_in_silence(self, alert: Alert) -> Alert:
        """What has ended was one life of the key; what was silenced since is another."""
        assert alert.held is not None
        silence = last_silence(alert.held)
        return self._steps.silenced(self.silenced(replace(alert, last_step=None)), silence, is_of_event=False)

    def _forget(self, dedup_key: str) -> None:
        """Drop what is kept for an alert that owes no trigger any more."""
        self._give_up_at.pop(dedup_key, None)
        self._tried.discard(dedup_key)
        self._violations.pop(dedup_key, None)
        self._reasons.pop(dedup_key, None)
        self._repeats.drop(dedup_key)
        self._waits_until.pop(dedup_key, None)
        self._awaiting.pop(dedup_key, None)
