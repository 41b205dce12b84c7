"""Why Kafka could not be reached: by what the client raised where it gave up, not by what it said last."""

import asyncio
import logging
import socket
import ssl
from typing import Any

import pytest
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from consumer.config import SecurityConfig
from consumer.kafka.spoken import Spoken, spoken
from consumer.kafka.unreachable import explain, otherwise, why

SECURITY = SecurityConfig.model_validate(
    {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "username": "alice", "password": "secret"}
)
REFUSED = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
WRONG_PASSWORD = SaslAuthenticationFailed("Authentication failed: Invalid username or password")
UNKNOWN_NAME = socket.gaierror(-2, "Name or service not known")


def _caused(by: BaseException) -> KafkaConnectionError:
    error = KafkaConnectionError("Connection at kafka:9092 closed")
    error.__cause__ = by
    return error


def _untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    return error


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            WRONG_PASSWORD,
            "kafka.security: kafka:9092 refuses the authentication as alice: "
            "Authentication failed: Invalid username or password",
        ),
        (
            IllegalSaslStateError(),
            "kafka.security: kafka:9092 refuses the authentication as alice: [Error 34] IllegalSaslStateError",
        ),
        (
            UnsupportedSaslMechanismError(object()),
            "kafka.security.mechanism: kafka:9092 does not take the mechanism PLAIN",
        ),
        (
            _untrusted(),
            "kafka.security: the certificate of kafka:9092 is not trusted: unable to get local issuer certificate",
        ),
        (_tls("WRONG_VERSION_NUMBER"), "kafka.security: no TLS with kafka:9092: WRONG_VERSION_NUMBER"),
        (_caused(_tls("CERTIFICATE_REQUIRED")), "kafka.security: no TLS with kafka:9092: CERTIFICATE_REQUIRED"),
        (UNKNOWN_NAME, "kafka.bootstrap_servers: kafka:9092 cannot be resolved: Name or service not known"),
        (
            REFUSED,
            "kafka.bootstrap_servers: kafka:9092: [Errno 111] Connect call failed ('127.0.0.1', 1)",
        ),
        (TimeoutError(), "kafka.bootstrap_servers: kafka:9092: no answer in time"),
        (
            _caused(asyncio.IncompleteReadError(b"", 4)),
            "kafka.bootstrap_servers: kafka:9092: the connection was closed "
            "(is kafka.security.protocol SASL_PLAINTEXT there?)",
        ),
        (
            ConnectionResetError(),
            "kafka.bootstrap_servers: kafka:9092: the connection was closed "
            "(is kafka.security.protocol SASL_PLAINTEXT there?)",
        ),
        (OSError("broken\ninto\tlines"), "kafka.bootstrap_servers: kafka:9092: broken into lines"),
        (OSError(), "kafka.bootstrap_servers: kafka:9092: OSError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_each_error_says(error: BaseException, said: str) -> None:
    assert str(explain("kafka:9092", error, SECURITY)) == said


def _logged(*failures: tuple[Any, ...]) -> list[logging.LogRecord]:
    said: list[tuple[Any, ...]] = [("Sending username and password in the clear",)]
    for failure in failures:
        said += [failure, ("Sending username and password in the clear",), ("Unable to update metadata from %s", [1])]
    return [logging.LogRecord("aiokafka", logging.ERROR, "", 0, text, tuple(args), None) for text, *args in said]


def _bootstrap(host: str, error: BaseException) -> tuple[Any, ...]:
    return 'Unable connect to "%s:%s": %s', host, 9092, error


def _node(node: int, error: BaseException) -> tuple[Any, ...]:
    return "Unable connect to node with id %s: %s", node, error


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([], None),
        ([_bootstrap("a", WRONG_PASSWORD)], "a:9092 refuses"),
        ([_bootstrap("a", WRONG_PASSWORD), _bootstrap("b", REFUSED)], "a:9092 refuses"),
        (
            [_bootstrap("b", REFUSED), _bootstrap("a", WRONG_PASSWORD), _bootstrap("c", TimeoutError())],
            "a:9092 refuses",
        ),
        ([_bootstrap("a", UNKNOWN_NAME), _bootstrap("b", REFUSED)], "a:9092 cannot be resolved"),
        ([_bootstrap("a", UNKNOWN_NAME), _bootstrap("b", _untrusted())], "the certificate of b:9092"),
        ([_bootstrap("a", REFUSED), _bootstrap("b", TimeoutError())], "b:9092: no answer"),
        ([_node(1, UNKNOWN_NAME)], "kafka-1:9092 cannot be resolved"),
        ([_node(7, UNKNOWN_NAME)], "broker 7 cannot be resolved"),
        ([("Unable to request metadata from node with id %s: %r", 1, TimeoutError())], "kafka-1:9092: no answer"),
    ],
)
def test_of_several_failures_the_one_that_got_furthest_is_told(
    failures: list[tuple[Any, ...]], told: str | None
) -> None:
    reason = why(_logged(*failures), SECURITY, {1: "kafka-1:9092"}.get)
    assert (reason is None) == (told is None)
    if reason is not None:
        assert told is not None
        assert reason.text.startswith(told)
        assert "clear" not in reason.text


# --- what is spoken there


@pytest.mark.parametrize(
    ("protocol", "error", "found", "said"),
    [
        (
            "PLAINTEXT",
            ConnectionResetError(),
            Spoken.TLS,
            "kafka.security.protocol: kafka:9092 speaks TLS, and the protocol is PLAINTEXT (SSL or SASL_SSL is meant?)",
        ),
        (
            "SSL",
            _caused(asyncio.IncompleteReadError(b"", 4)),
            Spoken.PLAIN,
            "kafka.security.protocol: kafka:9092 speaks Kafka without TLS, and the protocol is SSL "
            "(PLAINTEXT or SASL_PLAINTEXT is meant?)",
        ),
        ("SSL", _tls("WRONG_VERSION_NUMBER"), None, "kafka.security: no TLS with kafka:9092: WRONG_VERSION_NUMBER"),
        ("SSL", _tls("CERTIFICATE_REQUIRED"), Spoken.TLS, "kafka.security: no TLS with kafka:9092: CERTIFICATE_REQ"),
        (
            "PLAINTEXT",
            ConnectionResetError(),
            Spoken.PLAIN,
            "kafka.bootstrap_servers: kafka:9092 (as broker 1 is advertised): ",
        ),
    ],
)
def test_where_something_else_is_spoken_than_the_protocol_says_that_is_the_reason(
    protocol: str, error: BaseException, found: Spoken | None, said: str
) -> None:
    security = SecurityConfig.model_validate({"protocol": protocol})
    where = "kafka:9092 (as broker 1 is advertised)" if "as broker" in said else "kafka:9092"
    reason = explain(where, error, security)
    assert reason.address == "kafka:9092"
    told = otherwise(reason, found, security)
    assert str(told).startswith(said)
    assert told.address is None


@pytest.mark.parametrize("error", [WRONG_PASSWORD, _untrusted(), UNKNOWN_NAME, REFUSED, TimeoutError()])
def test_nobody_is_asked_where_the_reason_is_known(error: BaseException) -> None:
    assert explain("kafka:9092", error, SECURITY).address is None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([b"\x00\x00\x01\xc0claw\x00\x00"], Spoken.PLAIN),
        ([b"\x15\x03\x03\x00\x02\x02P"], Spoken.TLS),
        ([b"", b"\x16\x03\x03\x00z"], Spoken.TLS),
        ([b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 400 Bad Request"], None),
        ([b"", b""], None),
    ],
)
async def test_what_is_spoken_is_seen_by_the_first_bytes(answers: list[bytes], expected: Spoken | None) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1024))
        writer.write(answers[len(asked) - 1])
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await spoken("127.0.0.1", port) is expected
    assert len(asked) == len(answers)
    assert asked[0].endswith(b"\xff\xff")
    assert all(again.startswith(b"\x16\x03") for again in asked[1:])


async def test_nobody_there_says_nothing() -> None:
    assert await spoken("127.0.0.1", 1) is None
