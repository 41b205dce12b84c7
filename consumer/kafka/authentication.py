"""A broker that does not keep to the SASL mechanism: an authentication failure like any other.

SCRAM proves both sides: a broker that does not know the password cannot sign its last message (RFC 5802). aiokafka 0.14
raises ValueError for that, and for a message that cannot be read ValueError, KeyError or AssertionError. These go
past everything that expects a connection to fail: past the other addresses at start, and out of a member's loops.
"""

import aiokafka.conn
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError


class BrokenAuthentication(KafkaError):  # type: ignore[misc]
    """The broker's side of the authentication is wrong, or none at all."""


class AuthenticatedConnection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection whose authentication fails with errors of Kafka's only."""

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
    # The client takes the class from its module and cannot be given another.
    aiokafka.conn.AIOKafkaConnection = AuthenticatedConnection
