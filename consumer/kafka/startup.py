"""Waiting for Kafka at start, and what a user is told when it cannot be waited for any longer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.config import KafkaConfig, SecurityConfig
from consumer.kafka.clients import KafkaClients, start_client
from consumer.kafka.spoken import Spoken, spoken
from consumer.kafka.unreachable import Unreachable, otherwise, why
from consumer.telemetry.log import quiet
from providers.errors import UserError, text_of

T = TypeVar("T")

RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class StartupError(UserError):
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
    known: Unreachable | None = None
    asked: dict[str, Spoken | None] = {}
    with quiet("aiokafka") as told:
        while True:
            told.clear()
            admin = clients.admin()
            try:
                async with asyncio.timeout_at(deadline):
                    await start_client(admin.start())
                    return await act(admin)
            except (KafkaError, OSError, TimeoutError) as error:
                left = deadline - loop.time()
                new = await _seen_through(why(told, config.security, partial(_address, admin)), config.security, asked)
                known = _newer(known, new, cut_off=left <= 0)
                reason = known.text if known is not None else text_of(error, "no answer")
                if left <= RETRY_SECONDS:
                    raise StartupError(_given_up(config, known, reason)) from error
                unreachable(reason, left)
            finally:
                await close_admin(admin)
            await asyncio.sleep(RETRY_SECONDS)


def unreachable_in(log: FilteringBoundLogger, config: KafkaConfig) -> Callable[[str, float], None]:
    """What `when_kafka_answers` tells of an attempt that failed, told in a log."""

    def tell(reason: str, seconds_left: float) -> None:
        log.warning(
            "kafka_unreachable",
            bootstrap_servers=config.bootstrap_servers,
            error=reason,
            seconds_left=round(seconds_left),
        )

    return tell


async def close_admin(admin: AIOKafkaAdminClient) -> None:
    """Close it, whether or not it has ever started. Nobody waits for that longer than `CLOSE_SECONDS`."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await admin.close()


async def _seen_through(
    reason: Unreachable | None, security: SecurityConfig, asked: dict[str, Spoken | None]
) -> Unreachable | None:
    """The reason, with what is spoken at its address. Each address is ``asked`` until it has once said that."""
    if reason is None or reason.address is None:
        return reason
    if asked.get(reason.address) is None:
        host, _, port = reason.address.rpartition(":")
        asked[reason.address] = await spoken(host.strip("[]"), int(port)) if port.isdecimal() else None
    return otherwise(reason, asked[reason.address], security)


def _newer(known: Unreachable | None, new: Unreachable | None, *, cut_off: bool) -> Unreachable | None:
    """The reason after one more attempt. One that the deadline has cut off may not have come to its real one."""
    if known is None or new is None:
        return new or known
    return known if cut_off and new.certainty < known.certainty else new


def _address(admin: AIOKafkaAdminClient, node: int) -> str | None:
    """Where the cluster says that one of its brokers is."""
    broker = admin._client.cluster.broker_metadata(node)
    return None if broker is None else f"{broker.host}:{broker.port} (as broker {node} is advertised)"


def _given_up(config: KafkaConfig, known: Unreachable | None, reason: str) -> str:
    waited = f"within {config.startup_timeout:g} s (kafka.startup_timeout)"
    if known is not None and known.setting != "kafka.bootstrap_servers":
        return f"{known.setting}: not accepted by {config.bootstrap_servers} {waited}: {reason}"
    return f"kafka.bootstrap_servers: {config.bootstrap_servers} did not answer {waited}: {reason}"
