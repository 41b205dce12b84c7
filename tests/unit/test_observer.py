"""What the log says of notifications and routes: names, levels and fields, as somebody searches for them at night."""

from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from consumer.tasks.alerting.observer import DeliveryObserver
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.state_metrics import PipelineState
from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.outage import Failure
from providers.delivery.outbox import Dispatch
from providers.notification import AlertSummary, Notification, Resolve, Trigger
from state.alert import Ending
from state.violation import Severity
from tests.unit.test_pagerduty import violation

TRIGGER = Trigger("g:s", violation(), Severity.HIGH, AlertSummary(3, 1.0, 2.0, Severity.CRITICAL))


class Heard:
    """An observer, with what it has logged and counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._logger = CapturingLogger()
        metrics = Metrics(self.registry).pipeline("pagerduty", ["default"], PipelineState)
        self.observer = DeliveryObserver(metrics, structlog.wrap_logger(self._logger, processors=[]))

    @property
    def line(self) -> tuple[str, str, dict[str, Any]]:
        """The last line: its level, its event, its fields."""
        call = self._logger.calls[-1]
        fields = dict(call.kwargs)
        return call.method_name, fields.pop("event"), fields

    def count(self, result: str, action: str = "trigger") -> float | None:
        labels = {"pipeline": "pagerduty", "route": "default", "action": action, "result": result}
        return self.registry.get_sample_value("clawdstrike_alerting_notifications_total", labels)


def dispatch(notification: Notification = TRIGGER) -> Dispatch:
    return Dispatch("g:s", "default", notification, object(), 7)


def test_an_accepted_trigger_says_all_by_which_one_finds_it_again() -> None:
    heard = Heard()
    heard.observer.answered(dispatch(), Accepted(), 0.12345, 2)
    assert heard.line == (
        "info",
        "alert_triggered",
        {
            "dedup_key": "g:s",
            "route": "default",
            "action": "trigger",
            "partition": 7,
            "event_id": TRIGGER.violation.event_id,
            "severity": "high",
            "occurrences": 3,
            "attempt": 2,
            "seconds": 0.1235,
        },
    )
    assert heard.count("accepted") == 1


@pytest.mark.parametrize("ending", Ending)
def test_a_resolve_says_what_has_ended_the_alert(ending: Ending) -> None:
    heard = Heard()
    heard.observer.answered(dispatch(Resolve("g:s", ending)), Accepted(), 0.1, 1)
    level, event, fields = heard.line
    assert (level, event, fields["resolved_by"]) == ("info", "alert_resolved", ending.value)
    heard.observer.answered(dispatch(Resolve("g:s")), Accepted(), 0.1, 1)
    assert "resolved_by" not in heard.line[2], "an earlier release has not kept it"


@pytest.mark.parametrize(
    ("answer", "result", "status"),
    [
        (Rejected(400, "no"), "rejected", 400),
        (RouteRefused(403, "no"), "refused", 403),
        (Throttled("no", 3.0), "throttled", 429),
        (Unavailable(503, "no"), "unavailable", 503),
        (Unavailable(None, "no"), "unavailable", None),
    ],
)
def test_an_attempt_that_fails_is_counted_and_for_who_looks_closely(
    answer: Answer, result: str, status: int | None
) -> None:
    heard = Heard()
    heard.observer.answered(dispatch(), answer, 0.1, 1)
    level, event, fields = heard.line
    assert (level, event, fields["result"], fields["status"], fields["error"]) == (
        *("debug", "attempt_failed", result),
        *(status, "no"),
    )
    assert heard.count(result) == 1


def test_an_outage_is_told_with_how_long_and_how_many() -> None:
    heard = Heard()
    heard.observer.failing(("a", "b"), Failure(503, "down"), 12)
    assert heard.line == (
        "warning",
        "route_fails",
        {"routes": ["a", "b"], "status": 503, "error": "down", "waiting": 12},
    )
    heard.observer.refused(("a",), Failure(401, "no such key"), 1)
    assert heard.line == (
        "error",
        "route_refused",
        {"routes": ["a"], "status": 401, "error": "no such key", "waiting": 1},
    )
    heard.observer.works(("a", "b"), 12.34, 5, 12)
    assert heard.line == (
        "info",
        "route_works",
        {"routes": ["a", "b"], "seconds": 12.3, "failed_attempts": 5, "waiting": 12},
    )
    heard.observer.given_up(("a",), 1.0)
    assert heard.line == ("info", "route_unused", {"routes": ["a"], "seconds": 1.0})
    heard.observer.throttled(("a",), Throttled("slow down", 3.0), 2)
    assert heard.line[:2] == ("warning", "route_throttled")
    heard.observer.unthrottled(("a",), 300.0)
    assert heard.line[:2] == ("info", "route_not_throttled")


def test_what_is_the_alerts_own_trouble_is_told_of_the_alert() -> None:
    heard = Heard()
    heard.observer.rejected(dispatch(), Rejected(422, "bad"))
    level, event, fields = heard.line
    assert (level, event, fields["dedup_key"], fields["status"]) == ("error", "notification_rejected", "g:s", 422)
    heard.observer.fails_alone(dispatch(), Unavailable(503, "down"), 2)
    level, event, fields = heard.line
    assert (level, event, fields["attempt"], fields["partition"]) == ("warning", "notification_fails", 2, 7)
    heard.observer.checked("default", Unavailable(503, "down"))
    assert heard.line == ("debug", "route_checked", {"route": "default", "result": "unavailable", "error": "down"})


def test_what_is_accepted_and_unverified_is_counted_each_time_and_said_once() -> None:
    heard = Heard()
    levels = []
    for unverified in ("not processed yet", "not processed yet", None, "not processed yet"):
        heard.observer.answered(dispatch(), Accepted(unverified=unverified), 0.1, 1)
        levels.append((heard.line[0], heard.line[1]))
    again = ("warning", "acceptance_unverified")
    assert levels == [again, ("debug", "acceptance_unverified"), ("info", "alert_triggered"), again]
    assert heard.line[2]["error"] == "not processed yet"
    assert heard.line[2]["dedup_key"] == "g:s"
    labels = {"pipeline": "pagerduty", "route": "default"}
    name = "clawdstrike_alerting_acceptances_unverified_total"
    assert heard.registry.get_sample_value(name, labels) == 3
    assert heard.count("accepted") == 4
