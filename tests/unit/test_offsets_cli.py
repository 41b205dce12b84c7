"""``offsets rewind|skip``: what is planned, what is asked, what is said, without Kafka."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata, OffsetAndTimestamp

import consumer.cli.offsets
import consumer.cli.with_kafka
import consumer.group.offset_orders
import consumer.kafka.reading
from consumer.cli.main import main
from consumer.group.offset_orders import (
    Direction,
    Group,
    Move,
    NamedOffset,
    moves,
    order,
    positions_of,
    require_no_members,
    targets_of,
)
from consumer.input.beginning import Fit, Look
from consumer.input.commit_metadata import ORDER_METADATA
from consumer.kafka.startup import StartupError
from consumer.kafka.watermarks import Watermarks
from state.anchors import Anchor, Anchors
from state.records import CHECKPOINT_KEY, Position, encode_position

A, B = TopicPartition("clawdstrike.events", 0), TopicPartition("clawdstrike.events", 1)
STATE_A, STATE_B = TopicPartition("state", 0), TopicPartition("state", 1)
GROUP = Group("the-group", [A, B], [STATE_A, STATE_B])

CONFIG = """
kafka: {bootstrap_servers: "127.0.0.1:1", startup_timeout: 1s}
exporters: {alerting: {pagerduty: {routing_key: 0123456789abcdef0123456789abcdef, api_endpoint: "http://127.0.0.1:1"}}}
"""


def test_a_rewind_moves_nothing_forward_and_a_skip_nothing_back() -> None:
    positions, targets = {A: 10, B: 3}, {A: 5, B: 5}
    assert moves(Direction.REWIND, positions, targets) == [Move(A, 10, 5)]
    assert moves(Direction.SKIP, positions, targets) == [Move(B, 3, 5)]
    assert moves(Direction.SKIP, {A: 5}, {A: 5}) == []
    assert [Move(A, 10, 5).records, Move(B, 3, 5).records] == [5, 2]


class Kafka:
    """A broker of one group, its input and its checkpoints, as the functions here see it."""

    def __init__(self) -> None:
        self.begins = {A: 2, B: 0, STATE_A: 0, STATE_B: 0}
        self.ends = {A: 20, B: 30, STATE_A: 1000, STATE_B: 0}
        self.committed = {A: OffsetAndMetadata(7, "m"), B: OffsetAndMetadata(-1, "")}
        self.records: dict[TopicPartition, list[Any]] = {}
        self.state = "Empty"
        self.recreated: set[TopicPartition] = set()
        self.ordered: Mapping[TopicPartition, OffsetAndMetadata] = {}
        self.refusal: Exception | None = None
        self.asked: Mapping[TopicPartition, int] = {}
        self._at: dict[TopicPartition, int] = {}

    # clients

    def reader(self, isolation_level: str = "read_committed") -> "Kafka":
        return self

    def member(self, group: str) -> "Kafka":
        assert group == GROUP.name
        return self

    def admin(self) -> "Kafka":
        return self

    async def watermarks(self, reader: object, partitions: Sequence[TopicPartition]) -> Any:
        return {tp: Watermarks(self.ends[tp], self.ends[tp]) for tp in partitions}

    async def list_consumer_group_offsets(self, group: str, partitions: Sequence[TopicPartition]) -> Any:
        return {tp: self.committed[tp] for tp in partitions}

    async def describe_consumer_groups(self, groups: Sequence[str]) -> Any:
        return [SimpleNamespace(groups=[(0, groups[0], self.state, "consumer", "", [])])]

    # a consumer

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        pass

    def pause(self, *partitions: TopicPartition) -> None:
        pass

    resume = pause

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at[partition] = offset

    async def position(self, partition: TopicPartition) -> int:
        return self._at[partition]

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> Any:
        return {tp: self.begins[tp] for tp in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Any:
        return {tp: self.ends[tp] for tp in partitions}

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> Any:
        self.asked = times
        return {A: OffsetAndTimestamp(1, 0), B: None}

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> Any:
        found = {}
        for tp in partitions:
            found[tp] = [one for one in self.records.get(tp, []) if one.offset >= self._at[tp]]
            self._at[tp] = self.ends[tp]
        return found

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.ordered = offsets

    def checkpoint(self, partition: TopicPartition, offset: int, position: Position) -> None:
        self.records.setdefault(partition, []).append(
            SimpleNamespace(
                key=CHECKPOINT_KEY,
                value=encode_position(position),
                offset=offset,
                topic=partition.topic,
                partition=partition.partition,
            )
        )


class _Look:
    """What is seen of a partition in which every anchor fits, unless its log is another."""

    def __init__(self, kafka: Kafka, partition: TopicPartition) -> None:
        self._kafka, self._partition = kafka, partition

    async def look(self, position: int, anchors: Anchors) -> Look:
        fit = Fit.OTHER if self._partition in self._kafka.recreated else Fit.FITS
        return Look(self._kafka.begins[self._partition], self._kafka.ends[self._partition], [fit] * len(anchors))


@pytest.fixture(autouse=True)
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def looking(kafka: Kafka, partitions: Sequence[TopicPartition]) -> AsyncIterator[list[_Look]]:
        yield [_Look(kafka, partition) for partition in partitions]

    async def all_watermarks(reader: Kafka, partitions: Sequence[TopicPartition]) -> Any:
        return await reader.watermarks(reader, partitions)

    monkeypatch.setattr(consumer.group.offset_orders, "looking", looking)
    monkeypatch.setattr(consumer.kafka.reading, "all_watermarks", all_watermarks)


async def _positions(kafka: Kafka) -> Any:
    return await positions_of(kafka, kafka, GROUP)  # type: ignore[arg-type]


async def test_a_position_is_the_checkpoints_else_the_groups_else_the_beginning() -> None:
    kafka = Kafka()
    assert await _positions(kafka) == {A: 7, B: 0}
    kafka.checkpoint(STATE_A, 990, Position(A.topic, 0, 9))
    kafka.checkpoint(STATE_A, 999, Position(A.topic, 0, 11))
    assert await _positions(kafka) == {A: 11, B: 0}


async def test_a_topic_that_was_created_anew_is_skipped_from_its_beginning() -> None:
    kafka = Kafka()
    kafka.checkpoint(STATE_A, 999, Position(A.topic, 0, 500, anchors=(Anchor(499, 0, b"8 bytes."),)))
    kafka.recreated = {A}
    positions = await _positions(kafka)
    assert positions == {A: 2, B: 0}
    assert moves(Direction.SKIP, positions, {A: 20, B: 0}) == [Move(A, 2, 20)]


async def test_a_checkpoint_far_from_the_end_is_found_too() -> None:
    kafka = Kafka()
    kafka.checkpoint(STATE_A, 5, Position(A.topic, 0, 11))
    assert await _positions(kafka) == {A: 11, B: 0}


async def test_a_checkpoint_of_another_topic_is_none() -> None:
    kafka = Kafka()
    kafka.checkpoint(STATE_A, 999, Position("keyed", 0, 11))
    assert await _positions(kafka) == {A: 7, B: 0}


async def test_targets() -> None:
    kafka: Any = Kafka()
    assert await targets_of(kafka, GROUP, NamedOffset.EARLIEST) == {A: 2, B: 0}
    assert await targets_of(kafka, GROUP, NamedOffset.LATEST) == {A: 20, B: 30}
    assert await targets_of(kafka, GROUP, 5) == {A: 5, B: 5}
    assert await targets_of(kafka, GROUP, 1_700_000_000.5) == {A: 2, B: 30}  # of one nothing is younger
    assert kafka.asked == {A: 1_700_000_000_500, B: 1_700_000_000_500}
    with pytest.raises(StartupError, match=r"^--to 1: topic .*events, partition 0 has offsets from 2 to 20$"):
        await targets_of(kafka, GROUP, 1)


async def test_an_order_says_that_it_is_one() -> None:
    kafka: Any = Kafka()
    await order(kafka, GROUP, [Move(A, 7, 20)])
    assert kafka.ordered == {A: OffsetAndMetadata(20, ORDER_METADATA)}


async def test_a_group_with_members_is_left_alone() -> None:
    kafka: Any = Kafka()
    await require_no_members(kafka, GROUP)
    kafka.state = "Stable"
    with pytest.raises(StartupError, match=r"^group the-group has members: stop the service first"):
        await require_no_members(kafka, GROUP)
    kafka.refusal = CommitFailedError("the group has one by now")
    with pytest.raises(StartupError, match="has members"):
        await order(kafka, GROUP, [Move(A, 7, 20)])


# the command


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    GROUP_NAME = "clawdstrike-alerting.pagerduty"
    monkeypatch.setattr(consumer.cli.with_kafka, "KafkaClients", lambda config: kafka)

    async def partitions(clients: object, act: object) -> Any:
        return {
            "clawdstrike.events": [A, B],
            "clawdstrike.alerting.state.pagerduty": [STATE_A, STATE_B],
        }

    monkeypatch.setattr(consumer.cli.with_kafka, "when_kafka_answers", partitions)
    monkeypatch.setattr(Kafka, "member", lambda self, group: self if group == GROUP_NAME else None)
    return kafka


@contextmanager
def _terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> Iterator[None]:
    class Stdin(StringIO):
        def isatty(self) -> bool:
            return True

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Stdin(answer))
        yield


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["skip"], "--to"),
        (["forward", "--to", "latest"], "invalid choice"),
        (["skip", "--to", "yesterday"], "must be earliest, latest, an offset, or a time"),
        (["skip", "--to", "-1"], "--to"),
        (["skip", "--to", "latest", "--partition", "one"], "must be the number of a partition"),
        (["skip", "--to", "latest", "--json"], "--yes: is needed where nobody can be asked"),
        (["skip", "--to", "latest"], "--yes: is needed where nobody can be asked"),
        (
            ["skip", "--to", "latest", "--yes", "--provider", "opsgenie"],
            "exporters.alerting.opsgenie: is not configured",
        ),
        (["skip", "--to", "latest", "--yes", "--stage"], "--stage: no provider has a repartition stage"),
        (
            ["skip", "--to", "latest", "--yes", "--stage", "--provider", "pagerduty"],
            "--stage: pagerduty has no repartition stage",
        ),
        (["skip", "--to", "12", "--yes"], "--to 12: an offset belongs to one partition: say which with --partition"),
        (["skip", "--to", "latest", "--yes", "--partition", "2"], "--partition 2: topic clawdstrike.events has 2 part"),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], said: str, config: str, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offsets", arguments[0], "--config", config, *arguments[1:]]) == 2
    assert said in capsys.readouterr().err
    assert kafka.ordered == {}


def test_kafka_out_of_reach_is_one_line_and_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offsets", "skip", "--config", config, "--to", "latest", "--yes"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("kafka.bootstrap_servers: 127.0.0.1:1 did not answer within 1 s")


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 1), ("n\n", 1), ("", 1)])
def test_it_shows_what_it_skips_and_asks(
    answer: str,
    code: int,
    config: str,
    kafka: Kafka,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with _terminal(monkeypatch, answer):
        assert main(["offsets", "skip", "--config", config, "--to", "latest"]) == code
    out, err = capsys.readouterr()
    assert "up to 43 records are skipped" in out
    assert out.count("clawdstrike-alerting.pagerduty") == 2
    expected = {A: OffsetAndMetadata(20, ORDER_METADATA), B: OffsetAndMetadata(30, ORDER_METADATA)}
    assert kafka.ordered == (expected if code == 0 else {})
    assert err == ("" if code == 0 else "nothing was changed\n")


def test_a_dry_run_changes_nothing_and_asks_nothing(
    config: str, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.state = "Stable"  # nor does it need the service to be stopped
    arguments = ["offsets", "rewind", "--config", config, "--to", "3", "--partition", "0", "--dry-run", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {
        "action": "rewind",
        "done": False,
        "partitions": [
            {
                "group": "clawdstrike-alerting.pagerduty",
                "topic": "clawdstrike.events",
                "partition": 0,
                "from": 7,
                "to": 3,
                "records": 4,
            }
        ],
    }
    assert kafka.ordered == {}


def test_members_are_told_before_anything_is_done(
    config: str, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.state = "Stable"
    assert main(["offsets", "skip", "--config", config, "--to", "latest", "--yes"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("group clawdstrike-alerting.pagerduty has members: stop the service first")
    assert kafka.ordered == {}


def test_where_nothing_is_to_be_done_it_says_so(config: str, kafka: Kafka, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", config, "--to", "earliest", "--partition", "1", "--yes"]
    assert main(["offsets", "rewind", *arguments]) == 1
    assert capsys.readouterr().err == (
        "--to: every position is there already, or before it: nothing would be decided again\n"
    )
