"""Apache Kafka with a listener that wants passwords, and one that wants certificates."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from tests.support.broker import FOLDER, KafkaContainer, kafka_container
from tests.support.certificates import put_broker_files

USER, PASSWORD = "alice", "the-right-password"
_PASSWORDS, _CERTIFICATES = "PASSWORDS", "CERTIFICATES"
_LOGIN = "org.apache.kafka.common.security.{}.{}LoginModule required{};"


def _stores(folder: Path, authority: trustme.CA, name: str) -> dict[str, str]:
    """Write a broker's files, and say where it finds them."""
    keystore, truststore = f"{name}-keystore.pem", f"{name}-truststore.pem"
    put_broker_files(folder / keystore, folder / truststore, authority)
    return {
        "listener.name.certificates.ssl.keystore.location": f"{FOLDER}/{keystore}",
        "listener.name.certificates.ssl.truststore.location": f"{FOLDER}/{truststore}",
    }


@dataclass(frozen=True)
class SecuredKafka:
    """The container; it sees ``folder``, and has and trusts at first what ``authority`` has issued."""

    container: KafkaContainer
    folder: Path
    authority: trustme.CA

    @property
    def by_password(self) -> str:
        """The bootstrap servers for SASL_PLAINTEXT: PLAIN and SCRAM-SHA-512, as `USER` with `PASSWORD`."""
        return self.container.servers_of(_PASSWORDS)

    @property
    def by_certificate(self) -> str:
        """The bootstrap servers for SSL with a client's certificate."""
        return self.container.servers_of(_CERTIFICATES)

    def replace_authority(self, authority: trustme.CA) -> None:
        """From now on the broker shows a certificate of this authority, and trusts those that it issued, no others."""
        stores = ",".join(f"{name}={path}" for name, path in _stores(self.folder, authority, "replaced").items())
        self.container.exec(
            "kafka-configs", "--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", stores
        )


@contextlib.contextmanager
def secured_container(folder: Path) -> Iterator[SecuredKafka]:
    """Apache Kafka in a container of its own, which sees the folder."""
    authority = trustme.CA()
    folder.chmod(0o755)
    settings: dict[str, Any] = {
        "listener_name_passwords_sasl_enabled_mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener_name_passwords_plain_sasl_jaas_config": _LOGIN.format("plain", "Plain", f' user_{USER}="{PASSWORD}"'),
        "listener_name_passwords_scram___sha___512_sasl_jaas_config": _LOGIN.format("scram", "Scram", ""),
        "listener_name_certificates_ssl_client_auth": "required",
        "listener_name_certificates_ssl_keystore_type": "PEM",
        "listener_name_certificates_ssl_truststore_type": "PEM",
        **{name.replace(".", "_"): path for name, path in _stores(folder, authority, "first").items()},
    }
    listeners = {_PASSWORDS: "SASL_PLAINTEXT", _CERTIFICATES: "SSL"}
    with kafka_container(listeners=listeners, folder=folder, **settings) as container:
        scram = f"SCRAM-SHA-512=[iterations=4096,password={PASSWORD}]"
        container.exec(
            "kafka-configs", "--alter", "--entity-type", "users", "--entity-name", USER, "--add-config", scram
        )
        yield SecuredKafka(container, folder, authority)
