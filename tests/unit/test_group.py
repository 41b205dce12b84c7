"""A member's loops, with a consumer and tasks that do what the test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupLoadInProgressError,
    IllegalStateError,
    KafkaError,
    RecordTooLargeError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata

from consumer.group import supervision
from consumer.group.member import GroupMember
from consumer.group.subscription import Subscription
from consumer.group.supervision import known
from consumer.input.first_start import FirstStart
from consumer.input.partition_input import PartitionInput
from consumer.input.progress import Progress
from consumer.kafka.instance_id import InstanceIdTaken
from consumer.kafka.unanswered_fetches import SILENT_SECONDS
from consumer.kafka.unreadable import RETRY_SECONDS, UnreadableRecords
from consumer.kafka.watermarks import Watermarks
from consumer.tasks.partition.ownership import NotOwner, Proofs
from consumer.tasks.partition.restore import StateRefused
from consumer.timing.clock import Clock
from consumer.timing.turns import Turns
from providers.retry import Backoff
from tests.support.waiting import wait_until

A, B = TopicPartition("events", 0), TopicPartition("events", 1)


class Consumer:
    """A consumer that is assigned what the test says."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[Mapping[TopicPartition, Sequence[Any]] | Exception] = asyncio.Queue()
        self.asked: list[set[TopicPartition]] = []
        self.positions = {A: 0, B: 0}
        self.refusal: Exception | None = None
        self.known = {0, 1}
        self.answered: dict[TopicPartition, int | None] = {A: None, B: None}
        self.leaders = {A: 1, B: 1}
        self._client: Any = SimpleNamespace(cluster=SimpleNamespace(leader_for_partition=lambda tp: self.leaders[tp]))

    def paused(self) -> set[TopicPartition]:
        return set()

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:
        return self.answered[partition]

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        self.asked.append(set(partitions))
        batches = await self.batches.get()
        if isinstance(batches, Exception):
            raise batches
        for partition, records in batches.items():
            self.positions[partition] += len(records)
        return batches

    async def position(self, partition: TopicPartition) -> int:
        return self.positions[partition]

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.refusal is not None:
            raise self.refusal

    def partitions_for_topic(self, topic: str) -> set[int]:
        return self.known

    def pause(self, *partitions: TopicPartition) -> None:
        pass

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset


async def _watermarks(
    consumer: Any, partitions: Sequence[TopicPartition]
) -> AsyncGenerator[Mapping[TopicPartition, Watermarks], None]:
    yield {partition: Watermarks(*[consumer.positions[partition]] * 2) for partition in partitions}


class Task:
    """A task; ``life`` is what it does, a gate what it waits for."""

    def __init__(self, partition: TopicPartition, life: Callable[["Task"], Awaitable[None]]) -> None:
        self.partition = partition
        self.is_running = self.is_refused = self.is_paused = False
        self.has_checkpointed = False
        self.state_trouble: str | None = None
        self.notice: str | None = None
        self.newest_anchor = None
        self.is_in_doubt = False
        self.contents = {"alerts": 2, "owed": 1}
        self.proved_with: list[OffsetAndMetadata] = []
        self.committed: OffsetAndMetadata | None = None
        self.position = self.due = 0
        self.deciding, self.draining, self.closing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for gate in (self.deciding, self.draining, self.closing):
            gate.set()
        self.progress = Progress()
        self._life = life

    async def run(self) -> None:
        try:
            await self._life(self)
        finally:
            self.is_running = False
            await self.closing.wait()

    async def decide(self, records: Sequence[Any]) -> None:
        await self.deciding.wait()
        self.position += len(records)

    async def drain(self, grace: float) -> None:
        await self.draining.wait()

    def advance(self, position: int) -> None:
        self.position = position

    def doubt(self) -> None:
        self.is_in_doubt = True

    def proved(self, committed: OffsetAndMetadata) -> None:
        self.proved_with.append(committed)

    def tick(self) -> Iterator[None]:
        for _ in range(self.due):
            self.due -= 1
            yield


async def _runs(task: Task) -> None:
    task.is_running, task.committed = True, OffsetAndMetadata(0, "")
    await asyncio.Event().wait()


async def _starts(task: Task) -> None:
    await asyncio.Event().wait()


async def _fails(task: Task) -> None:
    raise KafkaError("trouble")


class Setting:
    """A member that has been assigned both partitions; ``made`` are all tasks that it has made."""

    def __init__(self, lives: Mapping[TopicPartition, Callable[[Task], Awaitable[None]]]) -> None:
        self.consumer = Consumer()
        self.made: list[Task] = []

        def make(source: PartitionInput) -> Task:
            self.made.append(Task(source.partition, lives[source.partition]))
            return self.made[-1]

        self.now = 0.0
        clock = Clock(lambda: self.now, lambda: self.now)
        self.member: GroupMember[Any] = GroupMember(
            clients=None,  # type: ignore[arg-type]
            consumer=self.consumer,
            admin=None,
            subscription=Subscription(topic="events", group_id="group", checkpoints="state", start_from="latest"),
            instance_id=None,
            drain_seconds=1.0,
            proofs=Proofs(self.consumer, 15.0, clock),
            sender=None,
            backoff=Backoff(0.01, 0.01, 1.0, lambda: 1.0),
            make_task=make,
            metrics=SimpleNamespace(proof=lambda result: None, task_trouble=lambda: None),  # type: ignore[arg-type]
            clock=clock,
            log=structlog.get_logger(),
            topics=SimpleNamespace(ask=lambda: None),  # type: ignore[arg-type]
            turns=Turns(lambda: self.ticked, seconds=10.0),
            ask_watermarks=_watermarks,
        )

    @property
    def ticked(self) -> float:
        """What the tasks have done of what time has brought."""
        return -float(sum(task.due for task in self.made))

    def has_asked_more_than(self, times: int) -> bool:
        return len(self.consumer.asked) > times

    def of(self, partition: TopicPartition) -> list[Task]:
        return [task for task in self.made if task.partition == partition]


@asynccontextmanager
async def _assigned(
    lives: Mapping[TopicPartition, Callable[[Task], Awaitable[None]]],
) -> AsyncIterator[tuple[Setting, asyncio.TaskGroup]]:
    setting = Setting(lives)
    async with asyncio.TaskGroup() as tasks:
        setting.member._group = tasks
        await setting.member.on_partitions_assigned([A, B])
        running = [partition for partition, life in lives.items() if life is _runs]
        await wait_until(
            lambda: sum(task.is_running for task in setting.made) == len(running), "the tasks run", poll=0.001
        )
        yield setting, tasks
        for task in setting.made:
            task.draining.set()
            task.closing.set()
        await setting.member.on_partitions_revoked([A, B])


async def test_a_position_does_not_pass_what_was_fetched_and_is_not_decided() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        (first,), (second,) = setting.of(A), setting.of(B)
        first.deciding.clear()
        fetching = tasks.create_task(setting.member._fetching.run())
        setting.consumer.batches.put_nowait({A: [1, 2, 3], B: [1, 2]})
        await wait_until(lambda: setting.consumer.positions == {A: 3, B: 2}, "both are fetched", poll=0.001)
        await setting.member._ends.look()
        assert (first.position, second.position) == (0, 0)
        first.deciding.set()
        await wait_until(lambda: (first.position, second.position) == (3, 2), "both are decided", poll=0.001)
        setting.consumer.positions[B] = 5  # transaction markers
        await setting.member._ends.look()
        assert (first.position, second.position) == (3, 5)
        fetching.cancel()


async def test_what_is_released_is_not_built_again_while_the_others_drain() -> None:
    async with _assigned({A: _runs, B: _fails}) as (setting, _):
        (draining,) = setting.of(A)
        draining.draining.clear()
        releasing = asyncio.create_task(setting.member.on_partitions_revoked([A, B]))
        await asyncio.sleep(0)
        built = len(setting.of(B))
        await asyncio.sleep(0.05)  # several times its backoff
        assert len(setting.of(B)) == built
        draining.draining.set()
        await releasing
        assert not setting.member.tasks


async def test_a_lost_position_builds_nothing_of_a_partition_that_was_released_meanwhile() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, _):
        (lost,) = setting.of(B)
        lost.closing.clear()
        losing = asyncio.create_task(setting.member._position_lost({B: 7}))
        await wait_until(lambda: not lost.is_running, "its task is ended", poll=0.001)
        releasing = asyncio.create_task(setting.member.on_partitions_revoked([A, B]))
        await asyncio.sleep(0)
        lost.closing.set()
        await asyncio.gather(losing, releasing)
        assert len(setting.of(B)) == 1
        assert not setting.member._supervision.release().supervisors


async def test_a_member_that_has_partitions_for_itself_only_is_built_anew() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, _):
        setting.consumer.refusal = IllegalStateError("not assigned")
        with pytest.raises(NotOwner, match="not assigned"):
            await setting.member._prove()
        assert not setting.member.tasks


async def test_a_coordinator_that_does_not_give_the_offsets_is_no_group_without_any() -> None:
    answers: list[dict[TopicPartition, OffsetAndMetadata]] = [
        {},
        {A: OffsetAndMetadata(-1, "")},
        {A: OffsetAndMetadata(5, "m")},
    ]

    class Admin:
        async def list_consumer_group_offsets(self, group: str, partitions: object) -> Any:
            return answers.pop(0)

    first = FirstStart(Admin(), "group", "state")
    source = PartitionInput(None, Admin(), "group", A, "latest", first, Clock.system())
    with pytest.raises(GroupLoadInProgressError):
        await source.group_offset()
    assert await source.group_offset() is None
    assert await source.group_offset() == OffsetAndMetadata(5, "m")


async def test_of_another_leader_nothing_is_decided_before_its_log_was_checked() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, group):
        (first,), (second,) = setting.of(A), setting.of(B)
        consumer, member = setting.consumer, setting.member
        fetching = group.create_task(member._fetching.run())
        consumer.batches.put_nowait({A: [1], B: [1]})
        await wait_until(lambda: (first.position, second.position) == (1, 1), "both are decided", poll=0.001)
        consumer.leaders[A] = -1
        consumer.batches.put_nowait({A: [2], B: [2]})  # from before
        await wait_until(lambda: (first.position, second.position) == (2, 2), "both are decided", poll=0.001)
        consumer.leaders[A] = 2
        consumer.batches.put_nowait({A: [3], B: [3]})
        await wait_until(lambda: second.position == 3, "the other one goes on", poll=0.001)
        assert (first.position, first.is_in_doubt, second.is_in_doubt) == (2, True, False)
        assert member.troubles == {0: "whether it is still the same log is not known yet"}
        fetching.cancel()


async def test_a_notice_of_a_task_is_told_as_trouble() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, _):
        (first,) = setting.of(A)
        first.notice = "its state was found to be gone"
        assert setting.member.troubles == {0: "its state was found to be gone"}


async def test_tasks_hear_what_was_proved() -> None:
    async with _assigned({A: _runs, B: _starts}) as (setting, group):
        (first,), (second,) = setting.of(A), setting.of(B)
        proving = group.create_task(setting.member._prove())
        await wait_until(lambda: first.proved_with, "it hears of it", poll=0.001)
        assert first.proved_with == [OffsetAndMetadata(0, "")]
        assert second.proved_with == [], "what it has not restored is not proved"
        proving.cancel()


def _corrupt(partition: TopicPartition, offset: int) -> UnreadableRecords:
    return UnreadableRecords(partition, offset, "Invalid CRC")


async def test_one_partition_that_cannot_be_read_stands_still_and_the_others_go_on() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        (first,), (second,) = setting.of(A), setting.of(B)
        consumer, member = setting.consumer, setting.member
        fetching = tasks.create_task(member._fetching.run())
        consumer.batches.put_nowait({A: [1, 2], B: [1]})
        await wait_until(lambda: (first.position, second.position) == (2, 1), "both are decided", poll=0.001)
        # By then the client has passed over records of both that it gave to nobody.
        consumer.positions = {A: 3, B: 7}
        consumer.batches.put_nowait(_corrupt(A, 2))
        await wait_until(lambda: len(consumer.asked) == 3, "the other is fetched", poll=0.001)
        assert consumer.positions == {A: 2, B: 1}
        assert consumer.asked == [set(), set(), {B}]
        assert member.troubles == {0: "the records from offset 2 on cannot be read: Invalid CRC"}
        assert first.is_running  # what it owes is told
        setting.now += RETRY_SECONDS
        consumer.batches.put_nowait({B: [2]})
        await wait_until(lambda: len(consumer.asked) == 4, "both are fetched again", poll=0.001)
        assert consumer.asked[-1] == set()
        consumer.batches.put_nowait(_corrupt(A, 2))
        await wait_until(lambda: len(consumer.asked) == 5, "the other is fetched", poll=0.001)
        assert consumer.asked[-1] == {B}
        setting.now += RETRY_SECONDS
        consumer.batches.put_nowait({B: [3]})
        consumer.batches.put_nowait({A: [3]})  # another leader has it
        await wait_until(lambda: (first.position, second.position) == (3, 3), "both are decided", poll=0.001)
        setting.now += 1.0
        consumer.batches.put_nowait({})
        await wait_until(lambda: member.troubles == {}, "it is well again", poll=0.001)
        assert len(setting.made) == 2
        fetching.cancel()


@pytest.mark.slow
async def test_a_member_that_can_read_nothing_of_all_it_has_stays_and_tries_again() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        consumer = setting.consumer
        fetching = tasks.create_task(setting.member._fetching.run())
        consumer.batches.put_nowait(_corrupt(A, 0))
        consumer.batches.put_nowait(RecordTooLargeError("… %s=%s … %s", B, 0, 1024))
        await wait_until(lambda: set(setting.member.troubles) == {0, 1}, "both are in trouble", poll=0.001)
        asked = len(consumer.asked)
        await asyncio.sleep(0)
        assert len(consumer.asked) == asked
        setting.now += RETRY_SECONDS
        await wait_until(lambda: len(consumer.asked) > asked, "both are fetched again", poll=0.01)
        assert consumer.asked[-1] == set()
        fetching.cancel()


async def test_what_could_not_be_read_is_the_next_owners_when_it_is_revoked() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        fetching = tasks.create_task(setting.member._fetching.run())
        setting.consumer.batches.put_nowait(_corrupt(A, 0))
        await wait_until(lambda: setting.member.troubles, "it is in trouble", poll=0.001)
        await setting.member.on_partitions_revoked([A, B])
        assert setting.member.troubles == {}
        await setting.member.on_partitions_assigned([B])
        assert setting.member._fetching._readable() == ()
        fetching.cancel()


async def test_only_what_has_not_failed_yet_is_being_restored() -> None:
    async with _assigned({A: _runs, B: _fails}) as (setting, _):
        await wait_until(lambda: setting.member.troubles, "one has failed", poll=0.001)
        assert setting.member.troubles == {1: "its task failed: KafkaError('trouble')"}
        assert not setting.member.is_restoring
    setting = Setting({A: _starts, B: _starts})
    async with asyncio.TaskGroup() as tasks:
        setting.member._group = tasks
        await setting.member.on_partitions_assigned([A, B])
        assert setting.member.is_restoring
        await setting.member.on_partitions_revoked([A, B])
        assert not setting.member.is_restoring


class Shared:
    """An instance id that another process has; ``ends``: it is this one that is to end."""

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.checked: list[bool] = []

    async def check(self, *, is_lost: bool) -> None:
        self.checked.append(is_lost)
        if self.ends:
            raise InstanceIdTaken("kafka.group_instance_id: …")


@pytest.mark.parametrize("ends", [True, False])
async def test_a_member_asks_who_has_its_id_whenever_it_is_taken_back_but_not_before_it_joins(ends: bool) -> None:
    shared: Any = Shared(ends=ends)
    setting = Setting({A: _runs, B: _runs})
    member = setting.member
    member._instance_id = shared
    member._fault = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        member._group = tasks
        await member.on_partitions_revoked([])
        assert shared.checked == [], "who had it before may be dead"
        await member.on_partitions_assigned([A, B])
        await wait_until(lambda: sum(task.is_running for task in setting.made) == 2, "they run", poll=0.001)
        setting.consumer.refusal = CommitFailedError("replaced")
        setting.consumer.refusal.__cause__ = UnknownMemberIdError()
        await member.on_partitions_revoked([A, B])
        assert shared.checked == [True]
        assert member._fault.done() is ends
        assert not ends or isinstance(member._fault.exception(), InstanceIdTaken)
        setting.consumer.refusal = None
        await member.on_partitions_assigned([A])
        assert (member.assigned is None) is ends, "who is to end takes no partition any more"
        await member.on_partitions_revoked([A])
        assert shared.checked == [True] if ends else [True, False]


@pytest.mark.slow
async def test_a_partition_that_the_client_does_not_know_yet_is_asked_for_first() -> None:
    """Asked for its offsets, the client would wait for 40 s."""
    setting = Setting({A: _runs})
    looks = []

    class Client:
        async def force_metadata_update(self) -> bool:
            looks.append(1)
            if len(looks) == 2:
                setting.consumer.known.add(7)
            return True

    setting.consumer._client = Client()
    consumer: Any = setting.consumer
    await known(consumer, TopicPartition("events", 1))
    assert looks == []
    await known(consumer, TopicPartition("events", 7))
    assert len(looks) == 2
    with pytest.raises(UnknownTopicOrPartitionError, match="topic events has no partition 9 yet"):
        await known(consumer, TopicPartition("events", 9))


async def _refuses(task: Task) -> None:
    raise StateRefused("topic state, partition 1: the checkpoint at offset 9 cannot be read")


async def test_a_state_that_a_task_cannot_go_on_from_is_told_once_and_looked_at_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "REFUSED_STATE_SECONDS", 0.001)
    async with _assigned({A: _runs, B: _refuses}) as (setting, _):
        await wait_until(lambda: len(setting.of(B)) >= 5, "it is looked at again and again", poll=0.001)
        assert setting.member.troubles == {
            1: "it stands still: topic state, partition 1: the checkpoint at offset 9 cannot be read"
        }
        assert setting.of(A)[0].is_running
        setting.of(A)[0].state_trouble = "1 record cannot be read"
        assert setting.member.troubles[0] == "1 record cannot be read"
    assert capsys.readouterr().out.count("task_stands_still") == 1


async def test_a_partition_whose_fetches_are_not_answered_is_named() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        fetching = tasks.create_task(setting.member._fetching.run())
        for second in range(1 + int(SILENT_SECONDS)):
            setting.now += 1.0
            setting.consumer.answered[B] = second
            asked = len(setting.consumer.asked)
            setting.consumer.batches.put_nowait({})
            await wait_until(partial(setting.has_asked_more_than, asked), "it turns", poll=0.0)
        assert setting.member.troubles == {0: "no fetch has been answered for 60 s"}
        fetching.cancel()


async def test_what_time_brings_to_all_tasks_is_done_in_slices() -> None:
    async with _assigned({A: _runs, B: _runs}) as (setting, tasks):
        for task in setting.made:
            task.due = 48
        ticking = tasks.create_task(setting.member._tick())
        longest = 0.0
        while setting.ticked:
            before = setting.ticked
            await asyncio.sleep(0)
            longest = max(longest, setting.ticked - before)
        assert 0 < longest <= 11
        ticking.cancel()


async def test_that_all_is_restored_is_said_once_and_again_after_a_trouble() -> None:
    with structlog.testing.capture_logs() as lines:
        async with _assigned({A: _runs, B: _runs}) as (setting, _):
            (first, _) = setting.made
            first.is_running = False
            setting.now = 2.0
            setting.member._supervision.tell_restored(setting.member.assigned)
            assert "partitions_restored" not in [line["event"] for line in lines], "one is not"
            first.is_running = True
            setting.now = 3.0
            for _ in range(3):
                setting.member._supervision.tell_restored(setting.member.assigned)
            said = [line for line in lines if line["event"] == "partitions_restored"]
            assert said == [
                {"event": "partitions_restored", "log_level": "info", "partitions": 2, "seconds": 3.0}
                | {"alerts": 4, "owed": 2}
            ]
            setting.member._supervision._restoring_since = 3.0  # one of them was in trouble
            setting.member._supervision.tell_restored(setting.member.assigned)
            assert [line["event"] for line in lines].count("partitions_restored") == 2
