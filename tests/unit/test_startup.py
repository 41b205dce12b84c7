"""The wait for Kafka: what is told at its end is why Kafka could not be reached, whenever the end comes."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

from consumer.config import KafkaConfig
from consumer.kafka.startup import StartupError, when_kafka_answers
from tests.support.loop import VirtualLoop

CONFIG = KafkaConfig.model_validate(
    {
        "bootstrap_servers": "kafka:9092",
        "startup_timeout": 10,
        "security": {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "username": "alice", "password": "secret"},
    }
)
REFUSED = ("a", 9092, ConnectionRefusedError(111, "Connect call failed"))
WRONG_PASSWORD = ("b", 9092, SaslAuthenticationFailed("Authentication failed"))
HANGS = None


class Client:
    """An admin client that logs these failures, and then raises, hangs, or answers."""

    def __init__(self, attempt: list[tuple[str, int, Exception] | None]) -> None:
        self._attempt = attempt

    async def start(self) -> None:
        log = logging.getLogger("aiokafka")
        for failure in self._attempt:
            log.warning("Sending username and password in the clear")
            if failure is HANGS:
                await asyncio.sleep(1000)
            else:
                log.error('Unable connect to "%s:%s": %s', *failure)
        if self._attempt:
            raise KafkaConnectionError("Unable to bootstrap from [...]")

    async def close(self) -> None: ...


class Clients:
    config = CONFIG

    def __init__(self, attempts: Iterator[list[tuple[str, int, Exception] | None]]) -> None:
        self._attempts = attempts

    def admin(self) -> Client:
        return Client(next(self._attempts))


async def _act(admin: Any) -> str:
    return "done"


def _wait(*attempts: list[tuple[str, int, Exception] | None]) -> tuple[str, list[str]]:
    """What is told at the end, and what in between; the last attempt repeats."""
    told: list[str] = []

    def all_attempts() -> Iterator[list[tuple[str, int, Exception] | None]]:
        yield from attempts
        while True:
            yield attempts[-1]

    clients: Any = Clients(all_attempts())
    waiting = when_kafka_answers(clients, _act, lambda reason, left: told.append(reason))
    return VirtualLoop().complete(waiting, 60), told


def _refusal(*attempts: list[tuple[str, int, Exception] | None]) -> str:
    with pytest.raises(StartupError) as caught:
        _wait(*attempts)
    return str(caught.value)


@pytest.mark.parametrize(
    "attempts",
    [
        ([WRONG_PASSWORD],),
        ([WRONG_PASSWORD], [HANGS]),
        ([WRONG_PASSWORD], [REFUSED, HANGS]),
        ([REFUSED, WRONG_PASSWORD], [REFUSED, HANGS]),
        ([REFUSED], [WRONG_PASSWORD, REFUSED], [HANGS]),
        ([REFUSED, WRONG_PASSWORD, HANGS],),
    ],
)
def test_a_wrong_password_is_told_wherever_the_last_attempt_is_cut_off(attempts: Any) -> None:
    assert _refusal(*attempts) == (
        "kafka.security: not accepted by kafka:9092 within 10 s (kafka.startup_timeout): "
        "b:9092 refuses the authentication as alice: Authentication failed"
    )


def test_what_was_mended_meanwhile_is_not_told() -> None:
    assert "a:9092: [Errno 111] Connect call failed" in _refusal([WRONG_PASSWORD], [REFUSED], [HANGS])


def test_a_kafka_that_says_nothing_did_not_answer() -> None:
    assert _refusal([HANGS]) == (
        "kafka.bootstrap_servers: kafka:9092 did not answer within 10 s (kafka.startup_timeout): no answer"
    )


def test_each_attempt_that_failed_is_told_and_then_kafka_answers() -> None:
    assert _wait([REFUSED], [WRONG_PASSWORD], []) == (
        "done",
        [
            "a:9092: [Errno 111] Connect call failed",
            "b:9092 refuses the authentication as alice: Authentication failed",
        ],
    )
