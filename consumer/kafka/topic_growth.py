"""Adds partitions while the service runs: how many each topic gets, and in which order (design section 17).

Task *i* keeps its alerts, or its position, in partition *i* of a topic of ours. So that topic grows before its input:
every input partition then has its counterpart at any time. Kafka cannot remove a partition.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from consumer.kafka.topic_specs import Partitions, Purpose, TopicSpec
from consumer.kafka.topics_there import topics_there
from providers.errors import Mistake, UserError

_SETTLE_SECONDS = 0.1
_SETTLE_LOOKS = 150
"""How often new partitions are looked for: brokers learn of them one after another, and each needs a leader."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A topic that gets more partitions: the number that it has ``now``, and the number that it will have ``then``."""

    topic: str
    now: int
    then: int


class FewerThanNow(Mistake):
    """A topic has more partitions than it should get: one line for the user."""


class GrowthRefused(UserError):
    """Kafka does not give a topic more partitions: one line for the user."""

    def __init__(self, text: str, *, not_allowed: str | None = None) -> None:
        super().__init__(text)
        self.not_allowed = not_allowed
        """The topic that this user has no right to alter, if that is the reason."""


# how many


def growing(specs: Sequence[TopicSpec]) -> list[str]:
    """The topics whose numbers of partitions depend on one another, each input before the topics that follow it."""
    return [spec.name for spec in specs if spec.partitions is not Partitions.ANY]


def growths(specs: Sequence[TopicSpec], counts: Mapping[str, int], partitions: int) -> list[Growth]:
    """The topics that have to grow, in this order, so that the events topic gets ``partitions``; empty if none has to.

    ``counts`` has the number of partitions of each topic that is `growing`. A topic for which any number will do gets
    as many as its input, or as many as it or one of its own followers has now, if that is more. Raises `FewerThanNow`
    if a topic would have to lose partitions.
    """
    if partitions < (fewest := least(specs, counts)):
        topic = next(name for name in _of_one_number(specs) if counts[name] == fewest)
        raise FewerThanNow(
            f"topic {topic} has {fewest} partitions, and none can be removed: {fewest} or more are possible"
        )
    then: dict[str, int] = {}
    for spec in specs:
        match spec.partitions:
            case Partitions.CHOSEN:
                then[spec.name] = partitions
            case Partitions.LIKE_INPUT:
                own = (counts[name] for name in (spec.name, *_followers(specs, spec.name)))
                then[spec.name] = max(then[spec.input], *own)
            case Partitions.AS_INPUT:
                then[spec.name] = then[spec.input]
            case Partitions.ANY:
                pass
    return [Growth(name, counts[name], then[name]) for name in reversed(growing(specs)) if counts[name] < then[name]]


def least(specs: Sequence[TopicSpec], counts: Mapping[str, int]) -> int:
    """The fewest partitions that the events topic can get: the most that it, or a topic that must have as many, has
    now."""
    return max(counts.get(name, 0) for name in _of_one_number(specs))


def _of_one_number(specs: Sequence[TopicSpec]) -> list[str]:
    """The events topic, and the topics that must have as many partitions as the events topic."""
    events = next(spec.name for spec in specs if spec.partitions is Partitions.CHOSEN)
    return [events, *_followers(specs, events)]


def _followers(specs: Sequence[TopicSpec], topic: str) -> list[str]:
    return [spec.name for spec in specs if spec.partitions is Partitions.AS_INPUT and spec.input == topic]


# what is said of the numbers that there are


def outgrown(spec: TopicSpec, specs: Sequence[TopicSpec], counts: Mapping[str, int]) -> Iterator[str]:
    """A sentence, with the fix, if a topic must have as many partitions as its input and has not."""
    if spec.partitions is not Partitions.AS_INPUT or spec.name not in counts or spec.input not in counts:
        return
    count, wanted = counts[spec.name], counts[spec.input]
    if count == wanted:
        return
    fix = _grow(specs, counts)
    if count > wanted:
        loss = "its open alerts are forgotten"
        if spec.purpose is Purpose.POSITIONS:
            loss = "the stage goes on from what its group has committed"
        fix = (
            f"give {spec.input} {count} partitions too ({fix}), or stop the service, delete "
            f"{spec.name} ({loss}) and run `clawdstrike-alerting topics create --config …`"
        )
    yield f"topic {spec.name} has {count} partitions, its input {spec.input} has {wanted}: {fix}"


def fewer_than_input(spec: TopicSpec, specs: Sequence[TopicSpec], counts: Mapping[str, int]) -> Iterator[str]:
    """A note, if a topic for which any number of partitions will do has fewer than its input."""
    if spec.partitions is not Partitions.LIKE_INPUT or spec.name not in counts or spec.input not in counts:
        return
    count, more = counts[spec.name], counts[spec.input]
    if count < more:
        yield (
            f"topic {spec.name} has {count} partitions, its input {spec.input} has {more}: no more than {count} "
            f"members share the work behind it; {_grow(specs, counts)} gives it as many"
        )


def _grow(specs: Sequence[TopicSpec], counts: Mapping[str, int]) -> str:
    return f"`clawdstrike-alerting topics grow --config … --partitions {least(specs, counts)}`"


# how it is done


async def try_growths(admin: AIOKafkaAdminClient, planned: Sequence[Growth]) -> None:
    """Ask the broker whether it would add these partitions; none is added.

    Raises `GrowthRefused` if the broker would not, and `OSError` or `TimeoutError` if it does not answer.
    """
    for growth in planned:
        try:
            await admin.create_partitions({growth.topic: NewPartitions(growth.then)}, validate_only=True)
        except KafkaError as error:
            raise _refused(growth, error) from error


async def grow(
    admin: AIOKafkaAdminClient, planned: Sequence[Growth], grown: Callable[[Growth], None] = lambda growth: None
) -> None:
    """Let these topics grow, one after the other: each has its new partitions, with leaders, before the next begins.

    ``grown`` is called after each. Topics that have grown before an error stay grown, and the growth can be repeated at
    any time. Raises `GrowthRefused` if a topic has not grown, and `KafkaError`, `OSError` or `TimeoutError` if Kafka
    does not answer as it should.
    """
    for growth in planned:
        refusal: KafkaError | None = None
        try:
            await admin.create_partitions({growth.topic: NewPartitions(growth.then)})
        except KafkaError as error:  # somebody else may have done it meanwhile, or the answer was lost
            refusal = error
        looks = _SETTLE_LOOKS if refusal is None or refusal.retriable else 1
        if not await _has_grown(admin, growth, looks):
            raise _refused(growth, refusal) from refusal
        grown(growth)


async def _has_grown(admin: AIOKafkaAdminClient, growth: Growth, looks: int) -> bool:
    for look in range(looks):
        if look:
            await asyncio.sleep(_SETTLE_SECONDS)
        partitions = (await topics_there(admin)).get(growth.topic, ())
        if len(partitions) >= growth.then and all(partition["leader"] >= 0 for partition in partitions):
            return True
    return False


def _refused(growth: Growth, error: KafkaError | None) -> GrowthRefused:
    topic, then = growth.topic, growth.then
    match error:
        case None:
            return GrowthRefused(f"topic {topic}: its {then} partitions have not come up; look at the brokers")
        case TopicAuthorizationFailedError() | ClusterAuthorizationFailedError():
            return GrowthRefused(f"topic {topic}: this user may not alter it", not_allowed=topic)
        case InvalidReplicationFactorError():
            return GrowthRefused(
                f"topic {topic} cannot get {then} partitions with as many replicas as it has, until more brokers are "
                f"up: {_reason(error, topic)}"
            )
        case _:
            return GrowthRefused(f"topic {topic} cannot get {then} partitions: {_reason(error, topic)}")


def _reason(error: KafkaError, topic: str) -> str:
    """What the broker said, without the words that the client puts before it."""
    said = " ".join(str(error.args[0] if error.args else "").split())
    said = said.removeprefix(f"Could not create partitions for {topic}: ")
    return said if said not in ("", "None") else type(error).__name__
