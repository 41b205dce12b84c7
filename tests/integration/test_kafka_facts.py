"""The facts of Apache Kafka and aiokafka that design section 6 leans on. No code of the service is in here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from tests.support.broker import Broker
from tests.support.kafka import (
    COMPACTED,
    Rebalances,
    admin,
    committed_records,
    create_topic,
    group_offsets,
    member,
    produce,
    running,
    transactional,
    unique,
)
from tests.support.member import CHECKPOINT_KEY, STATE_KEYS, member_process
from tests.support.proxy import KafkaProxy
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("these are facts of Apache Kafka, and the embedded broker is another program")

SESSION_MS = 2000


async def owns(consumer: AIOKafkaConsumer, *partitions: TopicPartition) -> None:
    """Wait until the member is assigned exactly these partitions."""
    await wait_until(lambda: consumer.assignment() == set(partitions), f"owns {partitions}", timeout=20)


async def values(broker: Broker, topic: str, partition: int = 0) -> list[bytes | None]:
    """What a committed reader sees."""
    return [record.value for record in await committed_records(broker.bootstrap_servers, topic, partition)]


@contextlib.asynccontextmanager
async def reader(
    broker: Broker, partition: TopicPartition, isolation_level: str = "read_committed"
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group at the beginning of a partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers, isolation_level=isolation_level, enable_auto_commit=False
    )
    async with running(consumer):
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        yield consumer


# Ownership: who is refused


async def test_a_late_initialiser_fences_the_owner_and_the_group_refuses_it_all_the_same(
    broker: Broker, proxy: KafkaProxy
) -> None:
    topic, group, transactional_id = await create_topic(broker.bootstrap_servers), unique("g"), unique("x")
    tp = TopicPartition(topic, 0)
    loser = member(broker.kafka.proxied_servers, topic, group, session_ms=SESSION_MS)
    owner = member(broker.bootstrap_servers, topic, group, session_ms=SESSION_MS)
    async with running(loser):
        await owns(loser, tp)
        proxy.stall_coordination()
        async with running(owner), contextlib.AsyncExitStack() as producers:
            await owns(owner, tp)
            first = await producers.enter_async_context(
                running(transactional(broker.bootstrap_servers, transactional_id))
            )
            async with first.transaction():
                await first.send_and_wait(topic, b"owner", partition=0)

            late = await producers.enter_async_context(
                running(transactional(broker.bootstrap_servers, transactional_id))
            )
            async with late.transaction():  # the fence belongs to the last initialiser
                await late.send_and_wait(topic, b"late", partition=0)
            with pytest.raises(ProducerFenced):
                async with first.transaction():
                    await first.send_and_wait(topic, b"fenced", partition=0)

            proof = asyncio.create_task(loser.commit({tp: OffsetAndMetadata(0, "loser")}))
            proxy.restore()
            with pytest.raises(CommitFailedError):
                await proof

            again = await producers.enter_async_context(
                running(transactional(broker.bootstrap_servers, transactional_id))
            )
            await owner.commit({tp: OffsetAndMetadata(1, "owner")})
            async with again.transaction():
                await again.send_and_wait(topic, b"owner again", partition=0)
            with pytest.raises(ProducerFenced):
                async with late.transaction():
                    await late.send_and_wait(topic, b"fenced", partition=0)
    assert await values(broker, topic) == [b"owner", b"late", b"owner again"]
    assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(1, "owner")


async def test_an_empty_transaction_on_a_fenced_producer_commits_without_an_error(broker: Broker) -> None:
    topic, transactional_id = await create_topic(broker.bootstrap_servers), unique("x")
    async with (
        running(transactional(broker.bootstrap_servers, transactional_id)) as fenced,
        running(transactional(broker.bootstrap_servers, transactional_id)),
    ):
        async with fenced.transaction():
            pass
        with pytest.raises(ProducerFenced):
            async with fenced.transaction():
                await fenced.send_and_wait(topic, b"a record", partition=0)


async def test_a_process_stopped_past_its_session_is_refused_at_its_first_commit_after_waking(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    async with member_process(broker.bootstrap_servers, topic=topic, group=group, session_ms=SESSION_MS) as sleeper:
        assert await sleeper.ask("commit 1") == "ok"
        sleeper.freeze()
        async with running(member(broker.bootstrap_servers, topic, group, session_ms=SESSION_MS)) as owner:
            await owns(owner, tp)
            await owner.commit({tp: OffsetAndMetadata(2, "owner")})
            sleeper.say("commit 3")
            sleeper.wake()
            assert await sleeper.answer() == "CommitFailedError"
            assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(2, "owner")


async def test_a_member_cut_off_from_its_coordinator_goes_on_fetching_but_no_commit_of_it_is_accepted(
    broker: Broker, proxy: KafkaProxy
) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    async with running(member(broker.kafka.proxied_servers, topic, group, session_ms=SESSION_MS)) as cut_off:
        await owns(cut_off, tp)
        await cut_off.commit({tp: OffsetAndMetadata(0, "while it was a member")})
        assert await cut_off.position(tp) == 0  # the look-up of the start goes through the coordinator
        proxy.stall_coordination()
        async with running(member(broker.bootstrap_servers, topic, group, session_ms=SESSION_MS)) as owner:
            await owns(owner, tp)
            await owner.commit({tp: OffsetAndMetadata(1, "owner")})
            await produce(broker.bootstrap_servers, topic, [b"for the owner only"])
            assert (await asyncio.wait_for(cut_off.getone(), 5)).value == b"for the owner only"

            proof = asyncio.create_task(cut_off.commit({tp: OffsetAndMetadata(7, "cut off")}))
            await asyncio.wait([proof], timeout=0.3)
            assert not proof.done()
            proxy.restore()
            with pytest.raises(CommitFailedError):
                await proof
            assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(1, "owner")


async def test_commits_keep_a_member_in_its_group_without_heartbeats(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    listener = Rebalances()
    quiet = member(
        broker.bootstrap_servers, topic, group, listener=listener, session_ms=SESSION_MS, heartbeat_ms=60_000
    )
    async with running(quiet):
        await owns(quiet, tp)
        end = time.monotonic() + 2 * SESSION_MS / 1000
        while time.monotonic() < end:
            await quiet.commit({tp: OffsetAndMetadata(0, "")})
            await asyncio.sleep(SESSION_MS / 1000 / 4)
        assert len(listener.assigned) == 1


async def test_the_transactional_offset_commit_of_a_stranger_is_accepted_into_a_live_group(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    async with (
        running(member(broker.bootstrap_servers, topic, group)) as owner,
        running(transactional(broker.bootstrap_servers, unique("x"))) as stranger,
    ):
        await owns(owner, tp)
        async with stranger.transaction():
            await stranger.send_offsets_to_transaction({tp: OffsetAndMetadata(9, "stranger")}, group)

        async def accepted() -> bool:  # visible a moment after the commit
            offsets = await group_offsets(broker.bootstrap_servers, group)
            return bool(offsets.get(tp) == OffsetAndMetadata(9, "stranger"))

        await wait_until(accepted, "the stranger's offset is the group's")


# Transactions: what is written, and what can be read


@pytest.fixture
async def small_topic(broker: Broker) -> str:
    """A topic that refuses records of more than some 1000 bytes."""
    return await create_topic(broker.bootstrap_servers, configs={"max.message.bytes": "1000"})


async def test_a_refused_record_that_is_awaited_raises_and_nothing_of_its_transaction_remains(
    broker: Broker, small_topic: str
) -> None:
    group, tp = unique("g"), TopicPartition(small_topic, 0)
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as producer:
        with pytest.raises(MessageSizeTooLargeError):  # noqa: PT012 - the sum of it is the point
            async with producer.transaction():
                sent = [await producer.send(small_topic, value, partition=0) for value in (b"beside it", b"." * 5000)]
                await producer.send_offsets_to_transaction({tp: 5}, group)
                await asyncio.gather(*sent)
    assert await values(broker, small_topic) == []
    assert tp not in await group_offsets(broker.bootstrap_servers, group)


async def test_the_trap_after_a_refused_record_a_producer_is_of_no_use_to_that_partition_until_it_is_built_again(
    broker: Broker, small_topic: str
) -> None:
    transactional_id = unique("x")
    async with running(transactional(broker.bootstrap_servers, transactional_id)) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            async with producer.transaction():
                await producer.send_and_wait(small_topic, b"." * 5000, partition=0)
        for _ in range(2):  # aiokafka has counted the sequence number of the refused batch
            with pytest.raises(OutOfOrderSequenceNumber):
                async with producer.transaction():
                    await producer.send_and_wait(small_topic, b"the next", partition=0)
    async with running(transactional(broker.bootstrap_servers, transactional_id)) as producer, producer.transaction():
        await producer.send_and_wait(small_topic, b"after it was built again", partition=0)
    assert await values(broker, small_topic) == [b"after it was built again"]


async def test_the_trap_a_refused_record_that_nobody_awaits_is_lost_and_the_offset_moves(
    broker: Broker, small_topic: str
) -> None:
    group, tp = unique("g"), TopicPartition(small_topic, 0)
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as producer:
        async with producer.transaction():
            lost = await producer.send(small_topic, b"." * 5000, partition=0)
            await producer.send_offsets_to_transaction({tp: 5}, group)
        assert isinstance(lost.exception(), MessageSizeTooLargeError)

    async def moved() -> bool:
        return tp in await group_offsets(broker.bootstrap_servers, group)

    await wait_until(moved, "the offset has moved")
    assert await values(broker, small_topic) == []


async def test_a_restore_reaches_the_end_over_commit_markers_and_aborted_tails(broker: Broker) -> None:
    topic = await create_topic(broker.bootstrap_servers, configs=COMPACTED)
    tp = TopicPartition(topic, 0)
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"kept", key=b"k", partition=0)
        async with reader(broker, tp) as consumer:
            await restored(consumer, tp)
            assert await consumer.position(tp) == 2  # behind one record and its marker
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", key=b"k", partition=0)
        await producer.abort_transaction()
        async with reader(broker, tp) as consumer:
            ends = await consumer.end_offsets([tp])
            assert await restored(consumer, tp) == [b"kept"]
            assert await consumer.position(tp) == ends[tp] == 4


async def restored(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[bytes | None]:
    """Read to the end that the partition has now, as a restore does."""
    end = (await consumer.end_offsets([partition]))[partition]
    found: list[bytes | None] = []
    async with asyncio.timeout(10):
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=20)).values():
                found += [record.value for record in records]
    return found


async def test_the_end_read_after_an_initialise_is_never_stale_and_hides_what_was_left_open(broker: Broker) -> None:
    topic, transactional_id = await create_topic(broker.bootstrap_servers, configs=COMPACTED), unique("x")
    tp = TopicPartition(topic, 0)
    committed: list[bytes | None] = []
    async with reader(broker, tp) as consumer, contextlib.AsyncExitStack() as producers:
        for round_number in range(24):
            producer = await producers.enter_async_context(
                running(transactional(broker.bootstrap_servers, transactional_id))
            )
            await consumer.seek_to_beginning(tp)
            assert await restored(consumer, tp) == committed, f"round {round_number}"
            value = str(round_number).encode()
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value, key=value, partition=0)
            if round_number % 3:
                await producer.commit_transaction()
                committed.append(value)


async def test_the_end_offset_of_a_committed_reader_is_the_last_stable_one(broker: Broker) -> None:
    topic = await create_topic(broker.bootstrap_servers)
    tp = TopicPartition(topic, 0)
    await produce(broker.bootstrap_servers, topic, [b"0", b"1"])
    async with running(transactional(broker.bootstrap_servers, unique("x"))) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"open", partition=0)
        async with reader(broker, tp) as stable, reader(broker, tp, "read_uncommitted") as all_of_it:
            assert await stable.end_offsets([tp]) == {tp: 2}
            assert await all_of_it.end_offsets([tp]) == {tp: 3}
        await producer.abort_transaction()


async def test_state_and_position_appear_together_or_not_at_all_after_a_kill_in_mid_transaction(
    broker: Broker,
) -> None:
    topic, transactional_id = await create_topic(broker.bootstrap_servers, configs=COMPACTED), unique("x")
    servers = broker.bootstrap_servers

    async def restored_state() -> dict[bytes | None, bytes | None]:
        async with running(transactional(servers, transactional_id)):
            return {record.key: record.value for record in await committed_records(servers, topic, 0)}

    async with member_process(servers, state_topic=topic, transactional_id=transactional_id) as process:
        assert await process.ask("transact 1") == "ok"
        assert await process.ask("begin 2") == "ok"
        await process.kill()
    assert await restored_state() == dict.fromkeys((*STATE_KEYS, CHECKPOINT_KEY), b"1")

    async with member_process(servers, state_topic=topic, transactional_id=transactional_id) as process:
        process.say("spin")
        acknowledged = b""
        for _ in range(20):
            acknowledged = (await process.answer()).split()[1].encode()
        await process.kill()
    state = await restored_state()
    assert len(set(state.values())) == 1, state
    assert int(state[CHECKPOINT_KEY] or b"") >= int(acknowledged)


# Static members


async def test_a_static_member_that_restarts_within_its_session_moves_no_partition(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers, partitions=2), unique("g")
    steady = Rebalances()

    def static(name: str, listener: Rebalances | None = None) -> AIOKafkaConsumer:
        return member(
            broker.bootstrap_servers, topic, group, listener=listener, group_instance_id=name, session_ms=6000
        )

    async with running(static("a", steady)) as a:
        async with running(static("b")) as b:
            shared = [{TopicPartition(topic, 0)}, {TopicPartition(topic, 1)}]
            await wait_until(lambda: steady.assigned[-1:] and steady.assigned[-1] in shared, "one partition each")
            await wait_until(b.assignment, "one partition each")
            assert a.assignment() == steady.assigned[-1]
            share, before = b.assignment(), (len(steady.assigned), len(steady.revoked))
        async with running(static("b")) as b:
            await owns(b, *share)
            assert (len(steady.assigned), len(steady.revoked)) == before


async def test_a_static_member_that_was_replaced_is_refused(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)

    def static() -> AIOKafkaConsumer:
        return member(broker.bootstrap_servers, topic, group, group_instance_id="pod-0", heartbeat_ms=5000)

    async with running(static()) as replaced:
        await owns(replaced, tp)
        await replaced.commit({tp: OffsetAndMetadata(1, "first")})
        async with running(static()) as owner:
            await owns(owner, tp)
            await owner.commit({tp: OffsetAndMetadata(2, "second")})
            with pytest.raises(CommitFailedError):
                await replaced.commit({tp: OffsetAndMetadata(3, "replaced")})
            assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(2, "second")


# The listener


async def test_pausing_everything_first_thing_in_the_assigned_callback_leaks_no_record(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers, partitions=3), unique("g")
    for partition in range(3):
        await produce(broker.bootstrap_servers, topic, [b"."] * 300, partition=partition)
    listener = Rebalances()
    consumer = member(broker.bootstrap_servers, topic, group, listener=listener, max_poll_records=20)
    got, leaked, pausing = 0, 0, False

    async def pause_first(assigned: set[TopicPartition]) -> None:
        nonlocal pausing
        consumer.pause(*assigned)
        pausing = True
        await asyncio.sleep(0.3)  # as long as a restore may take; the fetcher runs meanwhile

    async def poll() -> None:
        nonlocal got, leaked
        while True:
            paused_before = pausing
            for records in (await consumer.getmany(timeout_ms=20)).values():
                got += len(records)
                leaked += len(records) if paused_before and pausing else 0

    def times(number: int) -> bool:
        return len(listener.assigned) >= number

    def more_than(number: int) -> bool:
        return got > number

    listener.when_assigned = pause_first
    async with running(consumer):
        polling = asyncio.create_task(poll())
        for rounds in range(1, 6, 2):
            await wait_until(partial(times, rounds), "assigned")
            assert consumer.paused() == consumer.assignment()
            pausing, before = False, got
            consumer.resume(*consumer.assignment())
            await wait_until(partial(more_than, before), "records flow")
            async with running(member(broker.bootstrap_servers, topic, group)):
                await wait_until(partial(times, rounds + 1), "rebalanced")
        polling.cancel()
        await asyncio.wait([polling])
    assert leaked == 0
    assert listener.errors == []


async def test_the_consumers_commit_with_metadata_works_in_the_assigned_and_the_revoked_callback(
    broker: Broker,
) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    listener = Rebalances()
    consumer = member(broker.bootstrap_servers, topic, group, listener=listener)
    seen: list[OffsetAndMetadata] = []

    async def commit(offset: int, metadata: str) -> None:
        await consumer.commit({tp: OffsetAndMetadata(offset, metadata)})
        seen.append((await group_offsets(broker.bootstrap_servers, group))[tp])

    async def in_assigned(assigned: set[TopicPartition]) -> None:
        consumer.pause(*assigned)
        if tp in assigned:
            await commit(1, "assigned")

    async def in_revoked(revoked: set[TopicPartition]) -> None:
        if tp in revoked:
            await commit(3, "revoked")

    listener.when_assigned, listener.when_revoked = in_assigned, in_revoked
    async with running(consumer):
        await owns(consumer, tp)
        await wait_until(lambda: listener.assigned, "assigned")
        await commit(2, "paused, outside")
        async with running(member(broker.bootstrap_servers, topic, group)):
            await wait_until(lambda: len(listener.assigned) > 1, "rebalanced")
    assert listener.errors == []
    assert seen[:3] == [
        OffsetAndMetadata(1, "assigned"),
        OffsetAndMetadata(2, "paused, outside"),
        OffsetAndMetadata(3, "revoked"),
    ]


async def test_a_commit_made_while_the_group_prepares_a_rebalance_is_accepted(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    listener = Rebalances()
    async with running(
        member(broker.bootstrap_servers, topic, group, listener=listener, heartbeat_ms=1500)
    ) as consumer:
        await owns(consumer, tp)
        other = member(broker.bootstrap_servers, topic, group)
        joining = asyncio.create_task(other.start())

        async def preparing() -> bool:
            return await group_state(broker, group) == "PreparingRebalance"

        await wait_until(preparing, "the group prepares a rebalance")
        assert not [revoked for revoked in listener.revoked if revoked], "the member knows already"
        await consumer.commit({tp: OffsetAndMetadata(4, "preparing")})  # and nothing tells it
        assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(4, "preparing")
        await joining
        await other.stop()


async def group_state(broker: Broker, group: str) -> str:
    """The broker's word for what a group is doing."""
    async with admin(broker.bootstrap_servers) as client:
        (response,) = await client.describe_consumer_groups([group])
    state: str = response.groups[0][2]
    return state


async def test_the_trap_an_evicted_members_commit_is_accepted_while_the_group_is_empty(
    broker: Broker, proxy: KafkaProxy
) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    listener = Rebalances()
    consumer = member(broker.kafka.proxied_servers, topic, group, listener=listener, session_ms=SESSION_MS)

    async def commit_at_last(revoked: set[TopicPartition]) -> None:
        if tp in revoked:
            await consumer.commit({tp: OffsetAndMetadata(5, "evicted")})

    async with running(consumer):
        await owns(consumer, tp)
        listener.when_revoked = commit_at_last
        proxy.stall_coordination()

        async def empty() -> bool:
            return await group_state(broker, group) == "Empty"

        await wait_until(empty, "the member is evicted")
        proxy.restore()
        await wait_until(lambda: len(listener.revoked) > 1, "it has noticed")
        listener.when_revoked = None
    # aiokafka has reset its generation to -1, which is how a consumer without a group commits
    assert listener.errors == []
    assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(5, "evicted")


async def test_pauses_are_forgotten_at_a_rebalance(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    await produce(broker.bootstrap_servers, topic, [b"."])
    listener = Rebalances()
    async with running(member(broker.bootstrap_servers, topic, group, listener=listener)) as consumer:
        await owns(consumer, tp)
        consumer.pause(tp)
        async with running(member(broker.bootstrap_servers, topic, group)):
            await wait_until(lambda: len(listener.assigned) > 1, "rebalanced")
        await owns(consumer, tp)
        assert consumer.paused() == set()
        assert (await asyncio.wait_for(consumer.getone(), 5)).value == b"."


async def test_a_seek_in_the_assigned_callback_wins_over_the_groups_offset(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    await produce(broker.bootstrap_servers, topic, [b"%d" % number for number in range(10)])
    async with running(member(broker.bootstrap_servers, topic, group)) as consumer:
        await owns(consumer, tp)
        await consumer.commit({tp: OffsetAndMetadata(3, "")})

    listener = Rebalances()
    consumer = member(broker.bootstrap_servers, topic, group, listener=listener)

    async def seek(assigned: Iterable[TopicPartition]) -> None:
        consumer.seek(tp, 7)

    listener.when_assigned = seek
    async with running(consumer):
        first = await asyncio.wait_for(consumer.getone(), 10)
        assert (first.offset, await consumer.position(tp)) == (7, 8)


async def test_stop_does_not_call_the_revocation_listener(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    listener = Rebalances()
    async with running(member(broker.bootstrap_servers, topic, group, listener=listener)) as consumer:
        await owns(consumer, TopicPartition(topic, 0))
        before = list(listener.revoked)
    assert listener.revoked == before


async def test_a_plain_number_commits_empty_metadata_and_consumer_committed_does_not_tell_any(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    tp = TopicPartition(topic, 0)
    async with running(member(broker.bootstrap_servers, topic, group)) as consumer:
        await owns(consumer, tp)
        await consumer.commit({tp: OffsetAndMetadata(4, "the mark")})
        assert await consumer.committed(tp) == 4
        assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(4, "the mark")
        await consumer.commit({tp: 5})
        assert (await group_offsets(broker.bootstrap_servers, group))[tp] == OffsetAndMetadata(5, "")


async def test_an_operators_reset_is_refused_to_a_live_group_and_writes_empty_metadata(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers, partitions=2), unique("g")
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    reset = ("--group", group, "--reset-offsets", "--topic", f"{topic}:0", "--to-offset", "0", "--execute")
    async with running(member(broker.bootstrap_servers, topic, group)) as consumer:
        await owns(consumer, first, second)
        await consumer.commit({tp: OffsetAndMetadata(0, "the mark") for tp in (first, second)})
        refusal = await asyncio.to_thread(broker.kafka.exec, "kafka-consumer-groups", *reset)
        assert "inactive" in refusal
    await asyncio.to_thread(broker.kafka.exec, "kafka-consumer-groups", *reset)
    assert await group_offsets(broker.bootstrap_servers, group) == {
        first: OffsetAndMetadata(0, ""),
        second: OffsetAndMetadata(0, "the mark"),
    }


async def test_a_position_that_the_broker_no_longer_has_is_an_error_without_a_reset_policy(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    await produce(broker.bootstrap_servers, topic, [b"."])
    consumer = member(broker.bootstrap_servers, topic, group, auto_offset_reset="none")
    async with running(consumer):
        await owns(consumer, TopicPartition(topic, 0))
        consumer.seek(TopicPartition(topic, 0), 100)
        with pytest.raises(KafkaError):
            await asyncio.wait_for(consumer.getone(), 10)


async def test_a_partition_that_is_not_assigned_cannot_be_committed_by_mistake(broker: Broker) -> None:
    topic, group = await create_topic(broker.bootstrap_servers), unique("g")
    async with running(member(broker.bootstrap_servers, topic, group)) as consumer:
        await owns(consumer, TopicPartition(topic, 0))
        with pytest.raises(IllegalStateError):
            await consumer.commit({TopicPartition(topic, 1): OffsetAndMetadata(0, "")})
