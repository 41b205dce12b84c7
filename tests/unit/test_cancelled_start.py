"""A client leaves no connection behind: neither one whose start is cancelled, nor one that is closed too early."""

import asyncio
import gc
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.structs import BrokerMetadata

from consumer.config import Config
from consumer.kafka.clients import KafkaClients, close_producer, started, stop_consumer
from consumer.kafka.rebootstrap import bootstrapped

VERSIONS = b"".join(struct.pack(">hhh", key, 0, 1) for key in range(40))


class Mute:
    """A broker that says which versions it knows, once it may, and nothing else."""

    def __init__(self) -> None:
        self.is_connected = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_asked = asyncio.Event()
        self.is_left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
            await self._request(reader)
            self.is_asked.set()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed the connection, which is what is waited for
        self.is_left.set()
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(size)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await self._request(reader)
        self.is_connected.set()
        await self.may_answer.wait()
        answer = request[4:8] + struct.pack(">hi", 0, len(VERSIONS) // 6) + VERSIONS
        writer.write(struct.pack(">i", len(answer)) + answer)
        await writer.drain()


@asynccontextmanager
async def mute_broker(caplog: pytest.LogCaptureFixture) -> AsyncIterator[tuple[Mute, KafkaClients, int]]:
    """The broker, clients that bootstrap from it, and its port. Afterwards all connections to it are closed."""
    mute = Mute()
    async with await asyncio.start_server(mute.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield (
            mute,
            KafkaClients(Config.model_validate({"kafka": {"bootstrap_servers": f"127.0.0.1:{port}"}}).kafka),
            port,
        )
        await asyncio.wait_for(mute.is_left.wait(), 10)
    gc.collect()
    assert [record.message for record in caplog.records if "Unclosed" in record.message] == []


async def test_the_connection_that_asks_the_first_broker_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with mute_broker(caplog) as (mute, clients, _):

        async def use() -> None:
            async with started(clients.reader()):
                raise AssertionError("a mute broker starts nothing")

        await cancelled(asyncio.create_task(use()), mute)


async def test_so_is_that_of_a_client_that_only_asks_for_new_addresses(caplog: pytest.LogCaptureFixture) -> None:
    async with mute_broker(caplog) as (mute, clients, _):

        async def use() -> None:
            async with bootstrapped(clients._bootstrap_client()):
                raise AssertionError("a mute broker starts nothing")

        await cancelled(asyncio.create_task(use()), mute)


async def cancelled(using: asyncio.Task[None], mute: Mute) -> None:
    await asyncio.wait_for(mute.is_asked.wait(), 10)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using


async def close_member(clients: KafkaClients) -> tuple[AIOKafkaClient, Callable[[], Awaitable[None]]]:
    member = clients.member("group")
    return member._client, partial(stop_consumer, member)


async def close_task(clients: KafkaClients) -> tuple[AIOKafkaClient, Callable[[], Awaitable[None]]]:
    producer = clients.transactional("task-0")
    return producer.client, partial(close_producer, producer)


@pytest.mark.parametrize("closing", [close_member, close_task])
async def test_a_connection_that_is_there_only_after_its_client_was_closed_is_closed(
    closing: Callable[[KafkaClients], Awaitable[tuple[AIOKafkaClient, Callable[[], Awaitable[None]]]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mute_broker(caplog) as (mute, clients, port):
        mute.may_answer.clear()
        client, close = await closing(clients)
        client.cluster._brokers[1] = BrokerMetadata(1, "127.0.0.1", port, None)
        connecting = asyncio.create_task(client._get_conn(1, group=ConnectionGroup.COORDINATION))
        await asyncio.wait_for(mute.is_connected.wait(), 10)
        await close()
        mute.may_answer.set()
        assert not (await connecting).connected()
