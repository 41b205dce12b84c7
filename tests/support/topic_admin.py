"""An admin client of a broker that keeps its topics in memory: created, described, grown, refused."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from aiokafka.admin import NewPartitions, NewTopic
from aiokafka.errors import InvalidPartitionsError, KafkaError, UnknownTopicOrPartitionError

DEFAULTS = {"cleanup.policy": "delete", "max.message.bytes": "1048588", "retention.ms": "604800000"}
"""Kafka's."""


class TopicAdmin:
    """Has topics with ``counts`` of partitions and ``configs``.

    ``refusals`` are errors that it answers to whoever lets a topic grow. One that is also in ``lost`` was done all the
    same. ``grown`` are the topics that have grown, with their new counts, in this order.
    """

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts = dict(counts or {})
        self.configs: dict[str, dict[str, str]] = {}
        self.refusals: dict[str, KafkaError] = {}
        self.lost: set[str] = set()
        self.tried: list[str] = []
        self.grown: list[tuple[str, int]] = []
        self.leaderless_looks = 0
        """So many more times new partitions are seen without a leader."""

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def describe_cluster(self) -> Mapping[str, Any]:
        return {"brokers": [None]}

    async def describe_topics(self) -> list[dict[str, Any]]:
        leader = 1
        if self.grown and self.leaderless_looks > 0:
            self.leaderless_looks -= 1
            leader = -1
        return [
            {"topic": name, "partitions": [{"partition": number, "leader": leader} for number in range(count)]}
            for name, count in self.counts.items()
        ]

    async def describe_configs(self, resources: Any) -> list[Any]:
        found = [
            (0, "", 2, name, list({**DEFAULTS, **self.configs.get(name, {})}.items()))
            for name in (resource.name for resource in resources)
        ]
        return [SimpleNamespace(resources=found)]

    async def create_topics(self, topics: list[NewTopic]) -> Any:
        for topic in topics:
            self.counts[topic.name] = topic.num_partitions
            self.configs[topic.name] = dict(topic.topic_configs)
        return SimpleNamespace(topic_errors=[(topic.name, 0, None) for topic in topics])

    async def create_partitions(self, wanted: Mapping[str, NewPartitions], *, validate_only: bool = False) -> None:
        for name, new in wanted.items():
            if validate_only:
                self.tried.append(name)
            refusal = self.refusals.get(name)
            if refusal is not None and name not in self.lost:
                raise refusal
            if name not in self.counts:
                raise UnknownTopicOrPartitionError(f"Could not create partitions for {name}: None")
            if self.counts[name] >= new.total_count:
                raise InvalidPartitionsError(f"Could not create partitions for {name}: it has {self.counts[name]}")
            if not validate_only:
                self.counts[name] = new.total_count
                self.grown.append((name, new.total_count))
                if refusal is not None:
                    raise refusal
