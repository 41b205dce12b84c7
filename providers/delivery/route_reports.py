"""What the observer is told of the routes of an integration: outages, refusals and limits, each when it begins and when
it is over (design section 13).
"""

from collections.abc import Callable

from providers.answer import Rejected, RouteRefused, Throttled
from providers.delivery.integration import Integration
from providers.delivery.outage import Failure
from providers.delivery.outbox import Observer


class RouteReports:
    """Tells an observer; ``clock`` is monotonic, in seconds."""

    def __init__(self, observer: Observer, clock: Callable[[], float]) -> None:
        self._observer = observer
        self._clock = clock

    def fails(self, integration: Integration, failure: Failure, now: float, *, by_check: bool = False) -> None:
        """Report that a check has failed (``by_check``), or a request for whose failure no alert alone is to blame."""
        is_certain = integration.breaker.is_open
        if integration.outages.failed(failure, now, is_certain=is_certain, by_check=by_check):
            self._observer.failing(integration.routes, failure, integration.owed)

    def refuses(self, integration: Integration, answer: Rejected | RouteRefused, *, by_check: bool) -> None:
        """Report that the provider refuses the key; ``by_check``: a check has found that out."""
        failure = Failure(answer.status, answer.reason)
        if integration.refuse(failure, self._clock(), by_check=by_check):
            self._observer.refused(integration.routes, failure, integration.owed)

    def works(self, integration: Integration) -> None:
        """Report that a notification was accepted, which ends an outage or a refusal."""
        outage = integration.over()
        if outage is not None:
            seconds = self._clock() - outage.since
            self._observer.works(integration.routes, seconds, outage.failures, integration.owed)

    def gives_up_if_idle(self, integration: Integration) -> None:
        """End an outage through whose integration no alert has anything to say any more: no answer will end it. (A
        refusal is an outage as well.)"""
        if integration.outages.current is None or not integration.is_idle:
            return
        outage = integration.over()
        if outage is not None:
            self._observer.given_up(integration.routes, self._clock() - outage.since)

    def check_works(self, integration: Integration) -> None:
        """The key works, says a check. That ends a refusal or outage that a check has found out, and one that nothing
        waits for any more. Any other refusal or outage ends with the next accepted notification."""
        refusal, outage = integration.refusal, integration.outages.current
        if refusal is not None:
            is_over = refusal.by_check or not integration.owed
        else:
            is_over = outage is not None and (outage.by_check or integration.is_idle)
        if is_over:
            self.works(integration)

    def throttled(self, integration: Integration, answer: Throttled, now: float) -> None:
        """Report that the provider limits the rate, if that is new."""
        if integration.throttled_since is None:
            integration.throttled_since = now
            self._observer.throttled(integration.routes, answer, integration.owed)

    def unthrottles(self, integration: Integration, now: float) -> None:
        """Report that the provider does not limit the rate any more, if the burst is whole again."""
        since = integration.throttled_since
        if since is not None and not integration.limiter.is_throttled(now):
            integration.throttled_since = None
            self._observer.unthrottled(integration.routes, now - since)
