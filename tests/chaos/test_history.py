"""The account of the history finds what it is there for, from made-up data, without a broker."""

import pytest
from msgspec.structs import replace

from consumer.history.step import Step, StepKind
from state.alert import Alert, LastStep, Status
from state.joined import joined
from tests.chaos.history import history_findings
from tests.chaos.reader import Reader
from tests.support.service import World
from tests.unit.test_history import VIOLATION, Task, after

KEY = "g:p-1"


def life() -> tuple[list[Step], list[Alert | None]]:
    """An alert that was triggered, told, told more, and is over; and what the state has said of it."""
    task = Task()
    opened = replace(after(None, 0), dedup_key=KEY)
    told = task.told(task.steps.triggered(opened, VIOLATION), 1)
    counted = replace(after(after(told, 2), 3), dedup_key=KEY)
    task.now = 4
    task.steps.resolved(counted, "quiet")
    return task.taken(), [opened, told, counted, None]


def kinds(steps: list[Step], written: list[Alert | None]) -> list[str]:
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.steps = steps
    reader.history["pagerduty"][KEY] = written
    return [finding.kind for finding in history_findings(reader, "p-")]


def test_what_is_right_is_not_found() -> None:
    steps, written = life()
    assert kinds(steps, written) == []


@pytest.mark.parametrize("number", range(3))
def test_a_step_that_is_missing_or_told_twice_or_too_early_is_found(number: int) -> None:
    steps, written = life()
    assert kinds(steps[:number] + steps[number + 1 :], written)
    assert kinds(steps[: number + 1] + steps[number:], written)
    if number:
        swapped = list(steps)
        swapped[number - 1], swapped[number] = swapped[number], swapped[number - 1]
        assert kinds(swapped, written)


def test_a_life_of_which_nothing_is_told_is_found() -> None:
    steps, written = life()
    assert kinds(steps, [*written, replace(after(None, 9), dedup_key=KEY), None]) == ["history"]
    assert kinds([], written) == ["history"]


def test_an_alert_that_knows_of_a_step_which_is_not_told_is_found() -> None:
    steps, _ = life()
    alert = replace(after(None, 0), dedup_key=KEY, last_step=LastStep(5.0, 3))
    assert kinds(steps[:2], [alert]) == ["history"]


def test_what_is_over_and_not_told_yet_is_at_rest_with_the_step_that_ended_it() -> None:
    steps, written = life()
    counted = written[2]
    assert isinstance(counted, Alert)
    last = steps[-1]
    over = replace(
        counted, status=Status.RESOLVING, is_at_provider=False, last_step=LastStep(last.at, last.occurrences)
    )
    assert kinds(steps, [*written[:3], over]) == []
    assert kinds(steps, [*written[:3], replace(over, last_step=LastStep(last.at, 9))]) == ["history"]
    assert kinds(steps, [*written[:3], replace(over, status=Status.OPEN)]), "it has ended, and lives on"


def moved() -> tuple[list[Step], list[Alert | None]]:
    """The same alert, handed over once it was told; its new home has had an event of it by then."""
    old, new = Task(), Task(number=3)
    first = replace(after(None, 0), dedup_key=KEY)
    told = replace(after(old.told(old.steps.triggered(first, VIOLATION), 1), 2), dedup_key=KEY)
    old.now = 4
    handed = old.steps.left(StepKind.HANDED_OVER, told)
    own = new.steps.triggered(replace(after(None, 3), dedup_key=KEY), VIOLATION)
    one = joined(own, handed)
    assert one is not None
    new.now = 9
    new.steps.resolved(one, "quiet")
    return [*old.taken(), *new.taken()], [first, handed, None, own, one, None]


def test_the_new_home_goes_on_from_what_was_handed_over() -> None:
    steps, written = moved()
    assert [step.kind for step in steps] == [
        StepKind.TRIGGERED, StepKind.TOLD, StepKind.HANDED_OVER, StepKind.TRIGGERED, StepKind.RESOLVED,
    ]  # fmt: skip
    assert kinds(steps, written) == []
    *before, last = steps
    assert kinds(before, written) == ["history"], "it is gone, and has not ended"
    assert kinds([*before, replace(last, suppressed=last.suppressed + 1)], written), "an event is in two steps"
    assert kinds([*before, replace(last, occurrences=last.occurrences - 3)], written), "what was handed over is lost"
    assert kinds([*steps, last], written), "it ends twice"
    assert kinds([steps[0], steps[1], *steps[3:]], written), "nobody has handed it over"
