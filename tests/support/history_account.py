"""Whether the history of each alert is complete and in order (design section 21), judged by the steps alone.

Every event is in one step: in that which it has caused, or among the suppressed of the next. A life begins by a
trigger, or by a silence, and ends once. What is told, acknowledged or dead-lettered was triggered before. A key that
was handed over to another task has steps of both: each task's are in order, and the new home goes on from what was
handed over.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from consumer.history.step import Reason, Step, StepKind
from state.alert import Alert, LastStep, Status, last_step_of

_BEGINS = (Reason.NEW, Reason.REOPENED)
_BEGINS_WITHOUT_EVENT = (Reason.CLOSED_AT_PROVIDER, Reason.SILENCE_ENDED)
_TELLS = (StepKind.TOLD, StepKind.RAISED, StepKind.TOLD_AGAIN)
_OF_PROVIDER = (StepKind.REASSIGNED, StepKind.ANNOTATED, StepKind.PRIORITY_CHANGED)
_IS_OVER_AFTER = (
    *_TELLS,
    *_OF_PROVIDER,
    StepKind.DEAD_LETTERED,
    StepKind.GIVEN_UP,
    StepKind.ORPHANED,
    StepKind.HANDED_OVER,
)
"""What can still be said of a life that is over: what it owed is told first, or becomes a dead letter."""


@dataclass(slots=True)
class _Told:
    """What the steps say of an alert so far."""

    last: LastStep
    lives: frozenset[float | None]
    is_over: bool = False
    is_told: bool = False
    is_buried: bool = False
    """Its last step is a dead letter: it may be gone, or go on."""
    is_silent: bool = False
    """Its last step says that it is silenced."""

    @property
    def may_be_gone(self) -> bool:
        return self.is_over or self.is_buried

    def joined(self, others: Sequence["_Told"]) -> "_Told":
        """This one after it has become one with others."""
        every = [self, *others]
        return _Told(
            LastStep(max(one.last.at for one in every), sum(one.last.occurrences for one in every)),
            frozenset().union(*(one.lives for one in every)),
            all(one.is_over for one in every),
            any(one.is_told for one in every),
            all(one.is_buried for one in every),
        )


@dataclass(slots=True)
class History:
    """The steps of one dedup key at one provider, in their order, and what is wrong with them."""

    steps: list[Step] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _tasks: dict[int, _Told] = field(default_factory=dict)
    """What each task says of its alert. One that has left by its last step may still be here."""
    _handed: list[_Told] = field(default_factory=list)
    """What was handed over, and in no later step yet."""

    def take(self, step: Step) -> None:
        """The next step."""
        for wrong in self._take(step):
            self.wrong.append(f"{step.dedup_key!r}, step {len(self.steps)} ({step.kind}): {wrong}")
        self.steps.append(step)

    def at_rest(self, alert: Alert | None) -> Iterator[str]:
        """What is wrong once all is told; ``alert`` is the one that the state holds, None if there is none."""
        left = [*self._handed, *self._tasks.values()]
        if alert is None:
            if not all(one.may_be_gone for one in left):
                yield f"it is gone, and the last step is {self.steps[-1].kind}"
            return
        # One that is over is held until its end is told, or what it still owes.
        is_held = alert.status is Status.RESOLVING
        live = [one for one in left if is_held or not one.is_over]
        about = live[0].joined(live[1:]) if live else None
        if about is None or alert.begun not in about.lives:
            yield "the alert has another life than the last of its history"
        if alert.last_step is not None and (about is None or last_step_of(alert) != about.last):
            yield "the alert has another last step than its history"

    def _take(self, step: Step) -> Iterator[str]:
        is_event = step.kind is StepKind.TRIGGERED and step.reason not in _BEGINS_WITHOUT_EVENT
        known = self._tasks.pop(step.partition, None)
        is_silence, is_new = step.kind is StepKind.SILENCED, step.is_first
        there = [one for one in (known, *self._handed) if one is not None]
        begins_in_silence = is_silence and (is_new or not self._goes_on_in_silence(there, step))
        if is_new:
            if known is not None and not known.may_be_gone:
                yield "it is new, but the one before has not ended"
            if step.occurrences != 1 or step.seconds is not None:
                yield "it is new, but something was before it"
            before = _Told(LastStep(step.at, 0), frozenset())
        elif begins_in_silence:  # what has been silenced since the life before was over
            if not 0 <= step.suppressed <= step.occurrences:
                yield f"of {step.occurrences} events {step.suppressed} are suppressed"
            if ended := [one for one in there if one.is_over]:
                there = ended  # and what was silenced in another partition, behind the resolve
            before = there[0].joined(there[1:]) if there else _Told(LastStep(step.at, 0), frozenset(), is_over=True)
            self._handed = []
        else:
            found, wrong = self._before(known, step, is_event or is_silence)
            is_other = found is not None and step.life not in found.lives
            if (wrong or is_other) and known is not None and known.is_silent and not known.is_over:
                # It is behind the resolve of what was handed over, which goes on.
                alone, unfit = self._before(None, step, is_event)
                if alone is not None and alone.is_over and not unfit:
                    found, wrong = alone, unfit
            if found is None or wrong:
                yield wrong or "the first step is no trigger"
            before = found or _Told(LastStep(step.at, step.occurrences), frozenset([step.life]))
        begins = step.reason in _BEGINS  # two lives that began at the same moment have one number
        is_over = before.is_over
        if begins or begins_in_silence or step.life not in before.lives:
            if step.kind is not StepKind.TRIGGERED and not begins_in_silence:
                yield "a life begins without a trigger"
            elif not (begins or begins_in_silence) and step.reason not in _BEGINS_WITHOUT_EVENT:
                yield f"a life begins by {step.reason}"
            if not is_new and not is_over:
                yield "the life before it has not ended"
            is_over = False
        elif is_over and step.kind not in _IS_OVER_AFTER:
            yield "it was over"
        if step.kind in (StepKind.RAISED, StepKind.TOLD_AGAIN) and not before.is_told:
            yield "it was not told before"
        after = _Told(
            LastStep(step.at, step.occurrences),
            before.lives | {step.life},
            is_over or step.kind is StepKind.RESOLVED,
            before.is_told or step.kind in _TELLS,
            step.kind in (StepKind.DEAD_LETTERED, StepKind.GIVEN_UP),
            is_silence,
        )
        match step.kind:
            case StepKind.HANDED_OVER:
                self._handed.append(after)
            case StepKind.FORGOTTEN | StepKind.ORPHANED:
                pass
            case _:
                self._tasks[step.partition] = after

    def _goes_on_in_silence(self, there: Sequence[_Told], step: Step) -> bool:
        """Whether a step that says that an alert is silenced is of a life that is there. One that was over, of which
        something is silenced since, can have the number of an earlier one: of the same moment, or of what was silenced
        in another partition, and is behind the resolve now."""
        if not any(step.life in one.lives for one in there):
            return False
        known = next((one for one in there if step.life in one.lives), None)
        is_counted = known is not None and not known.is_over and not _unfit(known, step, is_event=True)
        return is_counted or not any(one.is_over for one in there)

    def _before(self, known: _Told | None, step: Step, is_event: bool) -> tuple[_Told | None, str]:
        """What the step goes on from, and what of that is wrong: what its task has told last, or what was handed over
        to it, or one of both."""
        wrong, may_be_gone = "", known is None or known.may_be_gone
        for count in range(len(self._handed) + 1):
            for handed in combinations(self._handed, count):
                for own in (known, None) if handed and may_be_gone else (known,):
                    every = [one for one in (own, *handed) if one is not None]
                    if not every:
                        continue
                    before = every[0].joined(every[1:])
                    if not (unfit := _unfit(before, step, is_event)):
                        self._handed = [one for one in self._handed if not any(one is other for other in handed)]
                        return before, ""
                    wrong = wrong or unfit
        return known, wrong


def _unfit(before: _Told, step: Step, is_event: bool) -> str:
    """Why the step does not go on from there; empty if it does."""
    if step.occurrences - before.last.occurrences != step.suppressed + is_event:
        return f"{before.last.occurrences} events, then {step.occurrences}, of which {step.suppressed} are suppressed"
    since = max(0.0, step.at - before.last.at)
    if step.seconds is None or abs(step.seconds - since) > 0.002:
        return f"{step.seconds} s after the step before, which was {since:.3f} s ago"
    return ""


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
        dedup_key = history.steps[-1].dedup_key
        known.add(dedup_key)
        for wrong in history.at_rest(alerts.get(dedup_key)):
            yield f"{dedup_key!r}: {wrong}"
    for dedup_key in alerts.keys() - known:
        yield f"{dedup_key!r} has no history"
