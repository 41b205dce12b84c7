"""What is the same for every kind of task: which checkpoints there are, and which there are not."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog
from aiokafka.errors import KafkaError

from consumer.clock import Clock
from consumer.owned import OwnedPartition
from consumer.progress import Progress
from consumer.source import MARK
from tests.support.simulated_kafka import Input, Kafka, Proofs
from tests.support.waiting import wait_until


class _Kind(OwnedPartition):
    """A task that has something to commit whenever it is asked, and is told by the test what comes of it."""

    def __init__(self) -> None:
        super().__init__(
            Input("events", MARK),  # type: ignore[arg-type]
            group_id="group",
            clients=Kafka("state"),  # type: ignore[arg-type]
            proofs=Proofs(),  # type: ignore[arg-type]
            restores=asyncio.Semaphore(),
            commit_interval=0.0,
            progress=Progress(),
            metrics=None,  # type: ignore[arg-type]
            clock=Clock.system(),
            log=structlog.get_logger(),
        )
        self.commits: list[asyncio.Future[None]] = []

    def _owns(self, producer: Any) -> None:
        pass

    async def _restore(self, committed: Any) -> None:
        pass

    def _restored(self) -> None:
        self._urgent.set()

    def _decide(self, records: Sequence[Any]) -> None:
        pass

    async def _commit(self) -> None:
        self._urgent.clear()
        self.commits.append(asyncio.get_running_loop().create_future())
        await self.commits[-1]

    async def _withdraw(self, grace: float) -> None:
        self._urgent.set()  # as a request does that is answered while the task closes

    def tick(self) -> None:
        pass


async def _committing(count: int, task: _Kind) -> None:
    await wait_until(lambda: len(task.commits) == count, f"{count} commits have begun")


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_while_it_drains_the_last_checkpoint_is_the_only_one() -> None:
    task = _Kind()
    running = asyncio.create_task(task.run())
    await _committing(1, task)
    draining = asyncio.create_task(task.drain(1.0))
    await _turns()
    assert len(task.commits) == 1  # the last one waits for the one that has begun
    task.commits[0].set_result(None)
    await _committing(2, task)
    task.commits[1].set_exception(KafkaError("gone"))
    await draining
    task._urgent.set()
    await _turns()
    assert len(task.commits) == 2
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize(
    "end", [lambda commit: commit.set_exception(KafkaError("gone")), lambda commit: commit.cancel()]
)
async def test_behind_a_checkpoint_that_failed_there_is_no_last_one(end: Callable[[Any], None]) -> None:
    task = _Kind()
    running = asyncio.create_task(task.run())
    await _committing(1, task)
    draining = asyncio.create_task(task.drain(1.0))
    await _turns()
    end(task.commits[0])
    await draining
    await asyncio.wait([running])
    assert len(task.commits) == 1
    assert not task.is_running
