"""Whether all that Kafka has of each pipeline has a name of its own (design section 3)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumer.config.kafka import KafkaConfig

_LONGEST_TOPIC: Final = 249


def clashes(kafka: "KafkaConfig", known: Sequence[str], described: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names among ``described`` that no pipeline can have beside those of the ``known`` providers, and why."""
    topics = kafka.topics
    own = [topics.events, topics.dlq, topics.feedback, topics.history]
    others = Counter(map(_as_kafka_tells_apart, (*own, *(topic for name in known for topic in _topics(kafka, name)))))
    others.update(_as_kafka_tells_apart(topic) for name in described for topic in _topics(kafka, name))
    for name in described:
        for topic in _topics(kafka, name):
            if len(topic) > _LONGEST_TOPIC:
                yield name, f"a topic of this name would be {topic[:64]}…, which is longer than {_LONGEST_TOPIC}"
                break
            if others[_as_kafka_tells_apart(topic)] > 1:
                yield name, f"the topic {topic} would have two purposes, or a name like another's but for '.' and '_'"
                break


def _topics(kafka: "KafkaConfig", name: str) -> tuple[str, str, str]:
    return kafka.state_topic(name), kafka.keyed_topic(name), kafka.positions_topic(name)


def _as_kafka_tells_apart(topic: str) -> str:
    """Kafka refuses a topic whose name differs from another's in these only: its metrics would be the same."""
    return topic.replace(".", "_")
