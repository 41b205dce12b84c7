"""Which topics the configured pipelines need, and as what (design section 3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from consumer.config import Config, needs_repartition
from consumer.events.keys import KeyTemplate
from consumer.kafka.clients import BATCH_BYTES

KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of ``max.message.bytes``, taken where the broker does not say."""

POLICY, MAX_BYTES, RETENTION = "cleanup.policy", "max.message.bytes", "retention.ms"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

FOR_EVER = -1
"""As a retention."""

WHOLE_BATCH_BYTES = BATCH_BYTES + 1024
"""What our producers put into one batch (`KafkaClients.transactional`), which is what ``max.message.bytes`` bounds."""

_STATE_OVERHEAD = 8 * 1024
"""Bytes of a state record besides the event that it holds in base64."""

_DLQ_RETENTION_MS = 30 * DAY_MS
_FEEDBACK_RETENTION_MS = 7 * DAY_MS


class Purpose(Enum):
    """What a topic is for."""

    EVENTS = "events"
    KEYED = "keyed"
    POSITIONS = "positions"
    STATE = "state"
    FEEDBACK = "feedback"
    DEAD_LETTERS = "dead letters"
    SILENCES = "silences"


class Partitions(Enum):
    """How many partitions a topic gets."""

    CHOSEN = "chosen"
    """By who creates it."""
    AS_INPUT = "as the input"
    """As many as its input has: task *i* keeps its alerts, or its position, in partition *i*."""
    LIKE_INPUT = "like the input"
    """As many as its input has if it is created here; any number will do."""
    ANY = "any"
    """One if it is created here: few records, and their order is worth something."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it is to be.

    ``configs`` are those it is created with; those of an existing one are checked by its purpose. ``largest_batch`` is
    what its ``max.message.bytes`` has to hold, as far as the configuration says (0: anything will do). ``input`` is the
    topic that its number of partitions follows. ``kept_ms`` is for how long its records are needed, after those of its
    input where it has one (None: for ever; 0 where nothing is asked). ``without`` says what there is not where the
    topic is not there, and the service runs all the same; empty: it does not run.
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
    dead_letters = {POLICY: "delete", RETENTION: str(_DLQ_RETENTION_MS)}
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
    """For how long something can be owed, None for ever: so long an alert that is handed over can wait."""
    return int(config.delivery.give_up_after * 1000) or None


def is_repartitioned(config: Config, name: str) -> bool:
    """Whether this pipeline has a repartition stage before itself."""
    template = KeyTemplate.parse(config.sections[name].deduplication.key_template)
    return needs_repartition(template, config.kafka.event_key)


def _stage_topics(config: Config, name: str, compacted: Mapping[str, str]) -> Iterator[TopicSpec]:
    """Between a pipeline's repartition stage and its tasks, and how far that stage has come."""
    kafka, delivery, kept = config.kafka, config.delivery, _give_up_ms(config)
    batch = max(WHOLE_BATCH_BYTES, delivery.max_event_bytes + _STATE_OVERHEAD)
    keyed = {
        POLICY: "delete",
        MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, batch)),
        "message.timestamp.type": "CreateTime",
    }
    events = kafka.topics.events
    yield TopicSpec(kafka.keyed_topic(name), Purpose.KEYED, Partitions.LIKE_INPUT, batch, keyed, events, kept)
    yield TopicSpec(
        kafka.positions_topic(name), Purpose.POSITIONS, Partitions.AS_INPUT, configs=compacted, input=events
    )


def follower_of(config: Config, name: str) -> TopicSpec:
    """The topic of this name, whose partitions follow those of another."""
    return next(spec for spec in topics_of(config) if spec.name == name and spec.partitions is Partitions.AS_INPUT)
