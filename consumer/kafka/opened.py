"""Closes connections that aiokafka 0.14 would leave open.

* `AIOKafkaClient.bootstrap` holds its connection to the first broker in a local variable, and closes it after an answer
  or an error of Kafka, but not when it is cancelled.
* `AIOKafkaClient.close` closes the connections that there are. One that a task of the client is still setting up then
  is put among them afterwards, and nobody closes it.
"""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection

_OPENED: ContextVar[WeakSet[AIOKafkaConnection] | None] = ContextVar("opened", default=None)


async def closing_if_cancelled(starting: Awaitable[None]) -> None:
    """Wait for the start of a client. If that is cancelled, all connections that it has opened are closed."""
    opened: WeakSet[AIOKafkaConnection] = WeakSet()
    token = _OPENED.set(opened)
    try:
        await starting
    except asyncio.CancelledError:
        for connection in opened:
            connection.close()
        raise
    finally:
        _OPENED.reset(token)


def is_opened(connection: AIOKafkaConnection) -> None:
    """The current task opens this connection."""
    if (opened := _OPENED.get()) is not None:
        opened.add(connection)


def close_late_connections(client: AIOKafkaClient) -> None:
    """Make the client, once it is closed, close each connection that it was still setting up, as soon as that is
    there."""
    close = client.close

    async def closing() -> None:
        client._conns = _Closing(client._conns)
        await close()

    client.close = closing


class _Closing(dict[Any, AIOKafkaConnection]):
    """The connections of a closed client, by broker and purpose."""

    def __setitem__(self, key: Any, connection: AIOKafkaConnection) -> None:
        connection.close()
        super().__setitem__(key, connection)
