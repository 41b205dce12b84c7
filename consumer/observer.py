"""What delivery does, as log lines and metrics."""

from structlog.typing import FilteringBoundLogger

from consumer.server.metrics import PipelineMetrics
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outbox import Dispatch
from providers.notification import Acknowledge, Notification, Resolve, Trigger

_DONE = {"trigger": "alert_triggered", "acknowledge": "alert_acknowledged", "resolve": "alert_resolved"}


class DeliveryObserver:
    """Logs and counts every answer of one pipeline's provider."""

    def __init__(self, metrics: PipelineMetrics, log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._log = log

    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float) -> None:
        """A notification was answered after ``seconds``."""
        action = action_of(dispatch.notification)
        fields: dict[str, object] = {
            "dedup_key": dispatch.dedup_key,
            "route": dispatch.route,
            "action": action,
            "seconds": round(seconds, 4),
        }
        if isinstance(dispatch.notification, Trigger):
            fields["event_id"] = dispatch.notification.violation.event_id
        log = self._log
        match answer:
            case Accepted():
                result = "accepted"
                log.info(_DONE[action], **fields)
            case Rejected(status=status, reason=reason):
                result = "rejected"
                log.error("notification_rejected", status=status, error=reason, **fields)
            case RouteRefused(status=status, reason=reason):
                result = "refused"
                log.error("key_refused", status=status, error=reason, **fields)
            case Throttled(reason=reason):
                result = "throttled"
                log.warning("provider_throttles", error=reason, retry_after=answer.retry_after, **fields)
            case Unavailable(status=status, reason=reason):
                result = "unavailable"
                log.warning(
                    "provider_unavailable", status=status, error=reason, retry_after=answer.retry_after, **fields
                )
        self._metrics.notification(dispatch.route, action, result, seconds)

    def follow_up_rejected(self, dispatch: Dispatch, answer: Rejected) -> None:
        """A further request of an accepted notification (a priority, a note) was rejected."""
        self._log.error(
            "follow_up_rejected",
            dedup_key=dispatch.dedup_key,
            route=dispatch.route,
            status=answer.status,
            error=answer.reason,
        )
        self._metrics.follow_up_rejected(dispatch.route)

    def checked(self, route: str, answer: Answer) -> None:
        """The key of the route was checked."""
        match answer:
            case Accepted():
                self._log.debug("route_checked", route=route, result="accepted")
                self._metrics.route_check(route, "accepted")
            case Rejected(status=status, reason=reason) | RouteRefused(status=status, reason=reason):
                self._log.error("route_checked", route=route, result="refused", status=status, error=reason)
                self._metrics.route_check(route, "refused")
            case Throttled(reason=reason) | Unavailable(reason=reason):
                self._log.warning("route_checked", route=route, result="unavailable", error=reason)
                self._metrics.route_check(route, "unavailable")

    def refused(self, routes: tuple[str, ...], reason: str) -> None:
        """The provider refuses these routes, which share a key, from now on."""
        self._log.error("route_refused", routes=list(routes), error=reason)

    def works(self, routes: tuple[str, ...]) -> None:
        """The provider takes these routes again."""
        self._log.info("route_works", routes=list(routes))

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        """A notification could not be made into requests: a fault of this program."""
        self._log.error("notification_failed", dedup_key=dispatch.dedup_key, exc_info=error)


def action_of(notification: Notification) -> str:
    """``trigger``, ``acknowledge`` or ``resolve``: the metrics' and PagerDuty's word."""
    match notification:
        case Trigger():
            return "trigger"
        case Acknowledge():
            return "acknowledge"
        case Resolve():
            return "resolve"
