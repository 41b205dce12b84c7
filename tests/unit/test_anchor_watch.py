"""When the logs of running tasks are checked, and what comes of that."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from structlog.testing import CapturingLogger

from consumer.group.anchor_watch import AGAIN_SECONDS, CHECK_SECONDS, AnchorWatch, Watched
from consumer.input.beginning import Fit
from consumer.timing.clock import Clock
from state.anchors import Anchor
from tests.support.loop import VirtualLoop

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


class Task:
    """A task that has decided up to an anchor."""

    def __init__(self, digest: bytes = b"a" * 8) -> None:
        self.newest_anchor: Anchor | None = Anchor(4, 0, digest)
        self.trusted = 0

    def trust(self) -> None:
        self.trusted += 1


class Setting:
    """A watch over two partitions on a loop whose time the test moves."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.leaders: dict[TopicPartition, int | None] = {A: 1, B: 1}
        self.tasks = {A: Task(), B: Task(b"b" * 8)}
        self.fits: dict[Anchor, Fit] = {}
        self.looked: list[tuple[TopicPartition, list[int]]] = []
        self.changed: list[tuple[TopicPartition, int]] = []
        self.failure: dict[TopicPartition, Exception] = {}
        self.is_down = False
        self.logger = CapturingLogger()
        self.watch = AnchorWatch(
            None,  # type: ignore[arg-type]
            leader=lambda partition: self.leaders[partition],
            running=lambda: self.tasks,
            changed=self._changed,
            clock=Clock(self.loop.time, self.loop.time),
            log=self.logger,
            looking=self._looking,
        )
        self.running = self.loop.create_task(self.watch.run())
        self.loop.settle()

    async def _changed(self, partition: TopicPartition, task: Watched, missing: Anchor) -> None:
        assert task is self.tasks[partition]
        self.changed.append((partition, missing.offset))
        self.tasks[partition] = Task()

    @asynccontextmanager
    async def _looking(self, clients: object, partitions: Sequence[TopicPartition]) -> AsyncIterator[list[Any]]:
        if self.is_down:
            raise KafkaConnectionError("there is no broker")
        yield [_Look(self, partition) for partition in partitions]

    def end(self) -> None:
        self.running.cancel()
        self.loop.settle()


class _Look:
    def __init__(self, setting: Setting, partition: TopicPartition) -> None:
        self._setting, self._partition = setting, partition

    async def fits(self, anchors: Sequence[Anchor]) -> list[Fit]:
        setting = self._setting
        if (failure := setting.failure.get(self._partition)) is not None:
            raise failure
        setting.looked.append((self._partition, [anchor.offset for anchor in anchors]))
        return [setting.fits.get(anchor, Fit.FITS) for anchor in anchors]


def _all_checked(setting: Setting) -> Mapping[TopicPartition, list[int]]:
    looked, setting.looked = dict(setting.looked), []
    return looked


def test_once_a_minute_all_are_checked_together() -> None:
    setting = Setting()
    setting.loop.advance(CHECK_SECONDS - 2)
    assert setting.looked == []
    setting.loop.advance(4)
    assert _all_checked(setting) == {A: [4], B: [4]}
    setting.loop.advance(CHECK_SECONDS - 4)
    assert setting.looked == []
    setting.loop.advance(4)
    assert _all_checked(setting).keys() == {A, B}
    assert setting.changed == []
    setting.end()


def test_of_another_leader_nothing_is_trusted_before_it_was_checked() -> None:
    setting = Setting()
    assert setting.watch.is_trusted(A)
    setting.leaders[A] = 2
    assert not setting.watch.is_trusted(A)
    assert setting.watch.is_trusted(B)
    setting.loop.settle()  # at once
    assert _all_checked(setting) == {A: [4]}
    assert (setting.tasks[A].trusted, setting.tasks[B].trusted) == (1, 0)
    assert setting.watch.is_trusted(A)
    setting.end()


@pytest.mark.parametrize("gone", [None, -1])
def test_a_leader_that_comes_back_is_another_one(gone: int | None) -> None:
    """A topic that is created anew can have the same one."""
    setting = Setting()
    setting.leaders[A] = gone
    assert setting.watch.is_trusted(A), "what it gives is from before"
    setting.loop.advance(2)
    assert setting.looked == []
    setting.leaders[A] = 1
    assert not setting.watch.is_trusted(A)
    setting.loop.settle()
    assert _all_checked(setting) == {A: [4]}
    setting.end()


@pytest.mark.parametrize("fit", [Fit.OTHER, Fit.ABSENT])
def test_a_task_whose_newest_record_is_not_there_is_told(fit: Fit) -> None:
    setting = Setting()
    anchor = setting.tasks[A].newest_anchor
    assert anchor is not None
    setting.tasks[B].newest_anchor = Anchor(9, 0, b"b" * 8)
    setting.fits[anchor] = fit
    setting.leaders = {A: 2, B: 2}
    setting.loop.advance(2)
    assert setting.changed == [(A, 4)]
    assert setting.tasks[B].trusted == 1
    setting.end()


@pytest.mark.parametrize("fit", [Fit.REMOVED, Fit.UNREADABLE])
def test_what_is_removed_or_cannot_be_read_says_nothing(fit: Fit) -> None:
    setting = Setting()
    anchor = setting.tasks[A].newest_anchor
    assert anchor is not None
    setting.fits[anchor] = fit
    setting.leaders[A] = 2
    setting.loop.advance(2)
    assert setting.changed == []
    assert setting.tasks[A].trusted == 1
    setting.end()


def test_a_log_that_was_replaced_and_decided_since_is_found_by_the_record_before() -> None:
    setting = Setting()
    before = setting.tasks[A].newest_anchor
    assert before is not None
    setting.loop.advance(CHECK_SECONDS + 2)  # it was there
    setting.tasks[A].newest_anchor = Anchor(7, 0, b"n" * 8)
    setting.fits[before] = Fit.OTHER
    setting.loop.advance(CHECK_SECONDS + 2)
    assert setting.changed == [(A, 4)]
    setting.end()


def test_an_older_record_that_is_only_absent_can_have_been_compacted() -> None:
    setting = Setting()
    before = setting.tasks[A].newest_anchor
    assert before is not None
    setting.tasks[A].newest_anchor = Anchor(7, 0, b"n" * 8)
    setting.fits[before] = Fit.ABSENT
    setting.loop.advance(CHECK_SECONDS + 2)
    assert setting.changed == []
    setting.end()


@pytest.mark.parametrize("failure", [KafkaError("trouble"), TimeoutError()])
def test_one_that_does_not_answer_holds_up_no_other_and_is_asked_again(failure: Exception) -> None:
    setting = Setting()
    setting.failure[A] = failure
    setting.leaders = {A: 2, B: 2}
    setting.loop.advance(1)
    assert _all_checked(setting) == {B: [4]}
    assert not setting.watch.is_trusted(A)
    del setting.failure[A]
    setting.loop.advance(AGAIN_SECONDS + 2)
    assert A in _all_checked(setting)
    assert setting.watch.is_trusted(A)
    setting.end()


def test_without_a_broker_it_is_tried_again() -> None:
    setting = Setting()
    setting.is_down = True
    setting.leaders[A] = 2
    setting.loop.advance(5)
    assert [call.args[0] for call in setting.logger.calls][:1] == ["input_unchecked"]
    setting.is_down = False
    setting.loop.advance(AGAIN_SECONDS + 2)
    assert setting.watch.is_trusted(A)
    setting.end()


def test_a_task_that_was_built_again_has_looked_itself() -> None:
    setting = Setting()
    setting.leaders[A] = 2
    setting.tasks[A] = Task()
    assert setting.watch.is_trusted(A)
    setting.end()


def test_a_task_that_has_decided_nothing_has_nothing_to_lose() -> None:
    setting = Setting()
    setting.tasks[A].newest_anchor = None
    setting.tasks[A] = task = Task()
    task.newest_anchor = None
    assert setting.watch.is_trusted(A)
    setting.leaders[A] = 2
    setting.loop.advance(2)
    assert setting.looked == []
    assert task.trusted == 1
    setting.end()
