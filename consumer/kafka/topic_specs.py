"""Which topics the configured pipelines need, and with which settings (design section 3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from consumer.config import Config, needs_repartition
from consumer.events.keys import KeyTemplate
from consumer.kafka.clients import BATCH_BYTES

KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of ``max.message.bytes``, assumed where the broker does not give the value."""

POLICY, MAX_BYTES, RETENTION = "cleanup.policy", "max.message.bytes", "retention.ms"
TIME_TYPE = "message.timestamp.type"
PRODUCERS_TIME, BROKERS_TIME = "CreateTime", "LogAppendTime"
"""The values of ``message.timestamp.type``."""
MAX_AHEAD = ("message.timestamp.after.max.ms", "message.timestamp.difference.max.ms")
"""How far ahead of a broker's clock a record may be; the second one is that of brokers before 4.0."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

FOR_EVER = -1
"""The value of ``retention.ms`` for records that are never removed."""

WHOLE_BATCH_BYTES = BATCH_BYTES + 1024
"""The most that our producers put into one batch (`KafkaClients.transactional`), unless a single record is larger.
``max.message.bytes`` is a limit for batches."""

_STATE_OVERHEAD = 8 * 1024
"""Bytes of a state record besides the event that it holds in base64."""

_DLQ_RETENTION_MS = 30 * DAY_MS
_FEEDBACK_RETENTION_MS = 7 * DAY_MS
_HISTORY_RETENTION_MS = 90 * DAY_MS


class Purpose(Enum):
    """What a topic is for."""

    EVENTS = "events"
    KEYED = "keyed"
    POSITIONS = "positions"
    STATE = "state"
    FEEDBACK = "feedback"
    HISTORY = "history"
    DEAD_LETTERS = "dead letters"
    SILENCES = "silences"


class Partitions(Enum):
    """How many partitions a topic gets."""

    CHOSEN = "chosen"
    """As many as the user who creates the topic has chosen."""
    AS_INPUT = "as the input"
    """As many as its input has: task *i* keeps its alerts, or its position, in partition *i*."""
    LIKE_INPUT = "like the input"
    """As many as its input has when we create it; any other number will do as well."""
    ANY = "any"
    """One when we create it, since its records are few and their order is useful; any other number will do as well."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it has to be.

    ``configs`` are the settings with which we create it; those of an existing topic are checked by its purpose.
    ``largest_batch`` is the least value of ``max.message.bytes``, as far as our configuration decides it (0: any
    value). ``input`` is the topic whose number of partitions it follows. ``kept_ms`` is for how many milliseconds its
    records are needed: after those of its input are removed, if it has an input (None: for ever; 0: not checked).
    ``without`` says what the service cannot do without this topic (empty: without it the service does not run).
    """

    name: str
    purpose: Purpose
    partitions: Partitions
    largest_batch: int = 0
    configs: Mapping[str, str] = field(default_factory=dict)
    input: str = ""
    kept_ms: int | None = 0
    without: str = ""


def topics_of(config: Config) -> list[TopicSpec]:
    """The topics that the configured pipelines need, the input first."""
    kafka, topics = config.kafka, config.kafka.topics
    state_batch = max(WHOLE_BATCH_BYTES, config.delivery.max_event_bytes * 4 // 3 + _STATE_OVERHEAD)
    state = {
        POLICY: "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(max(16 * 1024 * 1024, 2 * state_batch)),
        "segment.ms": str(HOUR_MS),
        "delete.retention.ms": str(HOUR_MS),
        MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, state_batch)),
    }
    waits_ms = _give_up_ms(config)
    kept_ms = FOR_EVER if waits_ms is None else max(_FEEDBACK_RETENTION_MS, waits_ms + DAY_MS)
    feedback = {POLICY: "delete", RETENTION: str(kept_ms)}
    # By the broker's time: by that of a host which is far behind, its records would be too old at once.
    dead_letters = {POLICY: "delete", RETENTION: str(_DLQ_RETENTION_MS), TIME_TYPE: BROKERS_TIME}
    history = {POLICY: "delete", RETENTION: str(_HISTORY_RETENTION_MS), TIME_TYPE: BROKERS_TIME}
    repartitioned = [name for name in config.pipelines if is_repartitioned(config, name)]
    inputs = {name: kafka.keyed_topic(name) if name in repartitioned else topics.events for name in config.pipelines}
    return [
        TopicSpec(topics.events, Purpose.EVENTS, Partitions.CHOSEN),
        *(spec for name in repartitioned for spec in _stage_topics(config, name, state)),
        *(
            TopicSpec(kafka.state_topic(name), Purpose.STATE, Partitions.AS_INPUT, state_batch, state, inputs[name])
            for name in config.pipelines
        ),
        TopicSpec(
            topics.feedback, Purpose.FEEDBACK, Partitions.ANY, state_batch, feedback, kept_ms=_give_up_ms(config)
        ),
        *(
            [
                TopicSpec(
                    topics.history,
                    Purpose.HISTORY,
                    Partitions.ANY,
                    configs=history,
                    without="what happens to alerts is not written down",
                )
            ]
            if config.history.enabled
            else []
        ),
        TopicSpec(
            topics.silences,
            Purpose.SILENCES,
            Partitions.ANY,
            configs={POLICY: "compact"},
            without="no alert can be silenced",
        ),
        TopicSpec(topics.dlq, Purpose.DEAD_LETTERS, Partitions.ANY, WHOLE_BATCH_BYTES, dead_letters),
    ]


def _give_up_ms(config: Config) -> int | None:
    """For how long a notification can be owed, in milliseconds; None for ever. A hand-over can wait as long."""
    return int(config.delivery.give_up_after * 1000) or None


def is_repartitioned(config: Config, name: str) -> bool:
    """Whether this pipeline has a repartition stage before it."""
    template = KeyTemplate.parse(config.sections[name].deduplication.key_template)
    return needs_repartition(template, config.kafka.event_key)


def _stage_topics(config: Config, name: str, compacted: Mapping[str, str]) -> Iterator[TopicSpec]:
    """The keyed topic between a pipeline's repartition stage and its tasks, and the topic of the stage's positions."""
    kafka, delivery, kept = config.kafka, config.delivery, _give_up_ms(config)
    batch = max(WHOLE_BATCH_BYTES, delivery.max_event_bytes + _STATE_OVERHEAD)
    keyed = {
        POLICY: "delete",
        MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, batch)),
        TIME_TYPE: PRODUCERS_TIME,
    }
    events = kafka.topics.events
    yield TopicSpec(kafka.keyed_topic(name), Purpose.KEYED, Partitions.LIKE_INPUT, batch, keyed, events, kept)
    yield TopicSpec(
        kafka.positions_topic(name), Purpose.POSITIONS, Partitions.AS_INPUT, configs=compacted, input=events
    )


def follower_of(config: Config, name: str) -> TopicSpec:
    """The topic of this name, which must have as many partitions as its input."""
    return next(spec for spec in topics_of(config) if spec.name == name and spec.partitions is Partitions.AS_INPUT)
