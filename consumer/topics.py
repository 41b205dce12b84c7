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
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)

from consumer.config import Config, needs_repartition
from consumer.kafka import BATCH_BYTES, MAX_REQUEST_BYTES, KafkaClients, start_client, to_the_end
from consumer.keys import KeyTemplate

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
_FEEDBACK_RETENTION_MS = 7 * 24 * _HOUR_MS
_REPLAY_HEADERS = 1024
"""Room for our headers behind those of a dead letter that is replayed."""

_SETTLE_SECONDS = 0.1
_SETTLE_LOOKS = 150
_CONFIG_LOOKS = 20
"""How often a topic that was just created is looked for, and its configs, which the user may have no right to see."""

_ASK_SECONDS = 5.0
"""For asking about one topic in the middle of work."""

_POLICY, _MAX_BYTES, _RETENTION = "cleanup.policy", "max.message.bytes", "retention.ms"
_KAFKA_RETENTION_MS = 7 * 24 * _HOUR_MS
"""Kafka's default of ``retention.ms``, taken where the broker does not say."""

_FOR_EVER = -1

_KEYED_MARGIN_MS = 24 * _HOUR_MS
"""How much longer than it must a keyed topic that is created here keeps its records; an hour of it is asked of others:
what the broker removes, it removes when it looks."""


class Purpose(Enum):
    """What a topic is for."""

    EVENTS = "events"
    KEYED = "keyed"
    POSITIONS = "positions"
    STATE = "state"
    FEEDBACK = "feedback"
    DEAD_LETTERS = "dead letters"


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
    topic that its number of partitions follows. ``kept_ms`` is for how long it must keep its records beyond those of
    its input (None: for ever).
    """

    name: str
    purpose: Purpose
    partitions: Partitions
    largest_batch: int = 0
    configs: Mapping[str, str] = field(default_factory=dict)
    input: str = ""
    kept_ms: int | None = 0


@dataclass(frozen=True, slots=True)
class TopicReport:
    """The topics as they are.

    ``problems`` forbid to start; each names the topic and the fix, as does each of ``outgrown``: topics with another
    number of partitions than their input, of which one has to grow. (While they do, in whichever order, the partitions
    that have both go on.) ``unknown`` is what the broker would not say and is
    taken for Kafka's default. ``found`` has the number of partitions of every topic of ours that exists. ``partitions``
    is that of the pipelines' input (0 without one), ``dead_letter_limit`` the largest batch that may be sent to the
    dead-letter topic.
    """

    problems: tuple[str, ...]
    unknown: tuple[str, ...]
    found: Mapping[str, int]
    partitions: int
    dead_letter_limit: int
    outgrown: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Creation:
    """What ``create_topics`` did: the topics that it created, and how all of them are now."""

    created: tuple[str, ...]
    replication_factor: int
    report: TopicReport


def topics_of(config: Config) -> list[TopicSpec]:
    """The topics that the configured pipelines need, the input first."""
    kafka, topics = config.kafka, config.kafka.topics
    state_batch = max(_BATCH_BYTES, config.delivery.max_event_bytes * 4 // 3 + _STATE_OVERHEAD)
    state = {
        _POLICY: "compact",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(max(16 * 1024 * 1024, 2 * state_batch)),
        "segment.ms": str(_HOUR_MS),
        "delete.retention.ms": str(_HOUR_MS),
        _MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, state_batch)),
    }
    feedback = {_POLICY: "delete", "retention.ms": str(_FEEDBACK_RETENTION_MS)}
    dead_letters = {_POLICY: "delete", "retention.ms": str(_DLQ_RETENTION_MS)}
    repartitioned = [name for name in config.pipelines if _is_repartitioned(config, name)]
    inputs = {name: kafka.keyed_topic(name) if name in repartitioned else topics.events for name in config.pipelines}
    return [
        TopicSpec(topics.events, Purpose.EVENTS, Partitions.CHOSEN),
        *(spec for name in repartitioned for spec in _stage_topics(config, name, state)),
        *(
            TopicSpec(kafka.state_topic(name), Purpose.STATE, Partitions.AS_INPUT, state_batch, state, inputs[name])
            for name in config.pipelines
        ),
        TopicSpec(topics.feedback, Purpose.FEEDBACK, Partitions.ANY, _BATCH_BYTES, feedback),
        TopicSpec(topics.dlq, Purpose.DEAD_LETTERS, Partitions.ANY, _BATCH_BYTES, dead_letters),
    ]


def _is_repartitioned(config: Config, name: str) -> bool:
    template = KeyTemplate.parse(config.sections[name].deduplication.key_template)
    return needs_repartition(template, config.kafka.event_key)


def _stage_topics(config: Config, name: str, compacted: Mapping[str, str]) -> Iterator[TopicSpec]:
    """Between a pipeline's repartition stage and its tasks, and how far that stage has come."""
    kafka, delivery = config.kafka, config.delivery
    batch = max(_BATCH_BYTES, delivery.max_event_bytes + _STATE_OVERHEAD)
    keyed = {
        _POLICY: "delete",
        _MAX_BYTES: str(max(KAFKA_MAX_MESSAGE_BYTES, batch)),
        "message.timestamp.type": "CreateTime",
    }
    kept_ms = int(delivery.give_up_after * 1000) or None
    events = kafka.topics.events
    yield TopicSpec(kafka.keyed_topic(name), Purpose.KEYED, Partitions.LIKE_INPUT, batch, keyed, events, kept_ms)
    yield TopicSpec(
        kafka.positions_topic(name), Purpose.POSITIONS, Partitions.AS_INPUT, configs=compacted, input=events
    )


def follower_of(config: Config, name: str) -> TopicSpec:
    """The topic of this name, whose partitions follow those of another."""
    return next(spec for spec in topics_of(config) if spec.name == name and spec.partitions is Partitions.AS_INPUT)


async def check_topics(admin: AIOKafkaAdminClient, config: Config) -> TopicReport:
    """Look at the topics. ``admin`` is started; nothing is created, not even where the broker would by itself.

    Raises KafkaError, OSError or TimeoutError if Kafka does not answer.
    """
    return _report(topics_of(config), await _look(admin, topics_of(config)))


async def member_topics(admin: AIOKafkaAdminClient, config: Config, follower: TopicSpec) -> TopicReport:
    """The topics that one member needs: ``follower`` and its input, and those that all share. Raises as `check_topics`.

    ``partitions`` is the number of its input's. ``problems`` are those that endanger what the member knows, or stop it;
    ``advice`` is what else would keep one from starting, and hinders none that runs.
    """
    specs = topics_of(config)
    seen = await _look(admin, specs)
    own = [spec for spec in specs if spec.name in (follower.name, follower.input) or spec.partitions is Partitions.ANY]
    report = _report(specs, seen, own)
    grave = [spec for spec in own if spec.name == follower.name or spec.name not in seen.partitions]
    problems = _report(specs, seen, grave).problems
    advice = tuple(problem for problem in report.problems if problem not in problems)
    return replace(report, problems=problems, advice=advice, partitions=seen.partitions.get(follower.input, 0))


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
    counts = dict(seen.partitions)
    failures: list[str] = []
    created: list[str] = []
    for spec in specs:
        if spec.name in seen.partitions:
            continue
        counts[spec.name] = _partitions(spec, counts.get(spec.input), partitions)
        new = NewTopic(
            spec.name,
            counts[spec.name],
            replication_factor,
            topic_configs=_configs(spec, specs[0].name, seen, replication_factor),
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

    def retention_ms(self, topic: str) -> int | None:
        """-1 is for ever, None what the broker does not tell."""
        text = self.configs.get(topic, {}).get(_RETENTION)
        return None if text is None else int(text)


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
    asked = {_POLICY: None, _MAX_BYTES: None, _RETENTION: None}
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


async def ask_max_bytes(clients: KafkaClients, topic: str) -> int | None:
    """The ``max.message.bytes`` of a topic at this moment, None if the broker does not tell it, or not in time."""
    admin = clients.admin()
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            await start_client(admin.start())
            limit = _Seen({}, await _configs_of(admin, [topic])).max_bytes(topic)
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await to_the_end(admin.close())
    return None if limit is None else min(limit, MAX_REQUEST_BYTES)


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


def _report(specs: Sequence[TopicSpec], seen: _Seen, of: Sequence[TopicSpec] | None = None) -> TopicReport:
    """``of``: only what concerns these topics is told."""
    told = specs if of is None else of
    events, dlq = specs[0].name, specs[-1].name
    dead_letter_limit = min(seen.max_bytes(dlq) or KAFKA_MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES)
    return TopicReport(
        problems=tuple(problem for spec in told for problem in _problems(spec, events, seen)),
        unknown=tuple(
            f"topic {name}: the broker does not tell its {config}"
            for name in seen.partitions
            for config in ((_MAX_BYTES,) if name == events else (_POLICY, _MAX_BYTES))
            if config not in seen.configs.get(name, {})
        ),
        found=seen.partitions,
        partitions=seen.partitions.get(events, 0),
        dead_letter_limit=dead_letter_limit,
        outgrown=tuple(sentence for spec in told for sentence in _outgrown(spec, seen.partitions)),
    )


def _problems(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    if spec.name not in seen.partitions:
        yield (
            f"topic {spec.name} does not exist, or this user may not see it: "
            "run `clawdstrike-alerting topics create --config …`"
        )
        return
    policy = seen.policy(spec.name)
    if spec.purpose is Purpose.STATE and policy is not None and policy != {"compact"}:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be compact, or open alerts "
            f"would be forgotten: {_alter(spec.name, _POLICY, 'compact')}"
        )
    if spec.purpose is Purpose.POSITIONS and policy is not None and policy != {"compact"}:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be compact, or how far the "
            f"events are forwarded would be forgotten: {_alter(spec.name, _POLICY, 'compact')}"
        )
    if spec.purpose is Purpose.KEYED:
        if policy is not None and "compact" in policy:
            yield (
                f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be delete, or events with "
                f"the same key would be lost: {_alter(spec.name, _POLICY, 'delete')}"
            )
        yield from _kept_too_short(spec, seen)
    if spec.purpose is Purpose.FEEDBACK and policy is not None and "compact" in policy:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be delete, or commands about "
            f"the same alert would be lost: {_alter(spec.name, _POLICY, 'delete')}"
        )
    if spec.purpose is Purpose.DEAD_LETTERS and policy is not None and "compact" in policy:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be delete, or dead letters with "
            f"the same key would be lost: {_alter(spec.name, _POLICY, 'delete')}"
        )
    yield from _too_small(spec, events, seen)


def _outgrown(spec: TopicSpec, counts: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with the number of partitions of a topic, beside that of its input; the fix is in it."""
    if spec.partitions is not Partitions.AS_INPUT or spec.name not in counts or spec.input not in counts:
        return
    count, wanted = counts[spec.name], counts[spec.input]
    if count == wanted:
        return
    if count < wanted:
        fix = _grow(spec.name, wanted)
    else:
        loss = "its open alerts are forgotten"
        if spec.purpose is Purpose.POSITIONS:
            loss = "the stage goes on from what its group has committed"
        fix = (
            f"give {spec.input} {count} partitions too ({_grow(spec.input, count)}), or stop the service, delete "
            f"{spec.name} ({loss}) and run `clawdstrike-alerting topics create --config …`"
        )
    yield f"topic {spec.name} has {count} partitions, its input {spec.input} has {wanted}: {fix}"


def _grow(topic: str, partitions: int) -> str:
    return f"`kafka-topics.sh --bootstrap-server … --alter --topic {topic} --partitions {partitions}`"


def _kept_too_short(spec: TopicSpec, seen: _Seen) -> Iterator[str]:
    """Forwarded records keep their timestamps, so one that is as old as its input allows is removed the soonest."""
    kept = seen.retention_ms(spec.name)
    if kept is None or kept == _FOR_EVER:
        return
    # What the broker does not tell about the input cannot be asked of the topic behind it.
    needed = _kept_ms(spec, seen.retention_ms(spec.input) or 0, _HOUR_MS)
    if needed == _FOR_EVER:
        length = "must be unlimited"
    elif kept < needed:
        length = f"must be at least {needed}"
    else:
        return
    yield (
        f"topic {spec.name}: retention.ms is {kept} and {length}, the retention of {spec.input} and "
        f"delivery.give_up_after together, and an hour: {_alter(spec.name, _RETENTION, str(needed))}"
    )


def _kept_ms(spec: TopicSpec, input_retention_ms: int, margin_ms: int) -> int:
    """How long a topic has to keep its records, if its input keeps them so long."""
    if spec.kept_ms is None or input_retention_ms == _FOR_EVER:
        return _FOR_EVER
    return input_retention_ms + spec.kept_ms + margin_ms


def _too_small(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    limit, input_limit = seen.max_bytes(spec.name), seen.max_bytes(events)
    if limit is None:
        return
    needed, why = spec.largest_batch, "to hold whole batches"
    if spec.purpose in (Purpose.STATE, Purpose.KEYED):
        why = "to hold an event of delivery.max_event_bytes, and whole batches"
    holds_input = spec.purpose in (Purpose.DEAD_LETTERS, Purpose.FEEDBACK)
    if holds_input and input_limit is not None and limit < input_limit:
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
        case Partitions.AS_INPUT | Partitions.LIKE_INPUT:
            return of_input or chosen or DEFAULT_PARTITIONS
        case Partitions.ANY:
            return 1


def _configs(spec: TopicSpec, events: str, seen: _Seen, replication_factor: int) -> dict[str, str]:
    configs, input_limit = dict(spec.configs), seen.max_bytes(events)
    if spec.purpose is Purpose.KEYED:
        input_retention = seen.retention_ms(events)
        kept = _kept_ms(spec, _KAFKA_RETENTION_MS if input_retention is None else input_retention, _KEYED_MARGIN_MS)
        configs[_RETENTION] = str(kept)
    if spec.purpose is Purpose.DEAD_LETTERS:
        configs[_MAX_BYTES] = str(_dead_letter_bytes(input_limit or KAFKA_MAX_MESSAGE_BYTES))
    if spec.purpose is Purpose.FEEDBACK:
        configs[_MAX_BYTES] = str(_dead_letter_bytes(input_limit or KAFKA_MAX_MESSAGE_BYTES) + _REPLAY_HEADERS)
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
