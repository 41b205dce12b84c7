"""What ends alerts of a store: that nothing occurs any more, that something says so, or that they are forgotten.

A task and the simulation (design section 23) end alerts by these. No clock and no I/O: each is told the time.
"""

from itertools import islice

from state.alert import Alert, Ending
from state.due import due
from state.over import over
from state.policy import Policy
from state.silenced import over_after_silence
from state.store import Store


def end_alert(store: Store, alert: Alert, ended_by: Ending) -> Alert | None:
    """The threat is over of this alert of the store, which has it from now on as it is returned: resolving; None: gone,
    for nothing of it can be at the provider; the same, if it was over already."""
    return _left(store, alert, over(alert, ended_by))


def end_silences(store: Store, alert: Alert) -> Alert | None:
    """The problem of this alert of the store, which holds something silenced, was over when its silences ended. The
    store has it from now on as it is returned: without what was silenced; resolving, if that was all; None: gone."""
    return _left(store, alert, over_after_silence(alert))


def _left(store: Store, alert: Alert, after: Alert | None) -> Alert | None:
    if after is None:
        store.drop(alert.dedup_key)
    elif after is not alert:
        store.put(after)
    return after


def quiet_alerts(store: Store, policy: Policy, until: float, at_most: int | None = None) -> list[Alert]:
    """The alerts that are over because of them nothing has occurred for long enough, longest first, at most so many.

    ``until`` is up to when it is known that nothing has, by the monotonic clock by which the store has heard of them.
    """
    if policy.quiet_seconds is None:
        return []
    return list(islice(store.longest_quiet(until - policy.quiet_seconds), at_most))


def is_to_be_forgotten(alert: Alert, age: float, policy: Policy) -> bool:
    """Whether an alert of which nothing has been heard for ``age`` seconds is dropped, and nothing is sent."""
    return due(alert) is None and age >= policy.forget_seconds
