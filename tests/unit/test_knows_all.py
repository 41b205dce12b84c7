"""Feedback about a key that a task does not have waits until it knows all of its alerts, but not for ever."""

from types import SimpleNamespace
from typing import Any

from consumer.tasks.alerting.outbox import LONGEST_WAIT_SECONDS
from consumer.tasks.partition.effects import TaskEffects
from state.alert import Alert, Status
from state.violation import Severity


class Ignorant:
    """A task that has not decided all that an earlier owner had."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.decided = False
        self.moving = SimpleNamespace(awaits_since=None)
        self._context = SimpleNamespace(clock=SimpleNamespace(monotonic=lambda: self.now))
        self._ignorant_since: float | None = None

    def has_decided_what_was_inherited(self) -> bool:
        return self.decided

    def knows_all(self) -> bool:
        task: Any = self
        return TaskEffects.knows_all(task)


def test_it_waits_until_what_was_inherited_is_decided() -> None:
    task = Ignorant()
    assert not task.knows_all()
    task.decided = True
    assert task.knows_all()


def test_an_end_that_cannot_be_reached_is_not_waited_for() -> None:
    task = Ignorant()
    assert not task.knows_all()
    task.now += LONGEST_WAIT_SECONDS
    assert not task.knows_all()
    task.now += 1.0
    assert task.knows_all()


def test_another_home_is_waited_for_as_long_and_then_anew() -> None:
    task = Ignorant()
    task.decided, task.moving.awaits_since = True, task.now
    assert not task.knows_all()
    task.now += LONGEST_WAIT_SECONDS + 1
    assert task.knows_all()
    task.decided, task.moving.awaits_since = False, None
    assert not task.knows_all()


def test_what_is_handed_over_is_told_to_delivery_and_then_to_what_was_heard_of_it() -> None:
    heard: list[str] = []
    task: Any = SimpleNamespace(
        urge=lambda: None,
        outbox=SimpleNamespace(taken_over=lambda alert: heard.append("outbox")),
        inbox=SimpleNamespace(taken_over=heard.append),
    )
    alert = Alert("a", Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH, route="default")
    TaskEffects.taken_over(task, alert, has_ended=False)
    assert heard == ["outbox", "a"]
