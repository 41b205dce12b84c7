"""Which topic has to grow beside an input that has got more partitions."""

from typing import Any

import pytest
from aiokafka.errors import KafkaError

from consumer.growth import Growth
from consumer.topics import Partitions, Purpose, TopicSpec

STATE = TopicSpec("state", Purpose.STATE, Partitions.AS_INPUT, input="events")
SENTENCE = (
    "topic state has 1 partitions, its input events has 3: "
    "`kafka-topics.sh --bootstrap-server … --alter --topic state --partitions 3`"
)


class Admin:
    """Lists these topics; ``asked`` is how often."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts
        self.asked = 0
        self.error: Exception | None = None

    async def describe_topics(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [{"topic": name, "partitions": [None] * count} for name, count in self.counts.items()]


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.said.append(event)


def watch(admin: Admin) -> tuple[Growth, Log]:
    log = Log()
    return Growth(admin, STATE, log), log  # type: ignore[arg-type]


async def test_kafka_is_asked_only_when_the_number_has_changed() -> None:
    admin = Admin(events=2, state=2, other=7)
    growth, log = watch(admin)
    for known in (0, 2, 2, 2):  # 0: nothing is known yet
        await growth.look(known)
    assert (admin.asked, growth.outgrown, log.said) == (1, (), [])


async def test_it_is_told_once_as_an_error_and_stays_told_until_the_topic_has_grown() -> None:
    admin = Admin(events=1, state=1)
    growth, log = watch(admin)
    await growth.look(1)
    admin.counts["events"] = 3
    for _ in range(3):
        await growth.look(3)
    assert growth.outgrown == (SENTENCE,)
    assert log.said == ["topic_outgrown"]
    admin.counts["state"] = 3
    for _ in range(3):
        await growth.look(3)
    assert growth.outgrown == ()
    assert log.said == ["topic_outgrown", "topic_has_grown"]
    assert admin.asked == 1 + 3 + 1


async def test_a_broker_that_has_not_heard_of_it_yet_is_asked_again() -> None:
    admin = Admin(events=1, state=1)
    growth, _ = watch(admin)
    await growth.look(3)
    admin.counts["events"] = 3
    await growth.look(3)
    assert growth.outgrown == (SENTENCE,)


@pytest.mark.parametrize("error", [KafkaError("no broker"), TimeoutError(), ConnectionError()])
async def test_what_was_told_stays_while_kafka_does_not_answer(error: Exception) -> None:
    admin = Admin(events=3, state=1)
    growth, log = watch(admin)
    await growth.look(3)
    admin.error = error
    await growth.look(3)
    assert growth.outgrown == (SENTENCE,)
    assert log.said == ["topic_outgrown", "topics_unknown"]
