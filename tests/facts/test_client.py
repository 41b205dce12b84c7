"""Facts about aiokafka 0.14 that need no broker. No behaviour of the service is in here; where one of these fails after
an update of the library, the design is to be looked at again (see README.md beside this file)."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.commit import OffsetCommitRequest_v2, OffsetCommitRequest_v3
from aiokafka.protocol.transaction import TxnOffsetCommitRequest_v0
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import BrokerMetadata

GOOD, CORRUPT = TopicPartition("events", 0), TopicPartition("events", 1)


def fields_of(request: Any) -> set[str]:
    return set(request.SCHEMA.names)


def default_of(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def test_only_the_consumers_own_commit_carries_generation_and_member() -> None:
    membership = {"consumer_group_generation_id", "consumer_id"}
    assert fields_of(OffsetCommitRequest_v2) >= membership
    assert fields_of(OffsetCommitRequest_v3) >= membership
    assert fields_of(TxnOffsetCommitRequest_v0) == {
        "transactional_id",
        "group_id",
        "producer_id",
        "producer_epoch",
        "topics",
    }


async def test_a_client_whose_brokers_are_gone_asks_nobody_else() -> None:
    client = AIOKafkaClient(bootstrap_servers="moved.example:9092")
    client.cluster._brokers = {number: BrokerMetadata(number, f"old-{number}", 9092, None) for number in (1, 2, 3)}
    asked: list[object] = []

    async def nobody(node: object, **options: object) -> None:
        asked.append(node)

    client._get_conn = nobody
    for _ in range(2):
        assert not await client._metadata_update(client.cluster, None)

    assert sorted(map(str, asked)) == ["1", "1", "2", "2", "3", "3"]
    await client.close()


class State:
    """The position of an assigned partition, as the fetcher keeps it."""

    paused = False

    def __init__(self) -> None:
        self.position = 0

    def consumed_to(self, position: int) -> None:
        self.position = position


def batch(count: int) -> bytearray:
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, -1, 1 << 20)
    for offset in range(count):
        builder.append(offset, 1000, b"key", b"value", [])
    return bytearray(builder.build())


async def test_one_corrupt_batch_raises_out_of_the_fetch_of_all_and_what_was_taken_of_others_is_passed_over() -> None:
    corrupt = batch(2)
    corrupt[-1] ^= 1
    states = {GOOD: State(), CORRUPT: State()}
    assignment = SimpleNamespace(active=True, state_value=states.__getitem__)

    def fetched(partition: TopicPartition, data: bytes) -> FetchResult:
        records = PartitionRecords(partition, MemoryRecords(data), [], 0, None, None, True, 1)
        return FetchResult(partition, assignment=assignment, partition_records=records, backoff=0)

    fetcher: Any = object.__new__(Fetcher)  # only what this method looks at
    fetcher._subscriptions = SimpleNamespace(reassignment_in_progress=False)
    fetcher._wait_consume_future = None
    fetcher._records = {GOOD: fetched(GOOD, bytes(batch(3))), CORRUPT: fetched(CORRUPT, bytes(corrupt))}

    with pytest.raises(CorruptRecordException):
        await fetcher.fetched_records(())

    assert (states[GOOD].position, states[CORRUPT].position) == (3, 0)


async def test_a_rebalance_may_take_no_longer_than_a_session_unless_it_is_said() -> None:
    consumer = AIOKafkaConsumer(session_timeout_ms=15_000)
    assert consumer._rebalance_timeout_ms == 15_000
    assert AIOKafkaConsumer(session_timeout_ms=15_000, rebalance_timeout_ms=60_000)._rebalance_timeout_ms == 60_000


def test_by_default_aborted_records_are_shown_and_a_lost_position_is_reset() -> None:
    assert default_of(AIOKafkaConsumer, "isolation_level") == "read_uncommitted"
    assert default_of(AIOKafkaConsumer, "auto_offset_reset") == "latest"


def test_all_partitions_are_revoked_at_a_rebalance_for_no_assignor_is_cooperative() -> None:
    known = {RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor}
    found = {each for each in AbstractPartitionAssignor.__subclasses__() if each.__module__.startswith("aiokafka.")}
    assert found == known
    assert {each.name for each in known} == {"range", "roundrobin", "sticky"}
    assert default_of(AIOKafkaConsumer, "partition_assignment_strategy") == (RoundRobinPartitionAssignor,)


def test_a_topic_is_created_with_an_explicit_replication_factor() -> None:
    assert default_of(NewTopic, "replication_factor") is inspect.Parameter.empty
