"""Waiting for Kafka at start, and what a user is told when it cannot be waited for any longer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from consumer.kafka import KafkaClients
from consumer.log import quiet

T = TypeVar("T")

RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class StartupError(Exception):
    """The work cannot start: one line for the user, with the fix."""


async def when_kafka_answers(
    clients: KafkaClients,
    act: Callable[[AIOKafkaAdminClient], Awaitable[T]],
    unreachable: Callable[[str, float], None] = lambda reason, seconds_left: None,
) -> T:
    """What ``act`` gives, as soon as Kafka answers it.

    ``unreachable`` is told of every attempt that failed: the reason, and how many seconds of ``kafka.startup_timeout``
    are left. Raises `StartupError` when they are over.
    """
    config, loop = clients.config, asyncio.get_running_loop()
    deadline = loop.time() + config.startup_timeout
    with quiet("aiokafka") as told:
        while True:
            admin = clients.admin()
            try:
                async with asyncio.timeout_at(deadline):
                    await admin.start()
                    return await act(admin)
            except (KafkaError, OSError, TimeoutError) as error:
                # What the client logs says more than what it raises.
                reason = " ".join((told[-1] if told else str(error) or type(error).__name__).split())
                left = deadline - loop.time()
                if left <= RETRY_SECONDS:
                    raise StartupError(
                        f"kafka.bootstrap_servers: {config.bootstrap_servers} did not answer within "
                        f"{config.startup_timeout:g} s (kafka.startup_timeout): {reason}"
                    ) from error
                unreachable(reason, left)
            finally:
                with suppress(KafkaError, OSError, TimeoutError):
                    async with asyncio.timeout(CLOSE_SECONDS):
                        await admin.close()
            await asyncio.sleep(RETRY_SECONDS)
