"""Passwords and certificates at the real broker: what is wrong is told as that, what is replaced is used."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka.admin import AIOKafkaAdminClient

from consumer.config import KafkaConfig
from consumer.kafka.clients import KafkaClients
from consumer.kafka.startup import StartupError, when_kafka_answers
from tests.support.certificates import Files, issued_to_client
from tests.support.process import run_to_end
from tests.support.secured import PASSWORD, USER, SecuredKafka
from tests.support.service import ROUTING_KEY
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real_kafka("the embedded broker knows neither passwords nor certificates")

WRONG = "the-wrong-password"


def _sasl(mechanism: str, password: str, protocol: str = "SASL_PLAINTEXT") -> dict[str, Any]:
    return {"protocol": protocol, "mechanism": mechanism, "username": USER, "password": password}


def _clients(servers: str, security: dict[str, Any], seconds: float) -> KafkaClients:
    config = {"bootstrap_servers": servers, "startup_timeout": seconds, "security": security}
    return KafkaClients(KafkaConfig.model_validate(config))


async def _topics(admin: AIOKafkaAdminClient) -> list[str]:
    return list(await admin.list_topics())


async def _answers(servers: str, security: dict[str, Any]) -> None:
    assert isinstance(await when_kafka_answers(_clients(servers, security, 20), _topics), list)


async def _refusal(servers: str, security: dict[str, Any], seconds: float = 3.0) -> str:
    """The line with which a start ends, when Kafka cannot be reached like this for so long."""
    with pytest.raises(StartupError) as caught:
        await when_kafka_answers(_clients(servers, security, seconds), _topics)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert WRONG not in said
    assert "clear" not in said
    return said


# --- passwords


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_the_right_password_is_taken(secured_kafka: SecuredKafka, mechanism: str) -> None:
    await _answers(secured_kafka.by_password, _sasl(mechanism, PASSWORD))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_always_told_as_that(secured_kafka: SecuredKafka, mechanism: str) -> None:
    servers = secured_kafka.by_password
    # Wherever the deadline cuts the last attempt off, also among addresses that fail otherwise.
    several = {5.0: servers, 5.4: f"{servers},127.0.0.1:1", 5.8: f"127.0.0.1:1,{servers},no-such-host.invalid:9092"}
    for seconds, addresses in several.items():
        said = await _refusal(addresses, _sasl(mechanism, WRONG), seconds)
        assert said.startswith(f"kafka.security: not accepted by {addresses} within {seconds:g} s")
        assert f"{servers} refuses the authentication as {USER}: Authentication failed" in said


async def test_a_mechanism_that_the_broker_has_not(secured_kafka: SecuredKafka) -> None:
    said = await _refusal(secured_kafka.by_password, _sasl("SCRAM-SHA-256", PASSWORD))
    assert said.startswith("kafka.security.mechanism: ")
    assert said.endswith(f"{secured_kafka.by_password} does not take the mechanism SCRAM-SHA-256")


async def test_a_wrong_password_ends_the_service_with_one_line(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    document = {
        "exporters": {"alerting": {"pagerduty": {"routing_key": ROUTING_KEY}}},
        "kafka": {
            "bootstrap_servers": secured_kafka.by_password,
            "startup_timeout": "3s",
            "security": _sasl("PLAIN", WRONG),
        },
    }
    code, lines = await run_to_end(document, tmp_path)
    assert (code, len(lines)) == (1, 1), lines
    assert lines[0].startswith("kafka.security: ")
    assert f"refuses the authentication as {USER}" in lines[0]


# --- the kinds beside it


async def test_a_broker_that_wants_a_password_and_is_asked_without(secured_kafka: SecuredKafka) -> None:
    said = await _refusal(secured_kafka.by_password, {"protocol": "PLAINTEXT"})
    assert said.endswith(
        f"{secured_kafka.by_password}: the connection was closed (is kafka.security.protocol PLAINTEXT there?)"
    )


async def test_no_tls_where_tls_is_spoken(secured_kafka: SecuredKafka) -> None:
    servers = secured_kafka.by_certificate
    assert await _refusal(servers, {"protocol": "PLAINTEXT"}) == (
        f"kafka.security.protocol: not accepted by {servers} within 3 s (kafka.startup_timeout): "
        f"{servers} speaks TLS, and the protocol is PLAINTEXT (SSL or SASL_SSL is meant?)"
    )
    said = await _refusal(servers, _sasl("PLAIN", WRONG))
    assert said.endswith(f"{servers} speaks TLS, and the protocol is SASL_PLAINTEXT (SSL or SASL_SSL is meant?)")


async def test_tls_where_none_is_spoken(secured_kafka: SecuredKafka) -> None:
    for servers in (secured_kafka.by_password, secured_kafka.container.bootstrap_servers):
        assert await _refusal(servers, {"protocol": "SSL"}) == (
            f"kafka.security.protocol: not accepted by {servers} within 3 s (kafka.startup_timeout): {servers} "
            "speaks Kafka without TLS, and the protocol is SSL (PLAINTEXT or SASL_PLAINTEXT is meant?)"
        )
    said = await _refusal(secured_kafka.by_password, _sasl("PLAIN", WRONG, "SASL_SSL"))
    assert "speaks Kafka without TLS, and the protocol is SASL_SSL" in said


async def test_a_certificate_that_is_not_trusted(secured_kafka: SecuredKafka) -> None:
    said = await _refusal(secured_kafka.by_certificate, {"protocol": "SSL"})
    assert said.startswith("kafka.security: ")
    assert f"the certificate of {secured_kafka.by_certificate} is not trusted: " in said


async def test_no_certificate_where_one_is_wanted(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.put_authority(secured_kafka.authority)
    said = await _refusal(secured_kafka.by_certificate, {"protocol": "SSL", "ca_file": str(files.ca)})
    assert said.startswith("kafka.security: ")
    assert f"no TLS with {secured_kafka.by_certificate}: " in said


# --- certificates that are replaced (last: the broker's own are replaced, too)


async def test_certificates_that_are_replaced_are_those_of_the_next_connection(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    files, new = Files(tmp_path), trustme.CA()
    files.put(secured_kafka.authority, issued_to_client(secured_kafka.authority, "first"))
    clients = _clients(secured_kafka.by_certificate, files.settings, 20)
    assert isinstance(await when_kafka_answers(clients, _topics), list)
    await asyncio.to_thread(secured_kafka.replace_authority, new)

    async def is_refused() -> bool:
        try:
            await when_kafka_answers(_clients(secured_kafka.by_certificate, files.settings, 1.1), _topics)
        except StartupError as error:
            return "is not trusted: " in str(error)
        return False

    await wait_until(is_refused, "the broker has the new certificate", timeout=30)
    files.put(new, issued_to_client(new, "second"))
    assert isinstance(await when_kafka_answers(clients, _topics), list)
