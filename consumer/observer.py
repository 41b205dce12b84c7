"""What delivery does, as log lines and metrics."""

from structlog.typing import FilteringBoundLogger

from consumer.server.metrics import PipelineMetrics
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Unavailable
from providers.delivery import Dispatch
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
                log.error("route_refused", status=status, error=reason, **fields)
            case Unavailable(status=status, reason=reason):
                result = "unavailable"
                log.warning(
                    "provider_unavailable", status=status, error=reason, retry_after=answer.retry_after, **fields
                )
        self._metrics.notification(dispatch.route, action, result, seconds)

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
