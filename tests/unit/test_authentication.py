"""A broker that does not keep to the mechanism is told in one line, whatever it sends."""

from collections.abc import Callable
from typing import Any

import pytest

from consumer.config import KafkaConfig
from consumer.kafka.clients import KafkaClients
from consumer.kafka.startup import StartupError, when_kafka_answers
from tests.support.impostor import Mechanism, impostor, saying

FIRST = b"r=<nonce>server,s=c2FsdA==,i=4096"


async def _nothing(admin: Any) -> None:
    raise AssertionError("nobody was authenticated")


async def _refusal(mechanism: str, new: Callable[[], Mechanism]) -> tuple[str, str]:
    """What is told at the end, and the address of the one who was asked."""
    async with impostor(mechanism, new) as address:
        security = {"protocol": "SASL_PLAINTEXT", "mechanism": mechanism, "username": "alice", "password": "secret"}
        config = KafkaConfig.model_validate(
            {"bootstrap_servers": address, "startup_timeout": "1s", "security": security}
        )
        with pytest.raises(StartupError) as caught:
            await when_kafka_answers(KafkaClients(config), _nothing)
    return str(caught.value), address


@pytest.mark.parametrize(
    ("mechanism", "answers", "said"),
    [
        ("SCRAM-SHA-512", [FIRST, b"v=d3Jvbmc="], "Server sent wrong signature!"),
        ("SCRAM-SHA-256", [FIRST, b"e=other-error"], "its message lacks 'v'"),
        ("SCRAM-SHA-256", [FIRST, b""], "dictionary update sequence element #0 has length 1; 2 is required"),
        ("SCRAM-SHA-512", [b"r=another,s=c2FsdA==,i=4096"], "Server nonce, did not start with client nonce!"),
        ("SCRAM-SHA-512", [b"r=<nonce>x,s=c2FsdA=="], "its message lacks 'i'"),
        ("SCRAM-SHA-512", [b"r=<nonce>x,s=c2FsdA==,i=many"], "invalid literal for int() with base 10: 'many'"),
        ("SCRAM-SHA-512", [b"r=<nonce>x,s=c2FsdA==,i=0"], "iteration value must be greater than 0."),
        ("SCRAM-SHA-512", [b"r=<nonce>x,s=c2F,i=4096"], "Incorrect padding"),
        ("SCRAM-SHA-512", [b"\xff"], "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ("PLAIN", [b"welcome"], "Server should either close or send an empty response"),
    ],
)
async def test_what_a_broker_sends_that_is_none_of_the_mechanisms(
    mechanism: str, answers: list[bytes], said: str
) -> None:
    refusal, address = await _refusal(mechanism, saying(*answers))
    assert refusal == (
        f"kafka.security: not accepted by {address} within 1 s (kafka.startup_timeout): "
        f"{address} does not keep to {mechanism}: {said}"
    )
