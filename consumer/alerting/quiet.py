"""Alerts of which nothing has been heard for long: those that are over, and those that are forgotten (design section
14)."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from consumer.alerting.outbox import LEAST_RUN_SECONDS
from consumer.clock import Moment
from consumer.input.progress import Progress
from state.alert import Alert, Policy
from state.endings import is_to_be_forgotten, quiet_alerts
from state.store import Store

_FORGOTTEN_AT_A_TIME: Final = 1_000

_NOT_FORGOTTEN: Final = 100
"""Alerts in a row that are not to be forgotten, after which the others are looked at another time."""


class Quiet:
    """What is quiet of one task's alerts.

    ``quiet_to`` says of a moment until when it is known, for all of the keys, that nothing has occurred; None if that
    is not known.
    """

    def __init__(
        self, store: Store, policy: Policy, progress: Progress, quiet_to: Callable[[float], float | None]
    ) -> None:
        self._store = store
        self._policy = policy
        self._progress = progress
        self._quiet_to = quiet_to

    def over(self, now: float, at_most: int) -> list[Alert]:
        """Alerts that are over because nothing has occurred for long enough, and would have been seen.

        Quiet is counted from the last occurrence that this task has decided, by the monotonic clock: no wall clock can
        make a live problem look over.
        """
        if not self._progress.is_quiescent(now):
            return []
        quiet_to = self._quiet_to(now)
        return [] if quiet_to is None else quiet_alerts(self._store, self._policy, quiet_to, at_most)

    def forgettable(self, now: Moment, written_at: float | None) -> Iterator[Alert | None]:
        """Alerts that owe nothing and of which nothing has been heard for very long; None for one that was only looked
        at. They are to be dropped at once; others may have their turn before the next.

        What was restored is as old as it was when it was last written down (``written_at``), and this task has run for
        a while: neither an earlier owner's clock nor this one's is trusted to say more.
        """
        policy = self._policy
        least = max(LEAST_RUN_SECONDS, policy.quiet_seconds or 0.0)
        kept = 0
        heard_before = now.monotonic - min(least, policy.forget_seconds)
        for alert in list(islice(self._store.longest_quiet(heard_before), _FORGOTTEN_AT_A_TIME)):
            yield None
            if self._store.get(alert.dedup_key) is not alert:
                continue  # others have had their turn meanwhile
            age = now.monotonic - self._store.heard(alert.dedup_key)
            if self._store.is_unheard(alert.dedup_key):
                age += max(0.0, min(written_at or now.wall, now.wall) - alert.decided)
            if is_to_be_forgotten(alert, age, policy):
                yield alert
            elif (kept := kept + 1) == _NOT_FORGOTTEN:
                break
