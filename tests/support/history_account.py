"""Whether the history of each alert is complete and in order (design section 21), judged by the steps alone.

Every event is in one step: in that which it has caused, or among the suppressed of the next. A life begins by a
trigger, or by a silence, and ends once. What is told, acknowledged or dead-lettered was triggered before.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from consumer.history.step import Kind, Reason, Step
from state.alert import Alert, last_step_of

_LAST = (Kind.RESOLVED, Kind.DEAD_LETTERED, Kind.GIVEN_UP, Kind.HANDED_OVER, Kind.ORPHANED, Kind.FORGOTTEN)
"""By which an alert can have left."""

_BEGINS = (Reason.NEW, Reason.REOPENED)
_BEGINS_WITHOUT_EVENT = (Reason.CLOSED_AT_PROVIDER, Reason.SILENCE_ENDED)
_TELLS = (Kind.TOLD, Kind.RAISED, Kind.TOLD_AGAIN)
_IS_OVER_AFTER = (*_TELLS, Kind.DEAD_LETTERED, Kind.GIVEN_UP, Kind.ORPHANED)
"""What can still be said of a life that is over: what it owed is told first, or becomes a dead letter."""


@dataclass(slots=True)
class History:
    """The steps of one dedup key at one provider, in their order, and what is wrong with them."""

    steps: list[Step] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _lives: set[float | None] = field(default_factory=set)
    _is_over: bool = False
    _is_told: bool = False

    def take(self, step: Step) -> None:
        """The next step."""
        before = self.steps[-1] if self.steps else None
        for wrong in self._wrong(before, step):
            self.wrong.append(f"{step.dedup_key!r}, step {len(self.steps)} ({step.kind}): {wrong}")
        self.steps.append(step)

    def _wrong(self, before: Step | None, step: Step) -> Iterator[str]:
        is_event = step.kind is Kind.TRIGGERED and step.reason not in _BEGINS_WITHOUT_EVENT
        is_new = step.is_first
        begins_in_silence = step.kind is Kind.SILENCED and (is_new or step.life not in self._lives)
        if is_new:
            if before is not None and before.kind not in (*_LAST, *_TELLS):
                yield f"it is new, but was {before.kind} and has not ended"
            if step.occurrences != 1 or step.seconds is not None:
                yield "it is new, but something was before it"
            self._is_told = False
        elif begins_in_silence:  # what has been silenced since the life before was over
            if not 0 <= step.suppressed <= step.occurrences:
                yield f"of {step.occurrences} events {step.suppressed} are suppressed"
        elif before is None:
            yield "the first step is no trigger"
        else:
            is_event |= step.kind is Kind.SILENCED
            if step.occurrences - before.occurrences != step.suppressed + is_event:
                yield f"{before.occurrences} events, then {step.occurrences}, of which {step.suppressed} are suppressed"
            since = max(0.0, step.at - before.at)
            if step.seconds is None or abs(step.seconds - since) > 0.002:
                yield f"{step.seconds} s after the step before, which was {since:.3f} s ago"
        begins = step.reason in _BEGINS  # two lives that began at the same moment have one number
        if begins or begins_in_silence or step.life not in self._lives:
            if step.kind is not Kind.TRIGGERED and not begins_in_silence:
                yield "a life begins without a trigger"
            elif not (begins or begins_in_silence) and step.reason not in _BEGINS_WITHOUT_EVENT:
                yield f"a life begins by {step.reason}"
            if not is_new and not self._is_over:
                yield "the life before it has not ended"
            self._is_over = False
            self._lives.add(step.life)
        elif self._is_over and step.kind not in _IS_OVER_AFTER:
            yield "it was over"
        if step.kind is Kind.RESOLVED:
            self._is_over = True
        if step.kind in (Kind.RAISED, Kind.TOLD_AGAIN) and not self._is_told:
            yield "it was not told before"
        if step.kind in _TELLS:
            self._is_told = True


def histories(steps: Iterable[Step]) -> Mapping[tuple[str, str], History]:
    """The history of each alert, by provider and dedup key; the steps are in their order."""
    found: dict[tuple[str, str], History] = {}
    for step in steps:
        found.setdefault((step.provider, step.dedup_key), History()).take(step)
    return found


def wrong_at_rest(found: Collection[History], alerts: Mapping[str, Alert]) -> Iterator[str]:
    """What is wrong with the histories of one provider once all is told; ``alerts`` are those that its state holds."""
    known = set()
    for history in found:
        yield from history.wrong
        last = history.steps[-1]
        known.add(last.dedup_key)
        alert = alerts.get(last.dedup_key)
        if alert is None:
            if last.kind not in (*_LAST, *_TELLS) or not any(step.kind in _LAST for step in history.steps):
                yield f"{last.dedup_key!r} is gone, and the last step is {last.kind}"
        else:
            step = last_step_of(alert)
            if (step.at, step.occurrences) != (last.at, last.occurrences) and alert.last_step is not None:
                yield f"{last.dedup_key!r}: the alert has another last step than its history"
            if alert.begun != last.life:
                yield f"{last.dedup_key!r}: the alert has another life than the last of its history"
    for dedup_key in alerts.keys() - known:
        yield f"{dedup_key!r} has no history"
