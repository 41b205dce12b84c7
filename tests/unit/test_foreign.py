"""Whose the topics of state are: found at the end of each partition, told with topic, group and fix (design
section 17)."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from consumer.config import Config, parse_config
from consumer.kafka.foreign import foreign_topics, groups_of
from consumer.kafka.reading import LAST_OFFSETS, last_checkpoints
from state.records import CHECKPOINT_KEY, Position, encode_position

STATE = "clawdstrike.alerting.state.pagerduty"
CHECKPOINT = "checkpoint"
OTHER = "alert"
MARKER = None
"""What is at an offset of a log: a record of a key, or nothing that a reader is given."""


class Reader:
    """A reader of these logs; ``read`` counts what it was given."""

    def __init__(self, logs: Mapping[int, Sequence[str | None]], values: Mapping[int, bytes]) -> None:
        self._logs, self._values = logs, values
        self._positions: dict[TopicPartition, int] = {}
        self.read = 0
        self.error: Exception | None = None

    async def start(self) -> None:
        if self.error is not None:
            raise self.error

    async def stop(self) -> None:
        pass

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset

    def pause(self, *partitions: TopicPartition) -> None:
        pass

    resume = pause

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {one: len(self._logs[one.partition]) for one in partitions}

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        found: dict[TopicPartition, list[Any]] = {}
        for one in partitions:
            log, begin = self._logs[one.partition], self._positions[one]
            found[one] = [
                SimpleNamespace(
                    topic=one.topic,
                    partition=one.partition,
                    offset=offset,
                    key=CHECKPOINT_KEY if log[offset] == CHECKPOINT else b"key",
                    value=self._values.get(one.partition),
                )
                for offset in range(begin, len(log))
                if log[offset] is not MARKER
            ]
            self._positions[one] = len(log)
            self.read += len(found[one])
        return found


def of(group: str | None) -> bytes:
    return encode_position(Position("events", 0, 7, group=group))


async def checkpoints(log: Sequence[str | None], value: bytes = of("g")) -> tuple[int, int]:
    """How many are found, and how many records are read for that."""
    reader: Any = Reader({0: log}, {0: value})
    return len(await last_checkpoints(reader, [TopicPartition("state", 0)])), reader.read


async def test_it_is_found_at_the_end_also_behind_what_was_aborted() -> None:
    whole = [OTHER] * 5000 + [CHECKPOINT, MARKER]
    assert await checkpoints([]) == (0, 0)
    assert await checkpoints([CHECKPOINT, MARKER]) == (1, 1)
    near, far = LAST_OFFSETS
    assert await checkpoints(whole) == (1, near - 1)
    found, read = await checkpoints(whole + [MARKER] * 100)
    assert (found, read) == (1, far - 101)
    found, read = await checkpoints(whole + [MARKER] * 1000)
    assert (found, read) == (1, 5001)
    assert await checkpoints([OTHER] * 20) == (0, 8 + 20), "of one without any all is read, once"
    assert (await checkpoints(whole, b"not one"))[0] == 0, "that stops its task, which says so"


CONFIG: Config = parse_config(
    f"kafka: {{group_id: blue}}\nexporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}",
    {},
    lambda path: path,
)


async def told(reader: Reader) -> tuple[list[str], str | None]:
    clients: Any = SimpleNamespace(reader=lambda: reader)
    return await foreign_topics(clients, CONFIG, {STATE: 3})


@pytest.mark.parametrize(
    ("groups", "is_told"),
    [
        ([None, None, None], False),  # of a release that did not say
        (["blue.pagerduty"] * 3, False),
        (["blue.pagerduty", None, "green.pagerduty"], True),
        (["green.pagerduty"] * 3, True),
    ],
)
async def test_the_state_of_another_group_is_told_in_one_line(groups: list[str | None], is_told: bool) -> None:
    log = [OTHER, CHECKPOINT, MARKER]
    reader = Reader(dict.fromkeys(range(3), log), {number: of(group) for number, group in enumerate(groups)})
    line = (
        f"topic {STATE} belongs to consumer group green.pagerduty, and this service's is blue.pagerduty: give each "
        "service topics of its own (kafka.topics.state, keyed and feedback), or set kafka.group_id back"
    )
    assert await told(reader) == ([line] if is_told else [], None)


async def test_a_topic_that_does_not_answer_keeps_nobody_from_starting() -> None:
    reader = Reader({}, {})
    reader.error = KafkaError("no leader")
    wrong, unknown = await told(reader)
    assert wrong == []
    assert unknown is not None
    assert "no leader" in unknown


@pytest.mark.parametrize("event_key", ["session_id", "tenant_id"])
def test_the_positions_of_a_stage_are_its_own_groups(event_key: str) -> None:
    config = parse_config(
        f"kafka: {{group_id: blue, event_key: {event_key}}}\n"
        f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}",
        {},
        lambda path: path,
    )
    positions = {"clawdstrike.alerting.keyed.pagerduty.positions": "blue.pagerduty-repartition"}
    assert groups_of(config) == {STATE: "blue.pagerduty", **(positions if event_key == "tenant_id" else {})}
