"""What a task owes the provider: what may leave now, and what follows from the answers (design sections 6 and 8)."""

from collections.abc import Callable
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from consumer.clock import Clock
from consumer.deadletter import DeadLetter
from consumer.event import violation_of
from consumer.pipeline import Pipeline
from consumer.progress import Progress
from consumer.server.metrics import PipelineMetrics
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Unavailable
from providers.delivery import Delivery, Dispatch, Offer
from providers.notification import Acknowledge, Resolve, Story, Trigger
from state.alert import (
    Alert,
    Due,
    Owed,
    acknowledge_answered,
    due,
    is_given_up,
    resolve_answered,
    trigger_accepted,
    trigger_attempted,
    trigger_refused,
)
from state.store import Store
from state.violation import Violation


class TaskOutbox:
    """One task's side of delivery.

    It keeps the moments before which something must not leave: after a failure, and while an earlier request may still
    land (design section 6.7). These are by the monotonic clock and die with the task; a restored task waits anew.
    """

    def __init__(
        self,
        *,
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
    ) -> None:
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
        self._since = clock.wall()
        self._inherited_end = 0
        self._inherited_until = 0.0
        self._not_before: dict[str, float] = {}
        self._unsettled_until: dict[str, float] = {}
        self._closing_until: dict[str, float] = {}  # of alerts that are gone: a resolve of theirs may still land
        self._parked: set[str] = set()
        self._reasons: dict[str, str] = {}  # why what is owed was not accepted when it was last tried

    def restored(self, end: int) -> None:
        """The store has been restored: everything it owes is offered, and earlier requests may still land.

        Of alerts that the state did not hold as well: what an earlier owner had decided lies below ``end``, the end of
        the input at the take-over.
        """
        settled = self._inherited_until = self._clock.monotonic() + self._pipeline.timeout_seconds
        self._inherited_end = end
        self._unsettled_until = dict.fromkeys(self._store.keys(), settled)
        for dedup_key in dict.fromkeys([*self._store.owing, *self._store.resolving(), *self._store.acknowledging()]):
            alert = self._store.get(dedup_key)
            assert alert is not None
            if alert.owed is not None and alert.owed.repeat:
                self._not_before[dedup_key] = settled
            self._offer(alert)

    def owes(self, alert: Alert, *, is_new: bool) -> None:
        """The alert owes something; ``is_new`` if it is something that may leave at once, whatever failed before."""
        if is_new:
            self._not_before.pop(alert.dedup_key, None)
            alert = self._still_unsettled(alert)
        self._offer(alert)

    def _still_unsettled(self, alert: Alert) -> Alert:
        """An alert that begins where an earlier request with its key may still land."""
        dedup_key, owed, now = alert.dedup_key, alert.owed, self._clock.monotonic()
        may_land_until = max(self._closing_until.get(dedup_key, 0.0), self._unsettled_until.get(dedup_key, 0.0))
        if alert.told is None and not alert.unsettled and now < may_land_until:
            alert = replace(alert, unsettled=True)
            self._store.put(alert)
        elif owed is not None and owed.first_offset < self._inherited_end and now < self._inherited_until:
            self._unsettled_until.setdefault(dedup_key, self._inherited_until)
        return alert

    def tick(self) -> None:
        """Offer again what could not leave when its turn came; forget what has been settled."""
        now = self._clock.monotonic()
        self._give_up()
        if self._unsettled_until:
            self._unsettled_until = {key: at for key, at in self._unsettled_until.items() if at > now}
        if self._closing_until:
            self._closing_until = {key: at for key, at in self._closing_until.items() if at > now}
        if self._parked and self._progress.is_caught_up(now):
            parked, self._parked = self._parked, set()
            for dedup_key in parked:
                alert = self._store.get(dedup_key)
                if alert is not None:
                    self._offer(alert)

    # delivery's questions

    def dispatch(self, dedup_key: str, route: str) -> Dispatch | None:
        """What is to be sent for this alert through this route now."""
        alert = self._store.get(dedup_key)
        if alert is None:
            return None
        match due(alert):
            case Due.TRIGGER:
                return self._trigger(alert, route)
            case Due.RESOLVE:
                if not self._may_resolve(alert):
                    self._parked.add(dedup_key)
                    return None
                return Dispatch(dedup_key, route, Resolve(dedup_key), alert)
            case Due.ACKNOWLEDGE:
                return Dispatch(dedup_key, route, Acknowledge(dedup_key), alert)
            case None:
                return None

    def answered(self, dispatch: Dispatch, answer: Answer, failures: int) -> None:
        """What the provider's answer makes of the alert."""
        dedup_key = dispatch.dedup_key
        self._reasons.pop(dedup_key, None)
        if failures:
            self._not_before[dedup_key] = self._delivery.retry_at(failures)
        else:
            self._not_before.pop(dedup_key, None)
        if isinstance(answer, Unavailable) and answer.unknown:
            self._unsettled_until[dedup_key] = self._clock.monotonic() + self._pipeline.timeout_seconds
        alert = self._store.get(dedup_key)
        if alert is None:
            return  # forgotten meanwhile
        match dispatch.notification:
            case Trigger():
                after = self._trigger_answered(alert, dispatch, answer)
            case Acknowledge():
                after = self._acknowledge_answered(alert, answer)
            case Resolve():
                after = self._resolve_answered(alert, dispatch, answer)
        if after is None:
            if alert.unsettled:
                self._closing_until[dedup_key] = self._clock.monotonic() + self._pipeline.timeout_seconds
            self._store.drop(dedup_key)
            self._not_before.pop(dedup_key, None)
        elif after is not alert:
            self._store.put(after)
        self._settled()  # what has waited for this answer is decided before the alert is offered again
        current = self._store.get(dedup_key)
        if current is not None and due(current) is not None:
            self._offer(current)

    def withheld(self, dedup_key: str) -> None:
        """It was not sent after all: offer it again."""
        alert = self._store.get(dedup_key)
        if alert is not None:
            self._offer(alert)

    # what may leave

    def _offer(self, alert: Alert) -> None:
        owed, what = alert.owed, due(alert)
        if owed is not None:
            try:
                route = self._route(alert, violation_of(owed.record))
            except ValueError as error:
                self._undeliverable(alert, owed, str(error))
                return
            severity, since = owed.severity, owed.since
        elif what is not None:
            route, severity, since = self._route(alert, None), alert.highest, alert.decided
        else:
            return
        self._delivery.offer(
            Offer(
                self,
                alert.dedup_key,
                route,
                severity,
                since,
                is_resolve=what is Due.RESOLVE,
                not_before=self._not_before.get(alert.dedup_key, 0.0),
            )
        )

    def _route(self, alert: Alert, violation: Violation | None) -> str:
        """The alert's own route; before it has one, that of the violation."""
        provider = self._pipeline.provider
        if alert.route is not None:
            if alert.route in provider.routes:
                return alert.route
            self._log.warning("route_unknown", dedup_key=alert.dedup_key, route=alert.route)
        elif violation is not None:
            return provider.route_of(violation)
        return provider.routes[0]

    def _trigger(self, alert: Alert, route: str) -> Dispatch | None:
        owed = alert.owed
        assert owed is not None
        violation = violation_of(owed.record)
        if self._route(alert, violation) != route:
            return None  # it has been offered to another route since
        told = alert.told
        story = Story(alert.occurrences, alert.first_seen, alert.last_seen, alert.highest)
        trigger = Trigger(
            alert.dedup_key,
            violation,
            owed.severity,
            story,
            again=told is not None,
            raised=told is not None and owed.severity > told.severity,
        )
        return Dispatch(alert.dedup_key, route, trigger, owed)

    def _may_resolve(self, alert: Alert) -> bool:
        now = self._clock.monotonic()
        return (
            self._store.is_held(alert.dedup_key)
            and self._progress.is_caught_up(now)
            and now >= self._unsettled_until.get(alert.dedup_key, 0.0)
        )

    # what follows

    def _trigger_answered(self, alert: Alert, dispatch: Dispatch, answer: Answer) -> Alert | None:
        sent: Owed = dispatch.token
        now = self._clock.wall()
        match answer:
            case Accepted(date=date):
                self._urgent()
                self._notified()
                self._metrics.accepted(now - sent.record.timestamp / 1000)
                after = trigger_accepted(alert, sent, dispatch.route, date, now)
                if after.owed is not None and after.owed.repeat:
                    self._not_before[alert.dedup_key] = self._clock.monotonic() + self._pipeline.timeout_seconds
                return after
            case Rejected(status=status, reason=reason):
                after = trigger_attempted(alert, dispatch.route, False, now)
                return self._refused(after, sent, dispatch, f"rejected_{status}", reason, retryable=False)
            case Unavailable(reason=reason) | RouteRefused(reason=reason):
                unknown = isinstance(answer, Unavailable) and answer.unknown
                after = trigger_attempted(alert, dispatch.route, unknown, now)
                self._reasons[alert.dedup_key] = reason
                if after.owed is not None and is_given_up(after.owed, now, self._pipeline.give_up_seconds):
                    return self._refused(after, sent, dispatch, "given_up", reason, retryable=True)
                return after

    def _acknowledge_answered(self, alert: Alert, answer: Answer) -> Alert:
        match answer:
            case Accepted():
                self._urgent()
                self._notified()
                return acknowledge_answered(alert, accepted=True)
            case Rejected(status=status, reason=reason):
                self._urgent()
                self._log.error("acknowledge_rejected", dedup_key=alert.dedup_key, status=status, error=reason)
                return acknowledge_answered(alert, accepted=False)
            case _:
                return alert

    def _resolve_answered(self, alert: Alert, dispatch: Dispatch, answer: Answer) -> Alert | None:
        match answer:
            case Accepted():
                self._urgent()
                self._notified()
                return resolve_answered(alert, dispatch.token)
            case Rejected(status=status, reason=reason):
                self._urgent()
                self._log.error("resolve_rejected", dedup_key=alert.dedup_key, status=status, error=reason)
                return resolve_answered(alert, dispatch.token)
            case _:
                return alert

    def _refused(
        self, alert: Alert, sent: Owed, dispatch: Dispatch, error_class: str, error: str, *, retryable: bool
    ) -> Alert | None:
        assert isinstance(dispatch.notification, Trigger)
        after, dead = trigger_refused(self._possibly_told(alert, sent, dispatch.route), sent)
        event_id = dispatch.notification.violation.event_id
        self._dead_letter(self._pipeline.undelivered(dead, error_class, error, event_id, retryable=retryable))
        self._urgent()
        return after

    def _possibly_told(self, alert: Alert, owed: Owed, route: str) -> Alert:
        """An earlier owner may have sent what it had decided, and have died before it could say so."""
        if alert.route is None and owed.first_offset < self._inherited_end:
            return replace(alert, route=route)
        return alert

    def _give_up(self) -> None:
        """Dead-letter what has been owed for too long, also where the breaker lets nothing be tried."""
        now, seconds = self._clock.wall(), self._pipeline.give_up_seconds
        oldest = self._store.oldest_owed_since()
        if seconds <= 0 or oldest is None or now - oldest < seconds:
            return
        for dedup_key in self._store.owing:
            alert = self._store.get(dedup_key)
            if alert is None or alert.owed is None or self._delivery.is_on_the_wire(self, dedup_key):
                continue
            # Restored, it is tried at least once, or as long again.
            if is_given_up(alert.owed, now, seconds) or now - max(alert.owed.since, self._since) >= seconds:
                reason = self._reasons.pop(dedup_key, "never tried: the route was held back all the time")
                self._dead_letter_owed(alert, alert.owed, "given_up", reason, retryable=True)

    def _undeliverable(self, alert: Alert, owed: Owed, error: str) -> None:
        """A record from the state that this version cannot read any more: a dead letter, loudly."""
        self._dead_letter_owed(alert, owed, "undecodable", error, retryable=False)

    def _dead_letter_owed(self, alert: Alert, owed: Owed, error_class: str, error: str, *, retryable: bool) -> None:
        violation = _violation(owed)
        event_id = violation.event_id if violation is not None else None
        after, dead = trigger_refused(self._possibly_told(alert, owed, self._route(alert, violation)), owed)
        self._dead_letter(self._pipeline.undelivered(dead, error_class, error, event_id, retryable=retryable))
        if after is None:
            self._store.drop(alert.dedup_key)
        else:
            self._store.put(after)
            self._offer(after)
        self._urgent()


def _violation(owed: Owed) -> Violation | None:
    try:
        return violation_of(owed.record)
    except ValueError:
        return None
