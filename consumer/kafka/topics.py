"""The topics of design section 3: whether they are as they must be, and how they are made.

Topics are never created by asking about them: with ``auto.create.topics.enable`` a metadata request that names a topic
creates it, so all topics are listed and ours are looked up in the list.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

from consumer.config import Config
from consumer.kafka.clients import MAX_REQUEST_BYTES, KafkaClients, start_client, to_the_end
from consumer.kafka.topic_growth import fewer_than_input, outgrown
from consumer.kafka.topic_specs import (
    DAY_MS,
    FOR_EVER,
    HOUR_MS,
    KAFKA_MAX_MESSAGE_BYTES,
    MAX_AHEAD,
    MAX_BYTES,
    POLICY,
    PRODUCERS_TIME,
    RETENTION,
    TIME_TYPE,
    WHOLE_BATCH_BYTES,
    Partitions,
    Purpose,
    TopicSpec,
    topics_of,
)
from consumer.kafka.topics_there import topics_there
from providers.errors import UserError

DEFAULT_PARTITIONS = 6
"""How many partitions an events topic gets that we create: enough for one cluster of agents, and divisible by 2, 3 and
6."""

REPLICAS = 3
"""How many replicas a topic gets that we create, unless there are fewer brokers."""

_DEAD_LETTER_HEADERS = 64 * 1024
"""Room for our headers behind the original ones of a dead letter."""

_REPLAY_HEADERS = 1024
"""Room for our headers behind those of a dead letter that is replayed."""

_SETTLE_SECONDS = 0.1
_SETTLE_LOOKS = 150
_CONFIG_LOOKS = 20
"""How often we look for a topic that was just created (`_SETTLE_LOOKS`), and for its configs, which this user may have
no right to see (`_CONFIG_LOOKS`)."""

_ASK_SECONDS = 5.0
"""Time limit for a request about one topic while the service runs."""

_KAFKA_RETENTION_MS = 7 * DAY_MS
"""Kafka's default of ``retention.ms``, assumed where the broker does not give the value."""

_KEYED_MARGIN_MS = DAY_MS
"""How much longer than necessary a keyed topic that we create keeps its records. An existing one must have an hour more
than necessary: a broker looks for old records only now and then, so the input may keep its records a little longer."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """The topics as they are.

    ``problems`` keep the service from starting. ``outgrown`` are topics that have not as many partitions as their
    input: one of the two has to grow, and until then, the partitions that both have go on. Each sentence of these two
    names the topic and the fix. ``notes`` stop nothing, but should be put right. ``unknown`` are the settings that the
    broker does not give; Kafka's defaults are assumed. ``found`` has the number of partitions of every topic of ours
    that exists. ``partitions`` is that of the events topic (0 without one; in `member_topics`: that of the member's
    input). ``dead_letter_limit`` is the size in bytes of the largest batch that may be sent to the dead-letter topic.
    ``advice`` is what `member_topics` says. ``times_are_checked``: the brokers take no record of the input that is more
    than an hour ahead of their own clocks (False: they do, or do not say).
    """

    problems: tuple[str, ...]
    unknown: tuple[str, ...]
    found: Mapping[str, int]
    partitions: int
    dead_letter_limit: int
    outgrown: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    times_are_checked: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Creation:
    """The result of `create_topics`: the topics that it created, and all topics as they are now."""

    created: tuple[str, ...]
    replication_factor: int
    report: TopicReport


class TooFewBrokers(UserError):
    """The cluster has fewer brokers than the replicas that a topic shall have: one line for the user."""


async def check_topics(admin: AIOKafkaAdminClient, config: Config) -> TopicReport:
    """Look at the topics. ``admin`` must be started. Nothing is created, not even where brokers create topics by
    themselves.

    Raises `KafkaError`, `OSError` or `TimeoutError` if Kafka does not answer.
    """
    return _report(topics_of(config), await _look(admin, topics_of(config)))


async def member_topics(admin: AIOKafkaAdminClient, config: Config, follower: TopicSpec) -> TopicReport:
    """The topics that one member needs: ``follower``, its input, and those that all members share.

    ``partitions`` of the report is the input's number. ``problems`` are those that stop the member or endanger its
    state. ``advice`` are those that would keep a member from starting but do not hinder one that runs, and other things
    that should be put right. Raises as `check_topics`.
    """
    specs = topics_of(config)
    seen = await _look(admin, specs)
    own = [spec for spec in specs if spec.name in (follower.name, follower.input) or spec.partitions is Partitions.ANY]
    report = _report(specs, seen, own)
    grave = [spec for spec in own if spec.name == follower.name or spec.name not in seen.partitions]
    problems = _report(specs, seen, grave).problems
    advice = (
        *(problem for problem in report.problems if problem not in problems),
        *(sentence for spec in own for sentence in _not_for_hand_overs(spec, seen)),
    )
    return replace(
        report,
        problems=problems,
        advice=advice,
        partitions=seen.partitions.get(follower.input, 0),
        times_are_checked=seen.times_are_checked(follower.input),
    )


async def create_topics(
    admin: AIOKafkaAdminClient, config: Config, partitions: int | None, replication_factor: int | None
) -> Creation:
    """Create the topics that are missing, and leave alone those that exist. A topic that could not be created is among
    the problems of the report.

    ``partitions`` is for the events topic (None: `DEFAULT_PARTITIONS`). A ``replication_factor`` of None means
    `REPLICAS`, or the number of brokers if that is less. Raises as `check_topics`, and `TooFewBrokers` before anything
    is created.
    """
    specs = topics_of(config)
    brokers = len((await admin.describe_cluster())["brokers"])
    if replication_factor is None:
        replication_factor = min(REPLICAS, brokers)
    seen = await _look(admin, specs)
    if replication_factor > brokers and any(spec.name not in seen.partitions for spec in specs):
        there = "1 broker" if brokers == 1 else f"{brokers} brokers"
        raise TooFewBrokers(f"the cluster has {there}, and each replica needs one of its own: nothing was created")
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
            break  # the other topics depend on this one, or would fail in the same way
        created.append(spec.name)
        if spec is specs[0]:
            seen = await _settled(admin, specs, created)
    seen = await _settled(admin, specs, created)
    # After a failure, the topics that were not tried are not reported as missing: the failure explains that.
    of = [spec for spec in specs if spec.name in seen.partitions] if failures else None
    report = _report(specs, seen, of)
    return Creation(tuple(created), replication_factor, replace(report, problems=(*failures, *report.problems)))


# what there is


@dataclass(frozen=True, slots=True)
class _Seen:
    """Our topics that exist: their numbers of partitions, and their configs as far as the broker gives them."""

    partitions: Mapping[str, int]
    configs: Mapping[str, Mapping[str, str]]

    def policy(self, topic: str) -> set[str] | None:
        text = self.configs.get(topic, {}).get(POLICY)
        return None if text is None else {part.strip() for part in text.split(",")}

    def max_bytes(self, topic: str) -> int | None:
        text = self.configs.get(topic, {}).get(MAX_BYTES)
        return int(text) if text is not None and text.isdecimal() else None

    def retention_ms(self, topic: str) -> int | None:
        """The topic's ``retention.ms``: -1 means for ever, None that the broker does not give it."""
        text = self.configs.get(topic, {}).get(RETENTION)
        return None if text is None else int(text)

    def times_are_checked(self, topic: str) -> bool:
        """Whether the producers' times are kept, and brokers refuse those that are more than an hour ahead of their
        own."""
        configs = self.configs.get(topic, {})
        bounds = [text for name in MAX_AHEAD if (text := configs.get(name)) is not None]
        return configs.get(TIME_TYPE) == PRODUCERS_TIME and any(int(text) <= HOUR_MS for text in bounds)


async def _look(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> _Seen:
    names = {spec.name for spec in specs}
    there = await topics_there(admin)
    partitions = {topic: len(found) for topic, found in there.items() if topic in names and found}
    return _Seen(partitions, await _configs_of(admin, list(partitions)))


async def _configs_of(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The configs of these topics as the broker gives them. A topic is missing if this user may not see its configs."""
    if not names:
        return {}
    asked = dict.fromkeys((POLICY, MAX_BYTES, RETENTION, TIME_TYPE, *MAX_AHEAD))
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
    """The ``max.message.bytes`` of a topic now; None if the broker does not give it, or not in time.

    It is at most `MAX_REQUEST_BYTES`.
    """
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
    """Look again until the topics that were just created are seen: brokers learn of a topic one after another."""
    seen = await _look(admin, specs)
    for wait in range(_SETTLE_LOOKS):
        is_there = all(name in seen.partitions for name in created)
        is_told = wait >= _CONFIG_LOOKS or all(name in seen.configs for name in created)
        if is_there and is_told:
            break
        await asyncio.sleep(_SETTLE_SECONDS)
        seen = await _look(admin, specs)
    return seen  # topics and configs that are still not seen are reported as missing, or as unknown


# whether it is as it must be


def _report(specs: Sequence[TopicSpec], seen: _Seen, of: Sequence[TopicSpec] | None = None) -> TopicReport:
    """The report about the topics ``of`` only (None: about all)."""
    told = specs if of is None else of
    events, dlq = specs[0].name, specs[-1].name
    dead_letter_limit = min(seen.max_bytes(dlq) or KAFKA_MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES)
    return TopicReport(
        problems=tuple(problem for spec in told for problem in _problems(spec, events, seen)),
        unknown=tuple(
            f"topic {name}: the broker does not tell its {config}"
            for name in seen.partitions
            for config in ((MAX_BYTES,) if name == events else (POLICY, MAX_BYTES))
            if config not in seen.configs.get(name, {})
        ),
        found=seen.partitions,
        partitions=seen.partitions.get(events, 0),
        dead_letter_limit=dead_letter_limit,
        outgrown=tuple(sentence for spec in told for sentence in outgrown(spec, specs, seen.partitions)),
        notes=(
            *(_missing(spec) for spec in told if spec.without and spec.name not in seen.partitions),
            *(sentence for spec in told for sentence in fewer_than_input(spec, specs, seen.partitions)),
            *(sentence for spec in told for sentence in _not_for_hand_overs(spec, seen)),
        ),
    )


def _problems(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    if spec.name not in seen.partitions:
        if not spec.without:
            yield _missing(spec)
        return
    yield from _wrong_policy(spec, seen)
    if spec.purpose is not Purpose.FEEDBACK:
        yield from _kept_too_short(spec, seen)
    yield from _too_small(spec, events, seen)


def _missing(spec: TopicSpec) -> str:
    without = f", and without it {spec.without}" if spec.without else ""
    return (
        f"topic {spec.name} does not exist, or this user may not see it{without}: "
        "run `clawdstrike-alerting topics create --config …`"
    )


_LOSS = {
    Purpose.STATE: "open alerts would be forgotten",
    Purpose.POSITIONS: "how far the events are forwarded would be forgotten",
    Purpose.KEYED: "events with the same key would be lost",
    Purpose.FEEDBACK: "commands about the same alert would be lost",
    Purpose.HISTORY: "all but the last step of each alert would be lost",
    Purpose.DEAD_LETTERS: "dead letters with the same key would be lost",
    Purpose.SILENCES: "silences would end before their time",
}
"""What would be lost if a topic of ours had another ``cleanup.policy`` than we create it with. (The policy of the
events topic is for its owner to decide.)"""


def _wrong_policy(spec: TopicSpec, seen: _Seen) -> Iterator[str]:
    policy, loss = seen.policy(spec.name), _LOSS.get(spec.purpose)
    if policy is None or loss is None:
        return
    wanted = spec.configs[POLICY]
    is_right = policy == {"compact"} if wanted == "compact" else "compact" not in policy
    if not is_right:
        yield (
            f"topic {spec.name}: cleanup.policy is {','.join(sorted(policy))} and must be {wanted}, or {loss}: "
            f"{_alter(spec.name, POLICY, wanted)}"
        )


def _not_for_hand_overs(spec: TopicSpec, seen: _Seen) -> Iterator[str]:
    """Sentences that say why an alert that is handed over to another partition could be lost, or not be written. These
    keep nobody from starting, since alerts are handed over only when topics grow."""
    if spec.purpose is not Purpose.FEEDBACK or spec.name not in seen.partitions:
        return
    yield from _kept_too_short(spec, seen)
    limit = seen.max_bytes(spec.name)
    if limit is not None and limit < spec.largest_batch:
        yield (
            f"topic {spec.name}: max.message.bytes is {limit} and must be at least {spec.largest_batch}, to hold every "
            f"alert that is handed over to another partition: {_alter(spec.name, MAX_BYTES, str(spec.largest_batch))}"
        )


def _kept_too_short(spec: TopicSpec, seen: _Seen) -> Iterator[str]:
    kept, needed = seen.retention_ms(spec.name), _needed_ms(spec, seen)
    if kept is None or kept == FOR_EVER or (needed != FOR_EVER and kept >= needed):
        return
    length = "must be unlimited" if needed == FOR_EVER else f"must be at least {needed}"
    if spec.purpose is Purpose.KEYED:
        why = f"the retention of {spec.input} and delivery.give_up_after together, and an hour"
    else:
        why = "delivery.give_up_after: so long an alert that is handed over to another partition can wait in it"
    yield (
        f"topic {spec.name}: retention.ms is {kept} and {length}, {why}: {_alter(spec.name, RETENTION, str(needed))}"
    )


def _needed_ms(spec: TopicSpec, seen: _Seen) -> int:
    """The shortest allowed ``retention.ms`` of a topic; 0 if any value will do.

    Forwarded records keep their timestamps, so the record that is removed soonest is one that was already as old as the
    input's retention allows when it was forwarded.
    """
    if spec.purpose is not Purpose.KEYED:
        return FOR_EVER if spec.kept_ms is None else spec.kept_ms
    # Where the broker does not give the input's retention, nothing can be required of the topic behind the input.
    return _kept_ms(spec, seen.retention_ms(spec.input) or 0, HOUR_MS)


def _kept_ms(spec: TopicSpec, input_retention_ms: int, margin_ms: int) -> int:
    """How many milliseconds a topic has to keep its records, if its input keeps them for ``input_retention_ms``."""
    if spec.kept_ms is None or input_retention_ms == FOR_EVER:
        return FOR_EVER
    return input_retention_ms + spec.kept_ms + margin_ms


def _too_small(spec: TopicSpec, events: str, seen: _Seen) -> Iterator[str]:
    limit, input_limit = seen.max_bytes(spec.name), seen.max_bytes(events)
    if limit is None:
        return
    needed, why = WHOLE_BATCH_BYTES if spec.purpose is Purpose.FEEDBACK else spec.largest_batch, "to hold whole batches"
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
            f"{_alter(spec.name, MAX_BYTES, str(needed))}"
        )
    if spec.purpose is Purpose.EVENTS and limit > MAX_REQUEST_BYTES:
        yield (
            f"topic {spec.name}: max.message.bytes is {limit}, and a record of more than {MAX_REQUEST_BYTES} could not "
            f"be dead-lettered: {_alter(spec.name, MAX_BYTES, str(MAX_REQUEST_BYTES))}"
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
        configs[RETENTION] = str(kept)
    if spec.purpose is Purpose.DEAD_LETTERS:
        configs[MAX_BYTES] = str(_dead_letter_bytes(input_limit or KAFKA_MAX_MESSAGE_BYTES))
    if spec.purpose is Purpose.FEEDBACK:
        replay = _dead_letter_bytes(input_limit or KAFKA_MAX_MESSAGE_BYTES) + _REPLAY_HEADERS
        configs[MAX_BYTES] = str(max(replay, spec.largest_batch))
    if spec.purpose is not Purpose.EVENTS and replication_factor >= REPLICAS:
        configs["min.insync.replicas"] = "2"  # a record that only one broker has can be lost with that broker
    return configs


def _dead_letter_bytes(input_limit: int) -> int:
    return max(KAFKA_MAX_MESSAGE_BYTES, input_limit) + _DEAD_LETTER_HEADERS


async def _create(admin: AIOKafkaAdminClient, new: NewTopic) -> str | None:
    """Create a topic. Returns why that failed, None if the topic exists now, whoever has created it."""
    response = await admin.create_topics([new])
    for _, error_code, *rest in response.topic_errors:
        error: Any = for_code(error_code)
        if error_code and error is not TopicAlreadyExistsError:
            return f"topic {new.name} cannot be created: {(rest and rest[0]) or error.__name__}"
    return None
