"""The account of the history finds what it is there for, from made-up data, without a broker."""

import pytest
from msgspec.structs import replace

from consumer.history.step import Step
from state.alert import Alert, LastStep
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
