"""Which connections a start has opened, so that those of a cancelled start can be closed.

`AIOKafkaClient.bootstrap` (aiokafka 0.14) holds its connection to the first broker in a local variable, and closes it
after an answer or an error of Kafka, but not when it is cancelled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakSet

from aiokafka.conn import AIOKafkaConnection

Connections = WeakSet[AIOKafkaConnection]

_OPENED: ContextVar[Connections | None] = ContextVar("opened", default=None)


@contextmanager
def collecting() -> Iterator[Connections]:
    """Collect the connections that the tasks open which are created in the block, as long as those tasks run."""
    opened: Connections = WeakSet()
    token = _OPENED.set(opened)
    try:
        yield opened
    finally:
        _OPENED.reset(token)


def is_opened(connection: AIOKafkaConnection) -> None:
    """The current task opens this connection."""
    if (opened := _OPENED.get()) is not None:
        opened.add(connection)
