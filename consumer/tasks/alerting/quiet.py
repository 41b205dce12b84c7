"""Finding alerts for which no event came for long: quiet ones, which are over, and old ones, which are forgotten
(design section 14)."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from consumer.input.progress import Progress
from consumer.tasks.alerting.outbox import LEAST_RUN_SECONDS
from consumer.timing.clock import Moment
from state.alert import Alert
from state.endings import is_to_be_forgotten, quiet_alerts
from state.policy import Policy
from state.store import Store

_FORGOTTEN_AT_A_TIME: Final = 1_000

_NOT_FORGOTTEN: Final = 100
"""After so many alerts in a row that are not to be forgotten, the search is given up until the next second."""


class Quiet:
    """Finds the quiet alerts of one task.

    ``quiet_to`` is given the present moment and returns the moment up to which all events of every key are known; None
    if that is not known. Both are of the monotonic clock.
    """

    def __init__(
        self, store: Store, policy: Policy, progress: Progress, quiet_to: Callable[[float], float | None]
    ) -> None:
        self._store = store
        self._policy = policy
        self._progress = progress
        self._quiet_to = quiet_to

    def over(self, now: float, at_most: int) -> list[Alert]:
        """At most so many alerts for which no event came for ``auto_resolve.after_minutes``, although one would have
        been seen.

        The time is counted from the last event that this task has decided, by the monotonic clock, so that no wrong
        wall clock makes a problem look over that goes on.
        """
        if not self._progress.is_quiescent(now):
            return []
        quiet_to = self._quiet_to(now)
        return [] if quiet_to is None else quiet_alerts(self._store, self._policy, quiet_to, at_most)

    def forgettable(self, now: Moment, written_at: float | None) -> Iterator[Alert | None]:
        """Alerts that owe nothing and for which no event came for ``forget_after``; None for each that was only looked
        at. The caller drops an alert before it goes on, and may let other tasks run between two.

        A restored alert was as old as it is when it was last written (``written_at``), and has aged since then only by
        the time that this task runs: neither the clock of an earlier owner nor this host's is trusted to say more.
        """
        policy = self._policy
        least = max(LEAST_RUN_SECONDS, policy.quiet_seconds or 0.0)
        kept = 0
        heard_before = now.monotonic - min(least, policy.forget_seconds)
        for alert in list(islice(self._store.longest_quiet(heard_before), _FORGOTTEN_AT_A_TIME)):
            yield None
            if self._store.get(alert.dedup_key) is not alert:
                continue  # it has changed while other tasks ran
            age = now.monotonic - self._store.heard(alert.dedup_key)
            if self._store.is_unheard(alert.dedup_key):
                age += max(0.0, min(written_at or now.wall, now.wall) - alert.decided)
            if is_to_be_forgotten(alert, age, policy):
                yield alert
            elif (kept := kept + 1) == _NOT_FORGOTTEN:
                break
