"""Apache Kafka that asks who somebody is and what he may: users with passwords, and rules of what each may do.

Whoever comes to `bootstrap_servers` is the administrator, as everywhere in the tests: the topics are made, and what
was written is read there. The service comes to `secured_servers`, as the user `USER`.
"""

import atexit
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from tests.support.broker import KafkaContainer
from tests.support.kafka import admin

USER, PASSWORD = "alerting", "let-me-in-4711"
PRINCIPAL = f"User:{USER}"

_ALLOW = 3


class Resource(IntEnum):
    """What a right is for, in the numbers of Kafka's protocol."""

    TOPIC = 2
    GROUP = 3
    TRANSACTIONAL_ID = 5


class Pattern(IntEnum):
    """Whether its name is all of it, or only the beginning."""

    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What may be done."""

    READ = 3
    WRITE = 4
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


@dataclass(frozen=True)
class Right:
    """Operations on a resource, or on all whose names begin so."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


class AuthorizingKafka(KafkaContainer):
    """A broker with `StandardAuthorizer`, where nobody but the administrator may do what was not granted."""

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            **super()._environment(settings),
            "KAFKA_AUTHORIZER_CLASS_NAME": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "KAFKA_SUPER_USERS": "User:ANONYMOUS",
            "KAFKA_ADVERTISED_LISTENERS": (
                f"HOST://{self.bootstrap_servers},PROXIED://{self.secured_servers},INTERNAL://localhost:9093"
            ),
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
                "HOST:PLAINTEXT,PROXIED:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "KAFKA_LISTENER_NAME_PROXIED_SASL_ENABLED_MECHANISMS": "PLAIN",
            "KAFKA_LISTENER_NAME_PROXIED_PLAIN_SASL_JAAS_CONFIG": f'{login} user_{USER}="{PASSWORD}";',
        }

    @property
    def secured_servers(self) -> str:
        """Where clients log in."""
        return f"127.0.0.1:{self.behind_proxy}"

    @property
    def login(self) -> dict[str, Any]:
        """The settings of ``kafka`` with which the service comes here."""
        security = {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "username": USER, "password": PASSWORD}
        return {"bootstrap_servers": self.secured_servers, "security": security}

    async def grant(self, *rights: Right) -> None:
        """Let the service's user do this from now on."""
        await self._ask(CreateAclsRequest, rights)

    async def revoke(self, *rights: Right) -> None:
        """Take back what was granted in the same words."""
        await self._ask(DeleteAclsRequest, rights)

    def acls(self, *arguments: str) -> None:
        """Run Kafka's own ``kafka-acls`` with these arguments (its class: the script is not the same in all images)."""
        tool = ["java", "-cp", "/opt/kafka/libs/*", "org.apache.kafka.tools.AclCommand"]
        result = self._container.exec([*tool, "--bootstrap-server", "localhost:9093", *arguments])
        assert result.exit_code == 0, result.output.decode(errors="replace")[-2000:]

    async def _ask(self, request: Callable[..., Any], rights: Sequence[Right]) -> None:
        async with admin(self.bootstrap_servers) as client:
            for right in rights:
                pattern = Pattern.PREFIXED if right.prefixed else Pattern.LITERAL
                for operation in right.operations:
                    asked = request(right.resource, right.name, pattern, PRINCIPAL, "*", operation, _ALLOW)
                    response = await client._send_request(asked)
                    assert "error_code=0" in str(response), f"{right}: {response}"


@contextlib.contextmanager
def authorizing_kafka() -> Iterator[AuthorizingKafka]:
    """Such a broker in a container of its own; removed afterwards, and at exit."""
    kafka = AuthorizingKafka()
    atexit.register(kafka.remove)
    try:
        kafka.create()
        yield kafka
    finally:
        kafka.remove()
        atexit.unregister(kafka.remove)
