"""Waits for Kafka at start, and says what a user is told when the time for that is over."""

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
    """The service or a command cannot start: one line for the user, with the fix."""


async def when_kafka_answers(
    clients: KafkaClients,
    act: Callable[[AIOKafkaAdminClient], Awaitable[T]],
    unreachable: Callable[[str, float], None] = lambda reason, seconds_left: None,
) -> T:
    """The result of ``act``, as soon as Kafka answers.

    ``unreachable`` is called after each failed attempt with the reason, and with the seconds that are left of
    ``kafka.startup_timeout``. Raises `StartupError` when these are over.
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
    """A callback for `when_kafka_answers` that logs each failed attempt."""

    def tell(reason: str, seconds_left: float) -> None:
        log.warning(
            "kafka_unreachable",
            bootstrap_servers=config.bootstrap_servers,
            error=reason,
            seconds_left=round(seconds_left),
        )

    return tell


async def close_admin(admin: AIOKafkaAdminClient) -> None:
    """Close an admin client, whether or not it has ever started, within `CLOSE_SECONDS`."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await admin.close()


async def _seen_through(
    reason: Unreachable | None, security: SecurityConfig, asked: dict[str, Spoken | None]
) -> Unreachable | None:
    """The reason, corrected by what its address speaks. ``asked`` has the answers; an address without one is asked
    again.
    """
    if reason is None or reason.address is None:
        return reason
    if asked.get(reason.address) is None:
        host, _, port = reason.address.rpartition(":")
        asked[reason.address] = await spoken(host.strip("[]"), int(port)) if port.isdecimal() else None
    return otherwise(reason, asked[reason.address], security)


def _newer(known: Unreachable | None, new: Unreachable | None, *, cut_off: bool) -> Unreachable | None:
    """The reason to tell after one more attempt. An attempt that the deadline cut off may not have met its real
    reason."""
    if known is None or new is None:
        return new or known
    return known if cut_off and new.certainty < known.certainty else new


def _address(admin: AIOKafkaAdminClient, node: int) -> str | None:
    """The address of a broker as the cluster's metadata gives it."""
    broker = admin._client.cluster.broker_metadata(node)
    return None if broker is None else f"{broker.host}:{broker.port} (as broker {node} is advertised)"


def _given_up(config: KafkaConfig, known: Unreachable | None, reason: str) -> str:
    waited = f"within {config.startup_timeout:g} s (kafka.startup_timeout)"
    if known is not None and known.setting != "kafka.bootstrap_servers":
        return f"{known.setting}: not accepted by {config.bootstrap_servers} {waited}: {reason}"
    return f"kafka.bootstrap_servers: {config.bootstrap_servers} did not answer {waited}: {reason}"
