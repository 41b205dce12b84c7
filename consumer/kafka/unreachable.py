"""Why Kafka could not be reached: which address was tried, how that failed, and which setting it is about.

aiokafka goes through all addresses, logs each failure with its exception, and raises no more than that there was none
left. What it logs besides ("Sending username and password in the clear") is no reason of anything, so the exceptions
are asked, not the lines.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from consumer.config import SecurityConfig
from consumer.kafka.authentication import BrokenAuthentication
from consumer.kafka.spoken import Spoken

AddressOf = Callable[[int], str | None]
"""``host:port`` of a broker by its number; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """One reason. ``setting`` is the path of what it is about; ``certainty`` says which of several is told.

    ``address`` is ``host:port``, where it can be that something else is spoken than `kafka.security.protocol` says.
    """

    setting: str
    text: str
    certainty: int
    address: str | None = None

    def __str__(self) -> str:
        return f"{self.setting}: {self.text}"


_AUTHENTICATION, _TLS, _NAME, _ANSWER = 3, 2, 1, 0


def why(records: Iterable[logging.LogRecord], security: SecurityConfig, address_of: AddressOf) -> Unreachable | None:
    """The reason that is told, of all that the client logged in one attempt; None if it logged no failure.

    A broker that refuses the authentication is there and has been understood, one whose name is wrong was not even
    asked: of several reasons it is the one that got furthest, of equal ones the last.
    """
    told: Unreachable | None = None
    for where, error in _failures(records, address_of):
        reason = explain(where, error, security)
        if told is None or reason.certainty >= told.certainty:
            told = reason
    return told


def _failures(records: Iterable[logging.LogRecord], address_of: AddressOf) -> Iterator[tuple[str, BaseException]]:
    """Address and exception of each failed attempt: aiokafka logs ``(host, port, error)`` or ``(node, error)``."""
    for record in records:
        match record.args:
            case (str() as host, int() as port, BaseException() as error):
                yield f"{host}:{port}", error
            case (int() as node, BaseException() as error):
                yield address_of(node) or f"broker {node}", error


def explain(where: str, error: BaseException, security: SecurityConfig) -> Unreachable:
    """What an exception says about the connection to the address ``where``, on one line."""
    for cause in _causes(error):
        match cause:
            case UnsupportedSaslMechanismError():
                text = f"{where} does not take the mechanism {security.mechanism}"
                return Unreachable("kafka.security.mechanism", text, _AUTHENTICATION)
            case BrokenAuthentication():
                text = f"{where} does not keep to {security.mechanism}: {_said(cause)}"
                return Unreachable("kafka.security", text, _AUTHENTICATION)
            case (
                SaslAuthenticationFailed()
                | AuthenticationFailedError()
                | AuthenticationMethodNotSupported()
                | IllegalSaslStateError()
            ):
                text = f"{where} refuses the authentication as {security.username}: {_said(cause)}"
                return Unreachable("kafka.security", text, _AUTHENTICATION)
            case ssl.SSLCertVerificationError():
                text = f"the certificate of {where} is not trusted: {cause.verify_message}"
                return Unreachable("kafka.security", _one_line(text), _TLS)
            case ssl.SSLError():
                text = f"no TLS with {where}: {cause.reason or cause}"
                return Unreachable("kafka.security", _one_line(text), _TLS, _address(where))
            case socket.gaierror():
                text = f"{where} cannot be resolved: {cause.strerror}"
                return Unreachable("kafka.bootstrap_servers", _one_line(text), _NAME)
    address = _address(where) if _is_closed(error) else None
    return Unreachable("kafka.bootstrap_servers", f"{where}: {_plain(error, security)}", _ANSWER, address)


def otherwise(reason: Unreachable, spoken: Spoken | None, security: SecurityConfig) -> Unreachable:
    """The reason, once it is known what is spoken at its address: the protocol, if that is another."""
    has_tls = security.protocol in ("SSL", "SASL_SSL")
    if spoken is None or (spoken is Spoken.TLS) == has_tls:
        return replace(reason, address=None)
    meant = "PLAINTEXT or SASL_PLAINTEXT" if has_tls else "SSL or SASL_SSL"
    text = f"{reason.address} speaks {spoken.value}, and the protocol is {security.protocol} ({meant} is meant?)"
    return Unreachable("kafka.security.protocol", text, _TLS)


def _address(where: str) -> str:
    """The address alone: where it is that of a broker, that is said behind it."""
    return where.partition(" ")[0]


def _is_closed(error: BaseException) -> bool:
    """How a broker turns away who speaks another protocol than it does at that port."""
    return isinstance(error, KafkaConnectionError) or any(
        isinstance(cause, asyncio.IncompleteReadError | ConnectionResetError) for cause in _causes(error)
    )


def _plain(error: BaseException, security: SecurityConfig) -> str:
    if _is_closed(error):
        return f"the connection was closed (is kafka.security.protocol {security.protocol} there?)"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _said(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__


def _said(error: BaseException) -> str:
    """What it says itself; a Kafka error without its number, its name and its punctuation where it says more."""
    if isinstance(error, KafkaError) and error.args and error.args[0]:
        return _one_line(str(error.args[0]))
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())
