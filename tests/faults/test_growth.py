"""The topics grow under live problems, which move to other partitions (rows 6, 7 and 17)."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions
from aiokafka.errors import UnknownTopicOrPartitionError

from consumer.kafka.partitioning import Partitioner
from providers.sandbox import Sandbox
from state.alert import Alert
from state.records import CHECKPOINT_KEY, decode_alert
from tests.faults.accounts import keys, sessions
from tests.support.broker import Broker
from tests.support.events import encode, event
from tests.support.kafka import admin, committed_records, running
from tests.support.process import Service, merged, service_process
from tests.support.service import World, make_world
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("partitions are added")

QUIESCENT_SECONDS = 30.0
"""Quiet counts after so many seconds in which a service was caught up."""


class Producers:
    """Agents whose sessions are denied something again and again.

    ``count`` is how many partitions they know of, and ``partitioners`` how they choose one: session after session the
    next of these.
    """

    def __init__(
        self, world: World, names: Sequence[str], every: float, partitioners: Sequence[Partitioner], count: int
    ) -> None:
        self.count = count
        self._world = world
        self._partitioner = {name: partitioners[number % len(partitioners)] for number, name in enumerate(names)}
        self._every = every
        self.sent: Counter[str] = Counter()

    def home(self, name: str, count: int) -> int:
        """The partition of a session among so many."""
        return self._partitioner[name].partition_of(name.encode(), count)

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """All sessions are live for the length of the block."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._flow(stop))
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(60):
                await task

    async def _flow(self, stop: asyncio.Event) -> None:
        servers = self._world.bootstrap_servers
        producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", metadata_max_age_ms=500)
        async with running(producer):
            while not stop.is_set():
                for name in self._partitioner:
                    await self._send(producer, name)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._every)

    async def _send(self, producer: AIOKafkaProducer, name: str) -> None:
        value = encode(event(session=name, guard="secret_leak"))
        for _ in range(100):
            try:
                sending = await producer.send(
                    self._world.events, value, key=name.encode(), partition=self.home(name, self.count)
                )
                await sending
            except (AssertionError, UnknownTopicOrPartitionError):  # its client does not know the partition yet
                await asyncio.sleep(0.1)
            else:
                self.sent[name] += 1
                return
        raise AssertionError(f"{name}: partition {self.home(name, self.count)} takes nothing")


async def _grow(world: World, partitions: int) -> None:
    async with admin(world.bootstrap_servers) as client:
        for topic in (world.state(), world.events):
            await client.create_partitions({topic: NewPartitions(partitions)})


async def _homes(world: World) -> Mapping[str, list[int]]:
    """In which partitions of the state each alert is."""
    found: dict[str, list[int]] = {}
    async with admin(world.bootstrap_servers) as client:
        (described,) = await client.describe_topics([world.state()])
    for partition in sorted(one["partition"] for one in described["partitions"]):
        alerts: dict[bytes, Alert | None] = {
            record.key: None if record.value is None else decode_alert(record.key, record.value)
            for record in await committed_records(world.bootstrap_servers, world.state(), partition)
            if record.key != CHECKPOINT_KEY
        }
        for key, alert in alerts.items():
            if alert is not None:
                found.setdefault(key.decode(), []).append(partition)
    return found


async def _at_home(world: World, wanted: Mapping[str, int], timeout: float) -> None:
    async def is_so() -> bool:
        homes = await _homes(world)
        return all(homes.get(key) == [home] for key, home in wanted.items())

    await wait_until(is_so, "every alert is at its new home, and there alone", timeout=timeout, poll=1.0)


async def _resolved_once(sandbox: Sandbox, dedup_keys: Sequence[str], timeout: float) -> None:
    await sandbox.wait_for(lambda: not sandbox.open_incidents(), timeout)
    assert Counter(one.dedup_key for one in sandbox.incidents()) == Counter(dedup_keys)
    assert sandbox.extra_incidents() == []


def _none_resolved(sandbox: Sandbox) -> None:
    ended = [one.dedup_key for one in sandbox.incidents() if not one.open]
    assert ended == [], "live problems were resolved"


def _quiet(world: World, minutes: float) -> dict[str, object]:
    alerting = {"pagerduty": {"auto_resolve": {"enabled": True, "after_minutes": minutes}}}
    return merged(world.document, exporters={"alerting": alerting})


async def _told(sandbox: Sandbox, names: Sequence[str], timeout: float = 60.0) -> None:
    await sandbox.wait_for(lambda: set(keys(names)) <= {one.dedup_key for one in sandbox.incidents()}, timeout)


@pytest.mark.parametrize("while_running", [True, False], ids=["running", "restarted"])
async def test_a_live_session_that_moves_is_not_resolved_while_it_goes_on_and_once_afterwards(
    broker: Broker, sandbox: Sandbox, tmp_path: Path, while_running: bool
) -> None:
    """From 2 to 4, a denial every 2 s, quiet after 12 s."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    names = sessions("live", 6)
    producers = Producers(world, names, 2.0, [Partitioner.MURMUR2], 2)
    assert any(producers.home(name, 2) != producers.home(name, 4) for name in names)
    document = _quiet(world, 0.2)
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(service_process(document, tmp_path, "before"))
        await service.restored(2)
        async with producers.live():
            await _told(sandbox, names)
            if not while_running:
                await service.end()
            await _grow(world, 4)
            producers.count = 4
            if not while_running:
                service = await stack.enter_async_context(service_process(document, tmp_path, "after"))
            await service.restored(4, timeout=90)
            await service.said("partition_moved", 4, timeout=60)
            await _at_home(world, {f"secret_leak:{name}": producers.home(name, 4) for name in names}, 60)
            await asyncio.sleep(QUIESCENT_SECONDS + 30)
            _none_resolved(sandbox)
        await _resolved_once(sandbox, keys(names), QUIESCENT_SECONDS + 60)
        assert await service.metric_sum("task_troubles_total") == 0


async def test_live_sessions_survive_a_growth_from_two_to_seven_and_a_restart(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """10 live sessions, a violation every 3 s, quiet after 30 s."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=2)
    names = sessions("live", 10)
    producers = Producers(world, names, 3.0, [Partitioner.MURMUR2], 2)
    document = _quiet(world, 0.5)
    async with producers.live():
        async with service_process(document, tmp_path, "before") as before:
            await before.restored(2)
            await _told(sandbox, names)
        await _grow(world, 7)
        producers.count = 7
        async with service_process(document, tmp_path, "after") as after:
            await after.restored(7)
            await _at_home(world, {f"secret_leak:{name}": producers.home(name, 7) for name in names}, 60)
            await asyncio.sleep(QUIESCENT_SECONDS + 45)
            _none_resolved(sandbox)
            assert sandbox.extra_incidents() == []


async def test_a_growth_from_six_to_twenty_four_under_five_hundred_sessions_and_kills(
    broker: Broker, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Producers with both partitioners, some of which learn late of the growth, and members that are killed."""
    world = await make_world(broker.bootstrap_servers, sandbox.url, partitions=6)
    names = sessions("live", 500)
    early = Producers(world, names[:400], 5.0, [Partitioner.MURMUR2], 6)
    late = Producers(world, names[400:], 5.0, [Partitioner.CRC32], 6)
    document = _quiet(world, 0.5)
    async with contextlib.AsyncExitStack() as stack:

        async def started(name: str) -> Service:
            return await stack.enter_async_context(service_process(document, tmp_path, name))

        one, two = await started("one"), await started("two")
        await asyncio.gather(one.restored(3, timeout=90), two.restored(3, timeout=90))
        async with early.live(), late.live():
            await _told(sandbox, names, 120)
            await _grow(world, 24)
            early.count = 24
            await asyncio.sleep(5)
            await one.kill()
            three = await started("three")
            await asyncio.sleep(20)
            late.count = 24
            await two.kill()
            four = await started("four")
            await asyncio.gather(three.restored(12, timeout=150), four.restored(12, timeout=150))

            # Where a session is at home depends on what is believed of the partitioner; but it is in one place only.
            async def are_together() -> bool:
                homes = await _homes(world)
                return set(homes) == set(keys(names)) and all(len(each) == 1 for each in homes.values())

            await wait_until(are_together, "every alert has one home", timeout=90, poll=2.0)
            await asyncio.sleep(QUIESCENT_SECONDS + 45)
            _none_resolved(sandbox)
            assert sandbox.extra_incidents() == []
        await _resolved_once(sandbox, keys(names), 240)
