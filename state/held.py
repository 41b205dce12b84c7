"""What is silenced of an alert, and nobody was told of: what its silences hold (design section 22).

Pure functions of `state.alert.Held`, which the transitions of the other modules use. What a silenced event and the end
of a silence do to an alert is in `state.silenced`.
"""

from collections.abc import Callable
from math import inf, nextafter

from msgspec.structs import replace

from state.alert import Alert, Held, Owed, Status
from state.policy import Policy
from state.violation import Record


def is_changed_by_silence_only(alert: Alert, before: Alert) -> bool:
    """Whether the alert has had silenced occurrences since it was as ``before``, or has lost them, and nothing else."""
    return alert.held is not before.held and replace(alert, held=before.held, key=before.key) == before


def is_silenced(alert: Alert) -> bool:
    """Whether silences are all that keeps the alert from being told: the provider has nothing of it, and is owed
    nothing."""
    return (
        alert.held is not None
        and alert.owed is None
        and not alert.is_at_provider
        and alert.status is not Status.RESOLVING
    )


def untold(alert: Alert) -> Held | None:
    """The silenced occurrences of the alert that are in no trigger and in nothing that the provider has. Where it has
    the alert, they count into that: whatever takes the alert from it leaves none that anybody still has to be told of.
    """
    return None if alert.is_at_provider else alert.held


def not_silenced(alert: Alert) -> int:
    """How many occurrences of the alert, which its provider has, were not silenced since that was told last."""
    return alert.occurrences - (0 if alert.held is None else alert.held.occurrences)


def without_held(alert: Alert) -> Alert | None:
    """The alert, which its provider has, without what was silenced behind its last occurrence that was not: that one
    has taken with it what was held before. None if it is not known when it was decided."""
    held = alert.held
    if held is None or held.not_silenced is None:
        return None
    return replace(alert, occurrences=not_silenced(alert), decided=held.not_silenced, held=None)


def with_held_counted(alert: Alert) -> Alert:
    """The alert without its silenced occurrences, which count as its own from now on."""
    held = alert.held
    if held is None or alert.status is not Status.RESOLVING:
        return replace(alert, held=None)
    return replace(
        alert,
        occurrences=alert.occurrences + held.occurrences,
        first_seen=min(alert.first_seen, held.first_seen),
        last_seen=max(alert.last_seen, held.last_seen),
        decided=max(alert.decided, held.decided),
        held=None,
    )


def with_held_over(alert: Alert) -> Alert:
    """The alert, whose silenced occurrences are over: they count into the trigger that it owes; if none, they are gone.
    Their severity is not sent."""
    held, owed = alert.held, alert.owed
    if held is None:
        return alert
    if owed is None or owed.repeat:
        return replace(alert, held=None)
    return replace(with_held_counted(alert), owed=with_held(owed, held))


def with_held(owed: Owed, held: Held) -> Owed:
    """What is owed, with silenced occurrences counted in that nobody was told of. They hold no offset."""
    return replace(
        owed,
        first_offset=min(owed.first_offset, held.first_offset),
        last_offset=max(owed.last_offset, held.last_offset),
        occurrences=owed.occurrences + held.occurrences,
    )


def left_silenced(alert: Alert) -> Alert | None:
    """What is left of an alert whose incidents have ended: its silenced occurrences, which are another life of its key;
    None if it has none."""
    held = alert.held
    if held is None:
        return None
    return Alert(
        alert.dedup_key,
        Status.OPEN,
        alert.session_id,
        held.occurrences,
        held.first_seen,
        held.last_seen,
        held.decided,
        held.severity,
        orphans=alert.orphans,
        key=alert.key,
        begun=held.decided if held.decided != alert.begun else nextafter(held.decided, inf),
        held=held,
    )


def ends_at(held: Held, end_of: Callable[[str, float], float]) -> float:
    """When the last of the silences ends that hold this. ``end_of`` takes a silence's id and the end that it had when
    it silenced, and says when it ends for what it holds: it can have been ended early, for example."""
    return max((end_of(silence_id, until) for silence_id, until in held.silences), default=-inf)


def last_silence(held: Held) -> str:
    """Among the silences that hold this, the id of the one that was to end last."""
    silence_id, _ = max(held.silences, key=lambda one: one[1])
    return silence_id


def is_live(held: Held, end: float, policy: Policy) -> bool:
    """Whether the problem still goes on at the ``end`` of its silences: its last event is no older than what would be
    suppressed, or than what is over by quiet, whichever is longer."""
    return end - held.last_at <= max(policy.window_seconds, policy.quiet_seconds or 0.0)


def owed_of_held(held: Held, record: Record, since: float) -> Owed:
    """A trigger that is owed for all that is held, by the ``record`` of the worst of it, and holds back no offset."""
    return Owed(
        record, held.severity, since, held.first_offset, held.last_offset, held.occurrences,
        guard=held.source.guard, tenant=held.source.tenant,
    )  # fmt: skip


def is_all_of_it(alert: Alert) -> bool:
    """Whether all that there is of the alert is silenced. It is not where an occurrence was told before at an
    integration that the alert has left: that incident is no matter of the silences."""
    held = alert.held
    return held is not None and is_silenced(alert) and not (alert.former and alert.occurrences > held.occurrences)
