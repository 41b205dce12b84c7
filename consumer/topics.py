"""The topics of design section 3: which there are, whether they are as they must be, and how they are made.

Topics are never created by asking about them: with ``auto.create.topics.enable`` a metadata request that names a topic
creates it, so all topics are listed and ours are looked up in the list.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, TopicAlreadyExistsError, UnsupportedVersionError, for_code

from consumer.config import Config
from consumer.kafka import BATCH_BYTES, MAX_REQUEST_BYTES

DEFAULT_PARTITIONS = 6
"""Of an events topic that is created here: what one cluster of agents needs, and a number that divides well."""

REPLICAS = 3
"""Of a topic that is created here, or as many as there are brokers."""

KAFKA_MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of ``max.message.bytes``, taken where the broker does not say."""

_BATCH_BYTES = BATCH_BYTES + 1024
"""What our producers put into one batch (`KafkaClients.transactional`), which is what ``max.message.bytes`` bounds."""

_DEAD_LETTER_HEADERS = 64 * 1024
"""Room for our headers behind the original ones of a dead letter."""

_STATE_OVERHEAD = 8 * 1024
"""Bytes of a state record besides the event that it holds in base64."""

_HOUR_MS = 3_600_000
_DLQ_RETENTION_MS = 30 * 24 * _HOUR_MS

_SETTLE_SECONDS = 0.1
_SETTLE_LOOKS = 150
_CONFIG_LOOKS = 20
"""How often a topic that was just created is looked for, and its configs, which the user may have no right to see."""

_POLICY, _MAX_BYTES = "cleanup.policy", "max.message.bytes"


class Purpose(Enum):
    """What a topic is for."""

    EVENTS = "events"
    STATE = "state"
    DEAD_LETTERS = "dead letters"


class Partitions(Enum):
    """How many partitions a topic gets."""

    CHOSEN = "chosen"
    """By who creates it."""
    AS_INPUT = "as the input"
    """As many as the pipeline's input has: task *i* keeps its alerts in partition *i*."""
    ANY = "any"
    """One if it is created here: few records, and their order is worth something."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it is to be.

    ``configs`` are those it is created with; those of an existing one are checked by its purpose. ``largest_batch`` is
    what its ``max.message.bytes`` has to hold, as far as the configuration says (0: anything will do).
    """

    name: str
    purpose: Purpose
    partitions: Partitions
    largest_batch: int = 0
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicReport:
    """The topics as they are.

    ``problems`` forbid to start; each names the topic and the fix. ``unknown`` is what the broker would not say and is
    taken for Kafka's default. ``found`` has the number of partitions of every topic of ours that exists. ``partitions``
    is that of the pipelines' input (0 without one), ``dead_letter_limit`` the largest batch that may be sent to the
    dead-letter topic.
    """

    problems: tuple[str, ...]
    unknown: tuple[str, ...]
    found: Mapping[str, int]
    partitions: int
    dead_letter_limit: int


@dataclass(frozen=True, slots=True)
class Creation:
    """What ``create_topics`` did: the topics that it created, and how all of them are now."""

    created: tuple[str, ...]
    replication_factor: int
    report: TopicReport


def topics_of(config: Config) -> list[TopicSpec]:
    """The topics that the configured pipelines need, the input first."""
    topics = config.kafka.topics
    state_batch = max(_BATCH_BYTES, config.delivery.max_event_bytes * 4 // 3 + _STATE_OVERHEAD)
    state = {
        _POLICY: "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(max(16 * 1024 * 1024, 2 * state_batch)),
        "segment.ms": str(_HOUR_MS),
        "delete.retention.ms": str(_HOUR_MS),
        _MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, state_batch)),
    }
    dead_letters = {_POLICY: "delete", "retention.ms": str(_DLQ_RETENTION_MS)}
    return [
        TopicSpec(topics.events, Purpose.EVENTS, Partitions.CHOSEN),
        *(
            TopicSpec(config.kafka.state_topic(name), Purpose.STATE, Partitions.AS_INPUT, state_batch, state)
            for name in config.pipelines
        ),
        TopicSpec(topics.dlq, Purpose.DEAD_LETTERS, Partitions.ANY, _BATCH_BYTES, dead_letters),
    ]


async def check_topics(admin: AIOKafkaAdminClient, config: Config) -> TopicReport:
    """Look at the topics. ``admin`` is started; nothing is created, not even where the broker would by itself.

    Raises KafkaError, OSError or TimeoutError if Kafka does not answer.
    """
    return _report(topics_of(config), await _look(admin, topics_of(config)))


async def create_topics(
    admin: AIOKafkaAdminClient, config: Config, partitions: int | None, replication_factor: int | None
) -> Creation:
    """Create what is missing and leave alone what exists. What could not be created is among the problems.

    ``partitions`` is for the events topic (None: `DEFAULT_PARTITIONS`); ``replication_factor`` None is `REPLICAS`, or
    the number of brokers if that is less. Raises as `check_topics`.
    """
    specs = topics_of(config)
    if replication_factor is None:
        replication_factor = min(REPLICAS, len((await admin.describe_cluster())["brokers"]))
    seen = await _look(admin, specs)
    failures: list[str] = []
    created: list[str] = []
    for spec in specs:
        if spec.name in seen.partitions:
            continue
        new = NewTopic(
            spec.name,
            _partitions(spec, seen.partitions.get(specs[0].name), partitions),
            replication_factor,
            topic_configs=_configs(spec, seen.max_bytes(specs[0].name), replication_factor),
        )
        if failure := await _create(admin, new):
            failures.append(failure)
            break  # the others depend on it, or fail likewise
        created.append(spec.name)
        if spec is specs[0]:
            seen = await _settled(admin, specs, created)
    report = _report(specs, await _settled(admin, specs, created))
    return Creation(tuple(created), replication_factor, replace(report, problems=(*failures, *report.problems)))


# what there is


@dataclass(frozen=True, slots=True)
class _Seen:
    """Our topics that exist: their numbers of partitions, and of their configs what the broker says."""

    partitions: Mapping[str, int]
    configs: Mapping[str, Mapping[str, str]]

    def policy(self, topic: str) -> set[str] | None:
        text = self.configs.get(topic, {}).get(_POLICY)
        return None if text is None else {part.strip() for part in text.split(",")}

    def max_bytes(self, topic: str) -> int | None:
        text = self.configs.get(topic, {}).get(_MAX_BYTES)
        return int(text) if text is not None and text.isdecimal() else None


async def _look(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> _Seen:
    names = {spec.name for spec in specs}
    partitions = {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["topic"] in names and topic["partitions"]
    }
    return _Seen(partitions, await _configs_of(admin, list(partitions)))


async def _configs_of(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the broker says of these topics' configs: a topic is missing where this user may not ask."""
    if not names:
        return {}
    asked = {_POLICY: None, _MAX_BYTES: None}
    try:
        responses = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name, asked) for name in names]
        )
    except (IncompatibleBrokerVersion, UnsupportedVersionError):
        return {}
    found: dict[str, dict[str, str]] = {}
    for response in responses:
        for error_code, _, _, name, entries, *_ in response.resources:
            if not error_code:
                found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


async def _settled(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], created: Sequence[str]) -> _Seen:
    """Look again, until what was just created is seen: brokers learn of it one after another."""
    seen = await _look(admin, specs)
    for wait in range(_SETTLE_LOOKS):
        is_there = all(name in seen.partitions for name in created)
        is_told = wait >= _CONFIG_LOOKS or all(name in seen.configs for name in created)
        if is_there and is_told:
            break
        await asyncio.sleep(_SETTLE_SECONDS)
        seen = await _look(admin, specs)
    return seen  # what is still not seen is reported as missing, or as unknown


# whether it is as it must be


def _report(specs: Sequence[TopicSpec], seen: _Seen) -> TopicReport:
    events, dlq = specs[0].name, specs[-1].name
    dead_letter_limit = min(seen.max_bytes(dlq) or KAFKA_MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES)
    return TopicReport(
        problems=tuple(problem for spec in specs for problem in _problems(spec, events, seen)),
        unknown=tuple(
            f"topic {name}: the broker does not tell its {config}"
            for name in seen.partitions
            for config in ((_MAX_BYTES,) if name == events else (_POLICY, _MAX_BYTES))
            if config not in seen.configs.get(name, {})
        ),
        found=seen.partitions,
        partitions=seen.partitions.get(events, 0),
        dead_letter_limit=dead_letter_limit,
    )


def _problems(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    if spec.name not in seen.partitions:
        yield (
            f"topic {spec.name} does not exist, or this user may not see it: "
            "run `clawdstrike-alerting topics create --config …`"
        )
        return
    if spec.partitions is Partitions.AS_INPUT and events in seen.partitions:
        yield from _wrong_count(spec, seen.partitions[spec.name], events, seen.partitions[events])
    policy = seen.policy(spec.name)
    if spec.purpose is Purpose.STATE and policy is not None and policy != {"compact"}:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be compact, or open alerts "
            f"would be forgotten: {_alter(spec.name, _POLICY, 'compact')}"
        )
    if spec.purpose is Purpose.DEAD_LETTERS and policy is not None and "compact" in policy:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be delete, or dead letters with "
            f"the same key would be lost: {_alter(spec.name, _POLICY, 'delete')}"
        )
    yield from _too_small(spec, events, seen)


def _wrong_count(spec: TopicSpec, count: int, events: str, wanted: int) -> Iterator[str]:
    if count == wanted:
        return
    if count < wanted:
        fix = f"`kafka-topics.sh --bootstrap-server … --alter --topic {spec.name} --partitions {wanted}`"
    else:
        fix = (
            f"give {events} {count} partitions too, or stop the service, delete {spec.name} (its open alerts are "
            "forgotten) and run `clawdstrike-alerting topics create --config …`"
        )
    yield f"topic {spec.name} has {count} partitions, its input {events} has {wanted}: {fix}"


def _too_small(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    limit, input_limit = seen.max_bytes(spec.name), seen.max_bytes(events)
    if limit is None:
        return
    needed, why = spec.largest_batch, "to hold whole batches"
    if spec.purpose is Purpose.STATE:
        why = "to hold an event of delivery.max_event_bytes, and whole batches"
    if spec.purpose is Purpose.DEAD_LETTERS and input_limit is not None and limit < input_limit:
        needed, why = (
            _dead_letter_bytes(input_limit),
            f"to hold all that {events} takes ({input_limit}), and our headers",
        )
    if limit < needed:
        yield (
            f"topic {spec.name}: max.message.bytes is {limit} and must be at least {needed}, {why}: "
            f"{_alter(spec.name, _MAX_BYTES, str(needed))}"
        )
    if spec.purpose is Purpose.EVENTS and limit > MAX_REQUEST_BYTES:
        yield (
            f"topic {spec.name}: max.message.bytes is {limit}, and a record of more than {MAX_REQUEST_BYTES} could not "
            f"be dead-lettered: {_alter(spec.name, _MAX_BYTES, str(MAX_REQUEST_BYTES))}"
        )


def _alter(topic: str, config: str, value: str) -> str:
    return (
        "`kafka-configs.sh --bootstrap-server … --alter --entity-type topics "
        f"--entity-name {topic} --add-config {config}={value}`"
    )


# how it is made


def _partitions(spec: TopicSpec, of_input: int | None, chosen: int | None) -> int:
    match spec.partitions:
        case Partitions.CHOSEN:
            return chosen or DEFAULT_PARTITIONS
        case Partitions.AS_INPUT:
            return of_input or chosen or DEFAULT_PARTITIONS
        case Partitions.ANY:
            return 1


def _configs(spec: TopicSpec, input_limit: int | None, replication_factor: int) -> dict[str, str]:
    configs = dict(spec.configs)
    if spec.purpose is Purpose.DEAD_LETTERS:
        configs[_MAX_BYTES] = str(_dead_letter_bytes(input_limit or KAFKA_MAX_MESSAGE_BYTES))
    if spec.purpose is not Purpose.EVENTS and replication_factor >= REPLICAS:
        configs["min.insync.replicas"] = "2"  # what one broker alone has acknowledged can be lost with it
    return configs


def _dead_letter_bytes(input_limit: int) -> int:
    return max(KAFKA_MAX_MESSAGE_BYTES, input_limit) + _DEAD_LETTER_HEADERS


async def _create(admin: AIOKafkaAdminClient, new: NewTopic) -> str | None:
    """Create a topic; why not, if not. One that somebody else has created meanwhile is there, which is all we want."""
    response = await admin.create_topics([new])
    for _, error_code, *rest in response.topic_errors:
        error: Any = for_code(error_code)
        if error_code and error is not TopicAlreadyExistsError:
            return f"topic {new.name} cannot be created: {(rest and rest[0]) or error.__name__}"
    return None
