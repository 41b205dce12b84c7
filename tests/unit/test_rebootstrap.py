"""How a client renews its metadata: from the brokers that it knows, else from the bootstrap addresses."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import BrokerMetadata

from consumer.kafka.rebootstrap import (
    BOOTSTRAP_SECONDS,
    CONNECT_SECONDS,
    INTERVAL_SECONDS,
    KNOWN_BROKERS_SECONDS,
    Rebootstrap,
)
from tests.support.loop import VirtualLoop

TOPICS = {"events"}
OLD, NEW = BrokerMetadata(1, "old", 9092, None), BrokerMetadata(1, "new", 9092, None)


class Connection:
    """A connection to this broker."""

    def __init__(self, broker: BrokerMetadata) -> None:
        self.host, self.port = broker.host, broker.port
        self.is_closed = False

    def close(self, reason: object) -> None:
        self.is_closed = True


class Client:
    """A client whose brokers, all together, do what the test says: True, False, or nothing (None)."""

    def __init__(self, answer: bool | None, *, broker: BrokerMetadata = OLD, bootstraps: bool | None = True) -> None:
        self.answer, self.broker, self.bootstraps = answer, broker, bootstraps
        self.cluster = ClusterMetadata()
        self.cluster._brokers = {1: OLD}
        self._conns: dict[tuple[object, int], Connection] = {(1, 0): Connection(OLD), (1, 1): Connection(NEW)}
        self.asked: list[object] = []
        self.closed = self.forced = 0

    async def _metadata_update(self, cluster: ClusterMetadata, topics: object) -> bool:
        self.asked.append(topics)
        if self.answer is None:
            await asyncio.Event().wait()
        if self.answer:
            cluster._brokers = {1: self.broker}
        return bool(self.answer)

    async def _get_conn(self, node: int, *, group: int = 0) -> Connection | None:
        if self.answer is None:
            await asyncio.Event().wait()
        return self._conns.get((node, group))

    def force_metadata_update(self) -> None:
        self.forced += 1

    async def bootstrap(self) -> None:
        if self.bootstraps is None:
            await asyncio.Event().wait()
        if not self.bootstraps:
            raise KafkaConnectionError("Unable to bootstrap")

    async def close(self) -> None:
        self.closed += 1


class Setting:
    """A client, and those that are made to ask the bootstrap addresses."""

    def __init__(self, known: bool | None, fresh: Client) -> None:
        self.loop = VirtualLoop()
        self.client: Any = Client(known)
        self.known = self.client.asked
        self.fresh = fresh
        self.made = 0
        Rebootstrap.of(self.client, self._make, self.loop.time)

    def _make(self) -> Any:
        self.made += 1
        return self.fresh

    def update(self, seconds: float, cluster: Any = None) -> bool:
        cluster = cluster or self.client.cluster
        updated: bool = self.loop.complete(self.client._metadata_update(cluster, TOPICS), seconds)
        return updated


def test_as_long_as_a_known_broker_answers_nobody_else_is_asked() -> None:
    setting = Setting(True, Client(True))
    assert setting.update(0)
    assert (setting.known, setting.made) == ([TOPICS], 0)


def test_brokers_that_have_moved_are_found_and_the_old_connections_left() -> None:
    setting = Setting(False, Client(True, broker=NEW))
    assert setting.update(0)
    assert setting.fresh.asked == [TOPICS]  # the same question: the client's topics do not vanish for a moment
    assert setting.client.cluster.broker_metadata(1) == NEW
    assert [one.is_closed for one in setting.client._conns.values()] == [True, False]
    assert setting.fresh.closed == 1


def test_brokers_that_accept_and_say_nothing_are_not_waited_for_for_ever() -> None:
    setting = Setting(None, Client(True, broker=NEW))
    assert setting.update(KNOWN_BROKERS_SECONDS)
    assert setting.client.cluster.broker_metadata(1) == NEW


def test_in_an_outage_the_bootstrap_addresses_are_asked_now_and_then() -> None:
    for fresh in (Client(True, bootstraps=False), Client(False)):
        setting = Setting(False, fresh)
        asked = []
        for _ in range(100):  # the client asks for metadata every 0.1 s
            assert not setting.update(0)
            asked.append(setting.made)
            setting.loop.advance(0.1)
        assert asked[-1] == 10 / INTERVAL_SECONDS
        assert setting.fresh.closed == setting.made
        assert setting.client.cluster.broker_metadata(1) == OLD
        assert not any(one.is_closed for one in setting.client._conns.values())
        setting.client.answer = True  # the outage is over
        assert setting.update(0)


def test_bootstrap_addresses_that_hang_are_given_up_and_nothing_is_left() -> None:
    for fresh in (Client(True, bootstraps=None), Client(None)):
        setting = Setting(False, fresh)
        assert not setting.update(BOOTSTRAP_SECONDS)
        assert setting.fresh.closed == 1


def test_a_client_that_is_closed_meanwhile_leaves_nothing() -> None:
    setting = Setting(False, Client(None))
    task = setting.loop.create_task(setting.client._metadata_update(setting.client.cluster, TOPICS))
    setting.loop.settle()
    task.cancel()
    setting.loop.settle()
    assert task.cancelled()
    assert setting.fresh.closed == 1


def test_metadata_for_somebody_else_moves_no_connection() -> None:
    setting = Setting(False, Client(True, broker=NEW))
    other: Any = SimpleNamespace()
    assert setting.update(0, other)
    assert not any(one.is_closed for one in setting.client._conns.values())


def test_a_connection_that_is_never_set_up_holds_nobody_up() -> None:
    setting = Setting(None, Client(True))
    assert setting.loop.complete(setting.client._get_conn(1, group=1), CONNECT_SECONDS) is None
    assert setting.client.forced == 1
    setting = Setting(True, Client(True))
    connection = setting.client._conns[1, 1]
    assert setting.loop.complete(setting.client._get_conn(1, group=1), 0) is connection
    assert setting.client.forced == 0
