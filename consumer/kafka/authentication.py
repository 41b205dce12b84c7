"""Turns the failure of a broker that breaks the rules of the SASL mechanism into an ordinary authentication failure.

SCRAM proves both sides: a broker that does not know the password cannot sign its last message (RFC 5802). aiokafka 0.14
raises ValueError for a wrong signature, and ValueError, KeyError or AssertionError for a message that it cannot read.
The code that handles failed connections catches none of these: without this module, the other addresses are not tried
at start, and a member's loops end.
"""

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError

from consumer.kafka.opened import is_opened


class BrokenAuthentication(KafkaError):  # type: ignore[misc]
    """The broker's part of the authentication is wrong or missing."""


class AuthenticatedConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection whose authentication raises only KafkaError, OSError and TimeoutError. Where somebody collects what
    is opened (`consumer.kafka.opened`), it is among that."""

    async def connect(self) -> object:
        is_opened(self)
        return await super().connect()

    async def _do_sasl_handshake(self) -> None:
        try:
            await super()._do_sasl_handshake()
        except (KafkaError, OSError, TimeoutError):
            raise
        except KeyError as error:
            raise BrokenAuthentication(f"its message lacks {error}") from error
        except Exception as error:
            raise BrokenAuthentication(str(error) or type(error).__name__) from error


def let_authentication_fail_as_such() -> None:
    """Make aiokafka's clients in this process raise `BrokenAuthentication` where a broker breaks the mechanism."""
    # The client looks the class up in its own module; there is no parameter for it.
    aiokafka.conn.AIOKafkaConnection = AuthenticatedConnection
