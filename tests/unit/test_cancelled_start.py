"""A client whose start is cancelled leaves no connection behind."""

import asyncio
import gc
import struct

import pytest

from consumer.config import Config
from consumer.kafka.clients import KafkaClients, started

VERSIONS = b"".join(struct.pack(">hhh", key, 0, 1) for key in range(40))


class Mute:
    """A broker that says which versions it knows, and nothing else."""

    def __init__(self) -> None:
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
        answer = request[4:8] + struct.pack(">hi", 0, len(VERSIONS) // 6) + VERSIONS
        writer.write(struct.pack(">i", len(answer)) + answer)
        await writer.drain()


async def test_the_connection_that_asks_the_first_broker_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    mute = Mute()
    async with await asyncio.start_server(mute.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        clients = KafkaClients(Config.model_validate({"kafka": {"bootstrap_servers": f"127.0.0.1:{port}"}}).kafka)

        async def use() -> None:
            async with started(clients.reader()):
                raise AssertionError("a mute broker starts nothing")

        using = asyncio.create_task(use())
        await asyncio.wait_for(mute.is_asked.wait(), 10)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        await asyncio.wait_for(mute.is_left.wait(), 10)
    gc.collect()
    assert [record.message for record in caplog.records if "Unclosed" in record.message] == []
