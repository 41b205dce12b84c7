"""The ``kafka`` section: the cluster, the groups, the topics."""

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, SecretStr, ValidationInfo, field_validator, model_validator

from consumer.config.durations import ProtocolDuration, Written, seconds
from consumer.events.keys import KeyTemplate
from providers.settings import NonEmpty, Settings
from providers.table import PROVIDERS

UNKEYED = "none"
"""The value of ``kafka.event_key`` for records without a key."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
# Kafka's limit is 249 characters; `.<provider>.positions` may be appended to a name.
_LONGEST_TOPIC = 249 - len(".pagerduty.positions")


def _check_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError("must be the name of a topic: letters, digits, '.', '_' and '-'")
    if len(name) > _LONGEST_TOPIC:
        raise ValueError(f"must be at most {_LONGEST_TOPIC} characters")
    return name


def _check_servers(servers: str) -> str:
    split = [server.strip() for server in servers.split(",")]
    for server in split:
        host, colon, port = server.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise ValueError("must be host:port, or several with commas between them")
        try:
            host.encode("idna")  # as for the look-up of the address
        except UnicodeError:
            raise ValueError("must be host:port, and one of the hosts can be no name of one") from None
    return ",".join(split)


def _check_event_key(name: str) -> str:
    if name != UNKEYED:
        try:
            known = KeyTemplate.parse(f"{{{name}}}").fields == {name}
        except ValueError:
            known = False
        if not known:
            raise ValueError("must be a placeholder of the key templates, such as session_id, or none")
    return name


def _start_from(value: Any) -> float | str:
    if value in ("earliest", "latest"):
        return str(value)
    try:
        return seconds(value)
    except ValueError:
        raise ValueError("must be earliest, latest, or how far back: 90s, 15m, 1h, 7d") from None


def _positions(keyed_topic: str) -> str:
    return f"{keyed_topic}.positions"


_Origin = Literal["earliest", "latest"]
Topic = Annotated[NonEmpty, AfterValidator(_check_topic)]
StartFrom = Annotated[_Origin | float, PlainValidator(_start_from, json_schema_input_type=_Origin | Written)]
"""``earliest``, ``latest``, or how many seconds back."""


class TopicsConfig(Settings):
    """Names of topics; ``state`` and ``keyed`` are prefixes, to which the provider's name is added."""

    events: Topic = "clawdstrike.events"
    state: Topic = "clawdstrike.alerting.state"
    dlq: Topic = "clawdstrike.alerting.dlq"
    feedback: Topic = "clawdstrike.alerting.feedback"
    keyed: Topic = "clawdstrike.alerting.keyed"
    history: Topic = "clawdstrike.alerting.history"
    silences: Topic = "clawdstrike.alerting.silences"

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        keyed = [f"{self.keyed}.{name}" for name in PROVIDERS]
        per_provider = [*(f"{self.state}.{name}" for name in PROVIDERS), *keyed, *map(_positions, keyed)]
        names = Counter([self.events, self.dlq, self.feedback, self.history, self.silences, *per_provider])
        if clash := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"one topic would have two purposes: {', '.join(clash)}")
        return self


class SecurityConfig(Settings):
    """How to connect to the brokers. Settings that the protocol does not use must not be given."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(default=None, validate_default=True)
    username: NonEmpty | None = Field(default=None, validate_default=True)
    password: SecretStr | None = Field(default=None, validate_default=True)
    ca_file: NonEmpty | None = None
    cert_file: NonEmpty | None = None
    key_file: NonEmpty | None = Field(default=None, validate_default=True)

    @field_validator("mechanism", "username", "password")
    @classmethod
    def _fits_sasl(cls, value: str | SecretStr | None, info: ValidationInfo) -> str | SecretStr | None:
        protocol = info.data.get("protocol")
        if protocol in ("SASL_PLAINTEXT", "SASL_SSL") and not (
            value.get_secret_value() if isinstance(value, SecretStr) else value
        ):
            raise ValueError(f"is required with {protocol}")
        if protocol in ("PLAINTEXT", "SSL") and value is not None:
            raise ValueError(f"has no use with {protocol}: the protocol would be SASL_PLAINTEXT or SASL_SSL")
        return value

    @field_validator("ca_file", "cert_file", "key_file")
    @classmethod
    def _fits_tls(cls, value: str | None, info: ValidationInfo) -> str | None:
        protocol = info.data.get("protocol")
        if protocol in ("PLAINTEXT", "SASL_PLAINTEXT") and value is not None:
            raise ValueError(f"has no use with {protocol}: the protocol would be SSL or SASL_SSL")
        if info.field_name == "key_file" and "cert_file" in info.data:
            if value is None and info.data["cert_file"] is not None:
                raise ValueError("is required with cert_file")
            if value is not None and info.data["cert_file"] is None:
                raise ValueError("needs cert_file")
        return value


class KafkaConfig(Settings):
    """The cluster, the consumer groups, the topics. All time-outs are in seconds.

    ``event_key`` is the field by which the engine's records are keyed (a placeholder of the key templates, without
    braces), or ``none``. ``partitioner`` is how the engine's producer chooses a partition by that key; ``auto`` means
    that the service finds it out. ``start_from`` applies only to a pipeline that has never run.
    """

    bootstrap_servers: Annotated[NonEmpty, AfterValidator(_check_servers)] = "localhost:9092"
    group_id: NonEmpty = "clawdstrike-alerting"
    group_instance_id: NonEmpty | None = None
    event_key: Annotated[str, AfterValidator(_check_event_key)] = "session_id"
    partitioner: Literal["auto", "murmur2", "crc32"] = "auto"
    start_from: StartFrom = 900.0
    session_timeout: ProtocolDuration = 15.0
    rebalance_timeout: ProtocolDuration = Field(default=60.0, validate_default=True)
    startup_timeout: ProtocolDuration = 60.0
    topics: TopicsConfig = TopicsConfig()
    security: SecurityConfig = SecurityConfig()

    @field_validator("rebalance_timeout")
    @classmethod
    def _outlasts_the_session(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("session_timeout", 0):
            raise ValueError("must not be less than session_timeout")
        return value

    def group(self, provider: str) -> str:
        """The consumer group of a provider's pipeline."""
        return f"{self.group_id}.{provider}"

    def repartition_group(self, provider: str) -> str:
        """The consumer group of the repartition stage before a provider's pipeline."""
        return f"{self.group(provider)}-repartition"

    def state_topic(self, provider: str) -> str:
        """The state topic: a provider's alerts."""
        return f"{self.topics.state}.{provider}"

    def keyed_topic(self, provider: str) -> str:
        """The keyed topic between a provider's repartition stage and its tasks."""
        return f"{self.topics.keyed}.{provider}"

    def positions_topic(self, provider: str) -> str:
        """The topic in which a provider's repartition stage keeps how far it has forwarded each events partition."""
        return _positions(self.keyed_topic(provider))


def needs_repartition(template: KeyTemplate, event_key: str) -> bool:
    """Whether events of one dedup key can come in several partitions, and so to several tasks.

    They meet in one task exactly when the template contains the field by which the engine's records are keyed.
    """
    return event_key == UNKEYED or event_key not in template.fields
