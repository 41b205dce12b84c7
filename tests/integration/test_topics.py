"""The topics: created as they must be, checked, and every mistake told with its fix."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from consumer.cli.main import main
from consumer.config import Config, parse_config
from consumer.kafka.topic_specs import KAFKA_MAX_MESSAGE_BYTES, Partitions, Purpose, topics_of
from consumer.kafka.topics import TooFewBrokers, TopicReport, check_topics, create_topics
from tests.support.broker import Broker, in_thread
from tests.support.kafka import COMPACTED, admin, create_topic, unique
from tests.support.waiting import wait_until

CREATE = "`clawdstrike-alerting topics create --config …`"
DAY = 86_400_000


class Names:
    """A configuration whose topics nobody else has."""

    def __init__(self, broker: Broker, *, max_event_bytes: int | None = None, keyed: bool = False) -> None:
        self.servers = broker.bootstrap_servers
        prefix = unique("topics")
        self.events, self.state, self.dlq = f"{prefix}.events", f"{prefix}.state.pagerduty", f"{prefix}.dlq"
        self.feedback, self.history = f"{prefix}.feedback", f"{prefix}.history"
        self.silences = f"{prefix}.silences"
        self.keyed, self.positions = f"{prefix}.keyed.pagerduty", f"{prefix}.keyed.pagerduty.positions"
        self.is_keyed = keyed
        event_key = "tenant_id" if keyed else "session_id"
        delivery = "" if max_event_bytes is None else f"delivery: {{max_event_bytes: {max_event_bytes}}}\n"
        self.text = (
            f"kafka: {{bootstrap_servers: '{self.servers}', event_key: {event_key}, topics: {{events: {self.events}, "
            f"state: {prefix}.state, dlq: {self.dlq}, feedback: {self.feedback}, "
            f"history: {self.history}, silences: {self.silences}, keyed: {prefix}.keyed}}}}\n"
            f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}\n{delivery}"
        )
        self.config: Config = parse_config(self.text, {}, lambda path: path)

    async def topic(self, name: str, partitions: int = 2, **configs: Any) -> None:
        named = {key.replace("_", "."): str(value) for key, value in configs.items()}
        await create_topic(self.servers, name, partitions=partitions, configs=named)

    async def good(self, *missing: str) -> None:
        """All topics but these as they must be."""
        topics = [(self.events, 2, {}), (self.state, 2, COMPACTED), (self.feedback, 1, {}), (self.dlq, 1, {})]
        topics.append((self.history, 1, {}))
        topics.append((self.silences, 1, COMPACTED))
        if self.is_keyed:
            topics += [(self.keyed, 2, {"retention.ms": "-1"}), (self.positions, 2, COMPACTED)]
        for name, partitions, configs in topics:
            if name not in missing:
                await create_topic(self.servers, name, partitions=partitions, configs=configs)

    def reconfigure(self, text: str) -> None:
        self.text += f"{text}\n"
        self.config = parse_config(self.text, {}, lambda path: path)

    async def check(self) -> TopicReport:
        async with admin(self.servers) as client:
            return await check_topics(client, self.config)


@pytest.fixture
def names(broker: Broker) -> Names:
    return Names(broker)


async def _configs(servers: str, topic: str) -> Mapping[str, str]:
    async with admin(servers) as client:
        (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, None)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}


# --- which there are


def test_each_pipeline_has_a_state_topic_and_they_share_the_rest() -> None:
    text = f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}, opsgenie: {{api_key: k}}}}}}"
    specs = topics_of(parse_config(text, {}, lambda path: path))
    assert [(spec.name, spec.purpose, spec.partitions) for spec in specs] == [
        ("clawdstrike.events", Purpose.EVENTS, Partitions.CHOSEN),
        ("clawdstrike.alerting.state.pagerduty", Purpose.STATE, Partitions.AS_INPUT),
        ("clawdstrike.alerting.state.opsgenie", Purpose.STATE, Partitions.AS_INPUT),
        ("clawdstrike.alerting.feedback", Purpose.FEEDBACK, Partitions.ANY),
        ("clawdstrike.alerting.history", Purpose.HISTORY, Partitions.ANY),
        ("clawdstrike.alerting.silences", Purpose.SILENCES, Partitions.ANY),
        ("clawdstrike.alerting.dlq", Purpose.DEAD_LETTERS, Partitions.ANY),
    ]


# --- create


async def test_what_is_created_passes_the_check(names: Names) -> None:
    async with admin(names.servers) as client:
        creation = await create_topics(client, names.config, 4, None)
    assert creation.created == (names.events, names.state, names.feedback, names.history, names.silences, names.dlq)
    assert creation.replication_factor == 1
    assert creation.report.problems == ()
    report = await names.check()
    assert report.problems == report.unknown == ()
    assert report.found == {
        names.events: 4,
        names.state: 4,
        names.feedback: 1,
        names.history: 1,
        names.silences: 1,
        names.dlq: 1,
    }
    assert report.partitions == 4
    assert report.dead_letter_limit == KAFKA_MAX_MESSAGE_BYTES + 65536
    state, dlq = await _configs(names.servers, names.state), await _configs(names.servers, names.dlq)
    assert state["cleanup.policy"] == "compact"
    assert float(state["min.cleanable.dirty.ratio"]) == 0.1
    assert int(state["segment.bytes"]) < 2**30
    assert dlq["cleanup.policy"] == "delete"
    assert int(dlq["retention.ms"]) == 30 * 86_400_000
    assert dlq["message.timestamp.type"] == "LogAppendTime"


async def test_creating_again_leaves_alone_what_exists(names: Names) -> None:
    await names.good(names.state)
    async with admin(names.servers) as client:
        first = await create_topics(client, names.config, 9, 1)
        again = await create_topics(client, names.config, 9, 1)
    assert first.created == (names.state,)
    assert first.report.found[names.state] == 2  # as the input has, whatever was asked for
    assert again.created == ()
    assert first.report.problems == again.report.problems == ()


async def test_a_state_topic_takes_the_largest_event(broker: Broker) -> None:
    names = Names(broker, max_event_bytes=2 << 20)
    async with admin(names.servers) as client:
        creation = await create_topics(client, names.config, 1, 1)
    assert creation.report.problems == ()
    assert int((await _configs(names.servers, names.state))["max.message.bytes"]) == (2 << 20) * 4 // 3 + 8192


async def test_a_dead_letter_topic_takes_what_the_input_takes_and_our_headers(names: Names) -> None:
    await names.topic(names.events, max_message_bytes=3_000_000)
    async with admin(names.servers) as client:
        creation = await create_topics(client, names.config, None, None)
    assert creation.report.problems == ()
    assert creation.report.dead_letter_limit == 3_000_000 + 65536


async def test_more_replicas_than_brokers_are_told_before_anything_is_created(names: Names) -> None:
    async with admin(names.servers) as client:
        with pytest.raises(TooFewBrokers, match="the cluster has 1 broker, and each replica needs one of its own"):
            await create_topics(client, names.config, 1, 3)
    assert (await names.check()).found == {}


@pytest.mark.real_kafka("names of topics that collide are refused")
async def test_what_cannot_be_created_is_told(names: Names) -> None:
    await names.topic(names.state.replace(".", "_"))
    async with admin(names.servers) as client:
        creation = await create_topics(client, names.config, 1, 1)
    assert creation.created == (names.events,)
    (problem,) = creation.report.problems
    assert problem.startswith(f"topic {names.state} cannot be created: ")
    assert "collides" in problem


# --- check


async def test_checking_creates_nothing(names: Names) -> None:
    for _ in range(2):
        report = await names.check()
        assert report.found == {}
        assert [problem.partition(":")[0] for problem in report.problems] == [
            f"topic {name} does not exist, or this user may not see it"
            for name in (names.events, names.state, names.feedback, names.dlq)
        ]
        assert all(problem.endswith(CREATE) for problem in report.problems)
        assert report.partitions == 0


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
async def test_a_state_topic_must_be_compacted_and_no_more(names: Names, policy: str) -> None:
    await names.good(names.state)
    await names.topic(names.state, cleanup_policy=policy)
    (problem,) = (await names.check()).problems
    assert problem.startswith(f"topic {names.state}: cleanup.policy is {policy} and must be compact, ")
    assert f"--entity-name {names.state} --add-config cleanup.policy=compact" in problem


async def test_a_dead_letter_topic_must_not_be_compacted(names: Names) -> None:
    await names.good(names.dlq)
    await names.topic(names.dlq, cleanup_policy="compact")
    (problem,) = (await names.check()).problems
    assert problem.startswith(f"topic {names.dlq}: cleanup.policy is compact and must be delete, ")


async def test_a_feedback_topic_must_not_be_compacted(names: Names) -> None:
    await names.good(names.feedback)
    await names.topic(names.feedback, cleanup_policy="compact")
    (problem,) = (await names.check()).problems
    assert problem.startswith(f"topic {names.feedback}: cleanup.policy is compact and must be delete, ")


@pytest.mark.real_kafka("it tells its configs")
async def test_a_feedback_topic_that_could_lose_a_hand_over_is_told(broker: Broker, names: Names) -> None:
    names.reconfigure("delivery: {give_up_after: 8d}")
    await names.good(names.feedback)
    await names.topic(names.feedback, retention_ms=7 * DAY)
    report = await names.check()
    assert report.problems == (), "nobody is kept from starting by it"
    (problem,) = report.notes
    assert problem.startswith(
        f"topic {names.feedback}: retention.ms is {7 * DAY} and must be at least {8 * DAY}, delivery.give_up_after: "
    )
    assert f"--entity-name {names.feedback} --add-config retention.ms={8 * DAY}`" in problem
    others = Names(broker)
    others.reconfigure("delivery: {give_up_after: 8d}")
    async with admin(names.servers) as client:
        creation = await create_topics(client, others.config, None, None)
    assert creation.report.problems == ()
    assert int((await _configs(names.servers, others.feedback))["retention.ms"]) == 9 * DAY


@pytest.mark.parametrize(
    ("partitions", "fix"),
    [(1, "topics grow --config … --partitions 2`"), (3, "give {events} 3 partitions too")],
)
async def test_a_state_topic_has_as_many_partitions_as_its_input(names: Names, partitions: int, fix: str) -> None:
    await names.good(names.state)
    await names.topic(names.state, partitions, cleanup_policy="compact")
    report = await names.check()
    assert report.problems == (), "nobody is refused while they grow"
    (problem,) = report.outgrown
    assert problem.startswith(f"topic {names.state} has {partitions} partitions, its input {names.events} has 2: ")
    assert fix.format(state=names.state, events=names.events) in problem


async def test_a_dead_letter_topic_must_take_all_that_the_input_takes(names: Names) -> None:
    await names.good(names.dlq)
    await names.topic(names.dlq, max_message_bytes=600_000)
    report = await names.check()
    (problem,) = report.problems
    assert problem.startswith(f"topic {names.dlq}: max.message.bytes is 600000 and must be at least 1114124, ")
    assert f"--entity-name {names.dlq} --add-config max.message.bytes=1114124" in problem
    assert report.dead_letter_limit == 600_000


async def test_a_dead_letter_topic_by_kafkas_defaults_will_do(names: Names) -> None:
    await names.good()
    report = await names.check()
    assert report.problems == ()
    assert report.dead_letter_limit == KAFKA_MAX_MESSAGE_BYTES


async def test_a_state_topic_must_take_the_largest_event(broker: Broker) -> None:
    names = Names(broker, max_event_bytes=1 << 20)
    await names.good()
    (problem,) = (await names.check()).problems
    needed = (1 << 20) * 4 // 3 + 8192
    assert problem.startswith(f"topic {names.state}: max.message.bytes is {KAFKA_MAX_MESSAGE_BYTES} and must be at ")
    assert f"--add-config max.message.bytes={needed}`" in problem


async def test_a_state_topic_must_take_whole_batches(names: Names) -> None:
    await names.good(names.state)
    await names.topic(names.state, cleanup_policy="compact", max_message_bytes=400_000)
    (problem,) = (await names.check()).problems
    assert "max.message.bytes is 400000 and must be at least 525312" in problem


async def test_what_the_broker_does_not_tell_is_taken_for_kafkas_default(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    await names.good()

    async def nothing(*args: Any, **options: Any) -> list[Any]:
        return []

    async with admin(names.servers) as client:
        monkeypatch.setattr(client, "describe_configs", nothing)
        report = await check_topics(client, names.config)
    assert report.problems == ()
    assert f"topic {names.state}: the broker does not tell its cleanup.policy" in report.unknown
    assert report.dead_letter_limit == KAFKA_MAX_MESSAGE_BYTES


# --- of a repartition stage


@pytest.fixture
def keyed(broker: Broker) -> Names:
    return Names(broker, keyed=True)


def test_a_pipeline_whose_events_have_to_meet_first_has_two_topics_more() -> None:
    text = f"kafka: {{event_key: none}}\nexporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}}}}}"
    specs = topics_of(parse_config(text, {}, lambda path: path))
    keyed, positions = "clawdstrike.alerting.keyed.pagerduty", "clawdstrike.alerting.keyed.pagerduty.positions"
    assert [(spec.name, spec.purpose, spec.partitions, spec.input) for spec in specs[:4]] == [
        ("clawdstrike.events", Purpose.EVENTS, Partitions.CHOSEN, ""),
        (keyed, Purpose.KEYED, Partitions.LIKE_INPUT, "clawdstrike.events"),
        (positions, Purpose.POSITIONS, Partitions.AS_INPUT, "clawdstrike.events"),
        ("clawdstrike.alerting.state.pagerduty", Purpose.STATE, Partitions.AS_INPUT, keyed),
    ]


async def test_what_is_created_for_a_stage_passes_the_check(keyed: Names) -> None:
    async with admin(keyed.servers) as client:
        creation = await create_topics(client, keyed.config, 3, None)
    assert creation.created == tuple(
        getattr(keyed, name)
        for name in ("events", "keyed", "positions", "state", "feedback", "history", "silences", "dlq")
    )
    assert creation.report.problems == ()
    assert [creation.report.found[name] for name in (keyed.keyed, keyed.positions, keyed.state)] == [3, 3, 3]
    configs = await _configs(keyed.servers, keyed.keyed)
    assert configs["cleanup.policy"] == "delete"
    assert (await _configs(keyed.servers, keyed.positions))["cleanup.policy"] == "compact"


@pytest.mark.real_kafka("it tells its configs")
@pytest.mark.parametrize(
    ("events", "give_up_after", "kept"),
    [(7 * DAY, "24h", 9 * DAY), (2 * DAY, "3d", 6 * DAY), (DAY, "0", -1), (-1, "1h", -1)],
)
async def test_a_keyed_topic_is_kept_as_long_as_the_events_and_give_up_after_together(
    keyed: Names, events: int, give_up_after: str, kept: int
) -> None:
    keyed.reconfigure(f"delivery: {{give_up_after: {give_up_after}}}")
    await keyed.topic(keyed.events, retention_ms=events)
    async with admin(keyed.servers) as client:
        creation = await create_topics(client, keyed.config, None, None)
    assert creation.report.problems == ()
    assert int((await _configs(keyed.servers, keyed.keyed))["retention.ms"]) == kept


@pytest.mark.real_kafka("it tells its configs")
@pytest.mark.parametrize(("events", "kept"), [(DAY, 2 * DAY), (-1, 400 * DAY)])
async def test_a_keyed_topic_that_could_lose_what_is_owed_is_told(keyed: Names, events: int, kept: int) -> None:
    await keyed.good(keyed.events, keyed.keyed)
    await keyed.topic(keyed.events, retention_ms=events)
    await keyed.topic(keyed.keyed, retention_ms=kept)
    (problem,) = (await keyed.check()).problems
    needed = -1 if events == -1 else 2 * DAY + 3_600_000
    assert problem.startswith(f"topic {keyed.keyed}: retention.ms is {kept} and must be ")
    assert f"--entity-name {keyed.keyed} --add-config retention.ms={needed}`" in problem


async def test_a_keyed_topic_must_not_be_compacted(keyed: Names) -> None:
    await keyed.good(keyed.keyed)
    await keyed.topic(keyed.keyed, cleanup_policy="compact", retention_ms=-1)
    (problem,) = (await keyed.check()).problems
    assert problem.startswith(f"topic {keyed.keyed}: cleanup.policy is compact and must be delete, ")


async def test_a_keyed_topic_must_take_the_largest_event(broker: Broker) -> None:
    keyed = Names(broker, keyed=True, max_event_bytes=2 << 20)
    await keyed.good(keyed.state)
    await keyed.topic(keyed.state, cleanup_policy="compact", max_message_bytes=4 << 20)
    (problem,) = (await keyed.check()).problems
    assert problem.startswith(f"topic {keyed.keyed}: max.message.bytes is {KAFKA_MAX_MESSAGE_BYTES} and must be at ")
    assert f"max.message.bytes={(2 << 20) + 8192}`" in problem


async def test_the_positions_must_be_compacted(keyed: Names) -> None:
    await keyed.good(keyed.positions)
    await keyed.topic(keyed.positions)
    (problem,) = (await keyed.check()).problems
    assert problem.startswith(f"topic {keyed.positions}: cleanup.policy is delete and must be compact, ")


async def test_the_positions_follow_the_events_and_the_state_follows_the_keyed_topic(keyed: Names) -> None:
    await keyed.good(keyed.keyed, keyed.positions)
    await keyed.topic(keyed.keyed, 3, retention_ms=-1)
    await keyed.topic(keyed.positions, 4, cleanup_policy="compact")
    positions, state = (await keyed.check()).outgrown
    assert positions.startswith(f"topic {keyed.positions} has 4 partitions, its input {keyed.events} has 2: ")
    assert "the stage goes on from what its group has committed" in positions
    assert state.startswith(f"topic {keyed.state} has 2 partitions, its input {keyed.keyed} has 3: ")


# --- the command


def test_create_then_check_on_the_command_line(
    names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(names.text)
    assert main(["topics", "check", "--config", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 6
    assert main(["topics", "create", "--config", str(path), "--replication-factor", "3"]) == 1
    assert capsys.readouterr() == (
        "",
        "--replication-factor 3: the cluster has 1 broker, and each replica needs one of its own: "
        "nothing was created\n",
    )
    assert main(["topics", "create", "--config", str(path), "--partitions", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{names.events}: created, replication factor 1, 3 partitions",
        f"{names.state}: created, replication factor 1, 3 partitions",
        f"{names.feedback}: created, replication factor 1, 1 partition",
        f"{names.history}: created, replication factor 1, 1 partition",
        f"{names.silences}: created, replication factor 1, 1 partition",
        f"{names.dlq}: created, replication factor 1, 1 partition",
    ]
    for asked, advice in ((12, "`topics grow --partitions 12` adds them"), (2, "Kafka cannot remove any")):
        assert main(["topics", "create", "--config", str(path), "--partitions", str(asked)]) == 1
        assert capsys.readouterr().err == (
            f"warning: topic {names.events} exists with 3 partitions, and {asked} were asked for: {advice}\n"
        )
    assert main(["topics", "create", "--config", str(path), "--partitions", "3", "--replication-factor", "3"]) == 0
    assert main(["topics", "create", "--config", str(path)]) == 0
    assert f"{names.events}: exists, left alone, 3 partitions" in capsys.readouterr().out
    assert main(["topics", "check", "--config", str(path)]) == 0
    assert f"{names.state}: exists, 3 partitions" in capsys.readouterr().out


def test_create_reports_what_exists_and_is_wrong(
    names: Names, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(names.text)
    in_thread(names.topic(names.state, 6))
    assert main(["topics", "create", "--config", str(path)]) == 1
    out, err = capsys.readouterr()
    assert f"{names.state}: exists, left alone, 6 partitions" in out
    assert err.startswith(f"topic {names.state}: cleanup.policy is delete and must be compact")
    assert err.count("\n") == 1


# --- grow


def _grow(path: Path, *arguments: str) -> int:
    return main(["topics", "grow", "--config", str(path), *arguments])


@pytest.fixture
def staged(keyed: Names, tmp_path: Path) -> Path:
    """The configuration of a service with a repartition stage, whose topics have two partitions."""
    path = tmp_path / "config.yaml"
    path.write_text(keyed.text)
    in_thread(keyed.good())
    return path


@pytest.mark.real_kafka("partitions are added")
def test_all_topics_grow_and_the_check_is_content(
    keyed: Names, staged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    growing = [keyed.state, keyed.positions, keyed.keyed, keyed.events]
    assert _grow(staged, "--partitions", "5", "--dry-run") == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert (rows[0], err) == (["TOPIC", "FROM", "TO"], "")
    assert rows[1:5] == [[topic, "2", "5"] for topic in growing]
    assert set(in_thread(keyed.check()).found.values()) == {1, 2}, "a dry run changes nothing"

    assert _grow(staged, "--partitions", "5", "--yes") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-5:] == [
        *(f"{topic}: 5 partitions" for topic in growing),
        "done: the service notices within a minute",
    ]
    report = in_thread(keyed.check())
    assert report.problems == report.outgrown == report.notes == ()
    assert {name: report.found[name] for name in growing} == dict.fromkeys(growing, 5)
    assert _grow(staged, "--partitions", "5", "--yes") == 0
    assert "nothing is left to do" in capsys.readouterr().out


@pytest.mark.real_kafka("partitions are added")
def test_what_a_run_that_was_ended_has_left_is_done_by_the_same_command(
    keyed: Names, staged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def half_of_it() -> None:
        async with admin(keyed.servers) as client:
            for topic in (keyed.state, keyed.positions):
                await client.create_partitions({topic: NewPartitions(3)})

    in_thread(half_of_it())
    assert len(in_thread(keyed.check()).outgrown) == 2
    assert _grow(staged, "--partitions", "3", "--yes") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:3]] == [
        [keyed.keyed, "2", "3"],
        [keyed.events, "2", "3"],
    ]
    assert in_thread(keyed.check()).outgrown == ()


@pytest.mark.real_kafka("partitions are added")
def test_what_cannot_be_is_one_line_and_changes_nothing(
    keyed: Names, staged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _grow(staged, "--partitions", "1", "--yes") == 2
    assert capsys.readouterr().err.startswith(f"--partitions 1: topic {keyed.events} has 2 partitions, and none can ")

    async def delete(topic: str) -> None:
        async def is_gone() -> bool:
            return topic not in (await keyed.check()).found

        async with admin(keyed.servers) as client:
            await client.delete_topics([topic])
        await wait_until(is_gone, f"{topic} is gone")

    in_thread(delete(keyed.state))
    assert _grow(staged, "--partitions", "3", "--yes") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"topic {keyed.state} does not exist")
    found = in_thread(keyed.check()).found
    assert found[keyed.events] == found[keyed.keyed] == found[keyed.positions] == 2
