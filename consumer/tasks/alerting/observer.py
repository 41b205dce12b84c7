"""Log lines and metrics about delivery.

The beginning and the end of an outage are logged as warnings; single attempts that fail are counted, and logged at
``debug``.
"""

from collections.abc import Callable, Mapping

from structlog.typing import FilteringBoundLogger

from consumer.telemetry.metrics import PipelineMetrics
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outage import Failure
from providers.delivery.outbox import Dispatch
from providers.notification import Acknowledge, Notification, Resolve, Trigger

_DONE = {"trigger": "alert_triggered", "acknowledge": "alert_acknowledged", "resolve": "alert_resolved"}
_RESULT: Mapping[type[Answer], str] = {
    Accepted: "accepted",
    Rejected: "rejected",
    RouteRefused: "refused",
    Throttled: "throttled",
    Unavailable: "unavailable",
}


class DeliveryObserver:
    """Logs and counts every answer of one pipeline's provider. ``triggered`` is called with the route and the dedup key
    of each trigger that was accepted."""

    def __init__(
        self,
        metrics: PipelineMetrics,
        log: FilteringBoundLogger,
        triggered: Callable[[str, str], None] = lambda route, dedup_key: None,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._unverified: set[str] = set()
        self._triggered = triggered

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float, attempt: int) -> None:
        """A notification was answered after ``seconds``; it was its attempt number ``attempt``."""
        action = action_of(dispatch.notification)
        fields = _of(dispatch)
        fields["attempt"], fields["seconds"] = attempt, round(seconds, 4)
        if isinstance(answer, Accepted):
            self._log.info(_DONE[action], **fields)
            self._verified(dispatch, answer)
            if action == "trigger":
                self._triggered(dispatch.route, dispatch.dedup_key)
        else:
            status = 429 if isinstance(answer, Throttled) else answer.status
            self._log.debug(
                "attempt_failed", result=_RESULT[type(answer)], status=status, error=answer.reason, **fields
            )
        self._metrics.notification(dispatch.route, action, _RESULT[type(answer)], seconds)

    def _verified(self, dispatch: Dispatch, answer: Accepted) -> None:
        """Count an acceptance that could not be verified. It is a warning only once for each route, until one is
        verified again."""
        route = dispatch.route
        if answer.unverified is None:
            self._unverified.discard(route)
            return
        if route in self._unverified:
            self._log.debug("acceptance_unverified", error=answer.unverified, **_of(dispatch))
        else:
            self._log.warning("acceptance_unverified", error=answer.unverified, **_of(dispatch))
        self._unverified.add(route)
        self._metrics.unverified(route)

    def rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """The provider rejects this notification for good: it is not sent again."""
        self._log.error("notification_rejected", status=answer.status, error=answer.reason, **_of(dispatch))

    def fails_alone(self, dispatch: Dispatch, answer: Unavailable, attempt: int) -> None:
        """The route accepts other notifications, but not this one, which is tried again."""
        self._log.warning(
            "notification_fails", status=answer.status, error=answer.reason, attempt=attempt, **_of(dispatch)
        )

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """A further request of an accepted notification (a priority, a note) was rejected."""
        self._log.error("follow_up_rejected", status=answer.status, error=answer.reason, **_of(dispatch))
        self._metrics.follow_up_rejected(dispatch.route)

    def checked(self, route: str, answer: Answer) -> None:
        """The key of a route was checked. If the route's condition changes by that, another line says so."""
        match answer:
            case Accepted():
                result, error = "accepted", None
            case Rejected(reason=reason) | RouteRefused(reason=reason):
                result, error = "refused", reason
            case Throttled(reason=reason) | Unavailable(reason=reason):
                result, error = "unavailable", reason
        self._log.debug("route_checked", route=route, result=result, error=error)
        self._metrics.route_check(route, result)

    def failing(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """An outage begins: the provider accepts nothing through these routes, which share a key."""
        self._log.warning(
            "route_fails", routes=list(routes), status=failure.status, error=failure.reason, waiting=waiting
        )

    def refused(self, routes: tuple[str, ...], failure: Failure, waiting: int) -> None:
        """The provider refuses the key of these routes from now on."""
        self._log.error(
            "route_refused", routes=list(routes), status=failure.status, error=failure.reason, waiting=waiting
        )

    def works(self, routes: tuple[str, ...], seconds: float, failures: int, waiting: int) -> None:
        """The provider accepts notifications through these routes again."""
        self._log.info(
            "route_works", routes=list(routes), seconds=round(seconds, 1), failed_attempts=failures, waiting=waiting
        )

    def given_up(self, routes: tuple[str, ...], seconds: float) -> None:
        """The trouble of these routes is over for this member: it sends nothing through them any more."""
        self._log.info("route_unused", routes=list(routes), seconds=round(seconds, 1))

    def throttled(self, routes: tuple[str, ...], answer: Throttled, waiting: int) -> None:
        """The provider limits the rate of these routes."""
        self._log.warning(
            "route_throttled",
            routes=list(routes),
            error=answer.reason,
            retry_after=answer.retry_after,
            waiting=waiting,
        )

    def unthrottled(self, routes: tuple[str, ...], seconds: float) -> None:
        """The provider does not limit the rate of these routes any more."""
        self._log.info("route_not_throttled", routes=list(routes), seconds=round(seconds, 1))

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        """A notification could not be made into requests: a fault of this program."""
        self._log.error("notification_failed", **_of(dispatch), exc_info=error)


def _of(dispatch: Dispatch) -> dict[str, object]:
    """The fields of every log line about a notification."""
    fields: dict[str, object] = {
        "dedup_key": dispatch.dedup_key,
        "route": dispatch.route,
        "action": action_of(dispatch.notification),
    }
    if dispatch.partition is not None:
        fields["partition"] = dispatch.partition
    match dispatch.notification:
        case Trigger(violation=violation, severity=severity, alert_summary=summary):
            fields["event_id"], fields["severity"] = violation.event_id, severity.label
            fields["occurrences"] = summary.occurrences
        case Resolve(ended_by=ended_by) if ended_by is not None:
            fields["resolved_by"] = ended_by.value
    return fields


def action_of(notification: Notification) -> str:
    """``trigger``, ``acknowledge`` or ``resolve``: the metrics' and PagerDuty's word."""
    match notification:
        case Trigger():
            return "trigger"
        case Acknowledge():
            return "acknowledge"
        case Resolve():
            return "resolve"
