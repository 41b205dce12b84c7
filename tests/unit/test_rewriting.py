"""A state that is gone is written again, by a task that knows all of it."""

from types import SimpleNamespace
from typing import Any

import structlog

from consumer.tasks.partition.rewriting import Rewriting
from consumer.tasks.partition.state_log import StateLog
from state.alert import Alert, Status
from state.store import Store
from state.violation import Severity

ALERTS = 5


class Setting:
    """A task with some alerts, all of which are in its state."""

    def __init__(self) -> None:
        self.urged = self.counted = 0
        self.store = Store()
        for number in range(ALERTS):
            self.store.put(Alert(f"{number}", Status.OPEN, None, 1, 1.0, 1.0, 1.0, Severity.HIGH))
        self.checkpoint()
        metrics: Any = SimpleNamespace(state_written_again=self._count)
        self.rewriting = Rewriting(StateLog(0, 20), self.store, "state", self._urge, metrics, structlog.get_logger())

    def _urge(self) -> None:
        self.urged += 1

    def _count(self) -> None:
        self.counted += 1

    def write(self, at_most: int = ALERTS) -> None:
        """Write so much again as one checkpoint is to hold."""
        for _ in self.rewriting.write(lambda: self.store.changes < at_most):
            pass

    def checkpoint(self) -> int:
        """The records that a checkpoint holds now."""
        written = sum(change is not None for change in self.store.divide(self.store.cut()))
        self.store.committed()
        return written


def test_a_state_that_is_there_is_not_written_again() -> None:
    setting = Setting()
    setting.rewriting.wrote(20, 1)
    setting.write()
    assert (setting.checkpoint(), setting.rewriting.is_at_work, setting.urged) == (0, False, 0)


def test_one_that_is_gone_is_written_again_in_as_many_checkpoints_as_it_takes() -> None:
    setting = Setting()
    setting.rewriting.is_gone(0, 1)
    assert (setting.urged, setting.counted, setting.rewriting.has_written_nothing) == (1, 1, True)
    written = []
    while setting.rewriting.is_at_work:
        setting.write(at_most=2)
        written.append(setting.checkpoint())
        setting.rewriting.wrote(setting.rewriting.state_log.last + 2, written[-1] + 1)
        assert not setting.rewriting.has_written_nothing
    assert sum(written) == ALERTS
    assert max(written) == 2


def test_a_topic_that_takes_records_before_those_that_were_written_is_another() -> None:
    setting = Setting()
    setting.rewriting.wrote(3, 2)
    assert setting.rewriting.is_at_work
    setting.write()
    assert setting.checkpoint() == ALERTS


def test_one_that_is_gone_once_more_while_it_is_written_again_is_written_from_the_beginning() -> None:
    setting = Setting()
    setting.rewriting.is_gone(0, 1)
    writing = setting.rewriting.write(lambda: True)
    for _ in range(ALERTS - 1):
        next(writing)
    setting.checkpoint()
    setting.rewriting.is_gone(0, 1)
    for _ in writing:  # what was begun comes to its end
        pass
    assert setting.rewriting.is_at_work, "and the new one is not done with it"
    setting.write()
    assert setting.checkpoint() == ALERTS
