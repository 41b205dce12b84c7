"""Why Kafka could not be reached: which address was tried, how that failed, and which setting has to do with it.

aiokafka tries all addresses, logs each failure with its exception, and raises only that no address is left. It also
logs lines that explain no failure ("Sending username and password in the clear"), so this module reads the logged
exceptions, not the texts.
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
"""Gives a broker's ``host:port`` by its node id; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """One reason. ``setting`` is the path of the setting concerned. Of several reasons, that with the highest
    ``certainty`` is told.

    ``address`` is a ``host:port`` at which another protocol may be spoken than `kafka.security.protocol` says.
    """

    setting: str
    text: str
    certainty: int
    address: str | None = None

    def __str__(self) -> str:
        return f"{self.setting}: {self.text}"


_AUTHENTICATION, _TLS, _NAME, _ANSWER = 3, 2, 1, 0


def why(records: Iterable[logging.LogRecord], security: SecurityConfig, address_of: AddressOf) -> Unreachable | None:
    """The reason to tell, of all failures that the client logged in one attempt; None if it logged none.

    It is the failure of the attempt that got furthest, and of equal ones the last: a broker that refuses the
    authentication was reached and understood; a name that cannot be resolved was not even connected to.
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
    """The reason, on one line, that an exception gives for the failed connection to the address ``where``."""
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
    """The reason, once it is known what its address speaks: a wrong protocol, if that is not what is configured."""
    has_tls = security.protocol in ("SSL", "SASL_SSL")
    if spoken is None or (spoken is Spoken.TLS) == has_tls:
        return replace(reason, address=None)
    meant = "PLAINTEXT or SASL_PLAINTEXT" if has_tls else "SSL or SASL_SSL"
    text = f"{reason.address} speaks {spoken.value}, and the protocol is {security.protocol} ({meant} is meant?)"
    return Unreachable("kafka.security.protocol", text, _TLS)


def _address(where: str) -> str:
    """The address alone, without the text behind it that may name the broker."""
    return where.partition(" ")[0]


def _is_closed(error: BaseException) -> bool:
    """Whether the connection was closed, as a broker does when a client speaks another protocol than the port's."""
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
    """The error's own text; that of a Kafka error without error code, class name and punctuation, where it has more."""
    if isinstance(error, KafkaError) and error.args and error.args[0]:
        return _one_line(str(error.args[0]))
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())
