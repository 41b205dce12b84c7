"""``topics grow``: how many partitions each topic gets, in which order, and what is said where it cannot be."""

import json
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    PolicyViolationError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from hypothesis import given
from hypothesis import strategies as st

import consumer.cli.with_kafka
import consumer.kafka.topic_growth
from consumer.cli.main import main
from consumer.config import Config, parse_config
from consumer.kafka.topic_growth import FewerThanNow, Growth, GrowthRefused, grow, growing, growths, least, try_growths
from consumer.kafka.topic_specs import topics_of
from consumer.kafka.topics import check_topics
from tests.support.topic_admin import TopicAdmin

TOPICS = "topics: {events: events, state: state, dlq: dlq, feedback: feedback, keyed: keyed}"
KEY = "k" * 32


def configured(text: str) -> Config:
    return parse_config(text, {}, lambda path: path)


PLAIN = configured(f"kafka: {{{TOPICS}}}\nexporters: {{alerting: {{pagerduty: {{routing_key: {KEY}}}}}}}")
STAGED = configured(
    f"kafka: {{{TOPICS}}}\n"
    "exporters: {alerting: {opsgenie: {api_key: k}, pagerduty: "
    f"{{routing_key: {KEY}, deduplication: {{key_template: '{{guard}}:{{tenant_id}}'}}}}}}}}"
)
"""PagerDuty has a repartition stage, OpsGenie has none."""

SMALL = {"events": 6, "keyed.pagerduty": 6, "keyed.pagerduty.positions": 6, "state.pagerduty": 6, "state.opsgenie": 6}


def planned(counts: Mapping[str, int], partitions: int, config: Config = STAGED) -> list[tuple[str, int, int]]:
    return [(one.topic, one.now, one.then) for one in growths(topics_of(config), counts, partitions)]


# how many, in which order


def test_the_state_grows_before_the_events() -> None:
    assert planned({"events": 6, "state.pagerduty": 6}, 8, PLAIN) == [
        ("state.pagerduty", 6, 8),
        ("events", 6, 8),
    ]


def test_with_a_stage_each_topic_grows_before_its_input() -> None:
    grown = planned(SMALL, 8)
    assert {(now, then) for _, now, then in grown} == {(6, 8)}
    order = [topic for topic, _, _ in grown]
    assert sorted(order) == sorted(SMALL)
    assert order[-1] == "events"
    assert order.index("state.pagerduty") < order.index("keyed.pagerduty")


@pytest.mark.parametrize("done", range(6))
def test_what_a_run_that_was_ended_has_left_is_what_is_planned_then(done: int) -> None:
    whole = planned(SMALL, 8)
    counts = {**SMALL, **{topic: then for topic, _, then in whole[:done]}}
    assert planned(counts, 8) == whole[done:]


def test_a_keyed_topic_with_more_partitions_keeps_them_and_its_state_gets_as_many() -> None:
    assert planned({**SMALL, "keyed.pagerduty": 24}, 8) == [
        ("state.opsgenie", 6, 8),
        ("state.pagerduty", 6, 24),
        ("keyed.pagerduty.positions", 6, 8),
        ("events", 6, 8),
    ]


def test_a_keyed_topic_gets_as_many_as_its_state_has() -> None:
    assert ("keyed.pagerduty", 6, 12) in planned({**SMALL, "state.pagerduty": 12}, 8)


@pytest.mark.parametrize("topic", ["events", "state.opsgenie", "keyed.pagerduty.positions"])
def test_fewer_than_now_is_told_with_the_topic_and_the_fewest(topic: str) -> None:
    with pytest.raises(FewerThanNow, match=rf"^topic {topic} has 9 partitions, and none .*: 9 or more are possible$"):
        planned({**SMALL, topic: 9}, 8)


COUNTS = st.integers(1, 12)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 9))
async def test_whatever_there_was_afterwards_the_check_is_content(
    events: int, keyed: int, positions: int, state: int, other: int, more: int
) -> None:
    counts = dict(zip(SMALL, (events, keyed, positions, state, other), strict=True))
    specs = topics_of(STAGED)
    partitions = least(specs, counts) + more
    admin: Any = TopicAdmin(
        {**counts, "dlq": 1, "feedback": 1, "clawdstrike.alerting.history": 1, "clawdstrike.alerting.silences": 1}
    )
    for name in SMALL:
        admin.configs[name] = {
            "cleanup.policy": "compact" if "state" in name or "pos" in name else "delete",
            "retention.ms": "-1",
        }
    admin.configs["clawdstrike.alerting.silences"] = {"cleanup.policy": "compact"}
    plan = growths(specs, counts, partitions)
    await grow(admin, plan)
    report = await check_topics(admin, STAGED)
    assert (report.problems, report.outgrown, report.notes) == ((), (), ())
    assert report.found["events"] == partitions
    assert all(one.now < one.then for one in plan)
    for name in SMALL:
        assert report.found[name] >= counts[name]
    assert growths(specs, report.found, partitions) == []


def test_only_topics_whose_numbers_hang_together_grow() -> None:
    assert set(growing(topics_of(STAGED))) == set(SMALL)


# what is said of the numbers that there are


async def test_the_fix_of_whatever_is_too_small_is_one_command_that_does_all() -> None:
    admin: Any = TopicAdmin(
        {
            **SMALL,
            "events": 9,
            "state.opsgenie": 12,
            "dlq": 1,
            "feedback": 1,
            "clawdstrike.alerting.history": 1,
            "clawdstrike.alerting.silences": 1,
        }
    )
    report = await check_topics(admin, STAGED)
    assert len(report.outgrown) == 2
    assert all("`clawdstrike-alerting topics grow --config … --partitions 12`" in one for one in report.outgrown)


async def test_a_keyed_topic_with_fewer_partitions_than_the_events_is_noted_and_right() -> None:
    admin: Any = TopicAdmin(
        {
            **SMALL,
            "keyed.pagerduty": 2,
            "state.pagerduty": 2,
            "dlq": 1,
            "feedback": 1,
            "clawdstrike.alerting.history": 1,
            "clawdstrike.alerting.silences": 1,
        }
    )
    report = await check_topics(admin, STAGED)
    assert report.outgrown == ()
    assert report.notes == (
        "topic keyed.pagerduty has 2 partitions, its input events has 6: no more than 2 members share the work behind "
        "it; `clawdstrike-alerting topics grow --config … --partitions 6` gives it as many",
    )


# how it is done

PLAN = [Growth("state.pagerduty", 6, 8), Growth("events", 6, 8)]


async def test_one_after_the_other_each_with_leaders_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.topic_growth, "_SETTLE_SECONDS", 0)
    admin: Any = TopicAdmin({"events": 6, "state.pagerduty": 6})
    admin.leaderless_looks = 3
    told: list[str] = []
    await grow(admin, PLAN, lambda growth: told.append(growth.topic))
    assert admin.grown == [("state.pagerduty", 8), ("events", 8)]
    assert told == ["state.pagerduty", "events"]
    assert admin.leaderless_looks == 0


async def test_partitions_that_do_not_come_up_end_it_before_the_input_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.topic_growth, "_SETTLE_SECONDS", 0)
    admin: Any = TopicAdmin({"events": 6, "state.pagerduty": 6})
    admin.leaderless_looks = 10**6
    with pytest.raises(GrowthRefused, match=r"^topic state.pagerduty: its 8 partitions have not come up"):
        await grow(admin, PLAN)
    assert admin.grown == [("state.pagerduty", 8)]


async def test_what_was_done_although_the_answer_was_another_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.topic_growth, "_SETTLE_SECONDS", 0)
    admin: Any = TopicAdmin({"events": 6, "state.pagerduty": 9})  # somebody was faster
    admin.refusals["events"] = RequestTimedOutError("Could not create partitions for events: None")
    admin.lost.add("events")
    await grow(admin, PLAN)
    assert admin.grown == [("events", 8)]


async def test_trying_does_nothing() -> None:
    admin: Any = TopicAdmin({"events": 6, "state.pagerduty": 6})
    await try_growths(admin, PLAN)
    assert (admin.tried, admin.grown) == (["state.pagerduty", "events"], [])


# the command


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"kafka: {{startup_timeout: 1s, bootstrap_servers: '127.0.0.1:1', {TOPICS}}}\n"
        f"exporters: {{alerting: {{pagerduty: {{routing_key: {KEY}}}}}}}\n"
    )
    return str(path)


class Clients:
    """All that is asked of them is the admin client."""

    def __init__(self, admin: TopicAdmin) -> None:
        self._admin = admin

    def admin(self) -> TopicAdmin:
        return self._admin


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> TopicAdmin:
    admin = TopicAdmin({"events": 6, "state.pagerduty": 6, "feedback": 1, "dlq": 1})
    monkeypatch.setattr(consumer.cli.with_kafka, "KafkaClients", lambda config: Clients(admin))

    async def answers(clients: object, act: Any) -> Mapping[str, list[TopicPartition]]:
        found: Mapping[str, list[TopicPartition]] = await act(admin)
        return found

    monkeypatch.setattr(consumer.cli.with_kafka, "when_kafka_answers", answers)
    return admin


def ran(config: str, *arguments: str) -> int:
    return main(["topics", "grow", "--config", config, *arguments])


def test_it_says_what_it_does(config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "--partitions", "8", "--yes") == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["TOPIC", "FROM", "TO"],
        ["state.pagerduty", "6", "8"],
        ["events", "6", "8"],
        ["in", "this", "order;", "partitions", "cannot", "be", "removed", "again"],
        ["state.pagerduty:", "8", "partitions"],
        ["events:", "8", "partitions"],
        ["done:", "the", "service", "notices", "within", "a", "minute"],
    ]
    assert err == ""
    assert kafka.grown == [("state.pagerduty", 8), ("events", 8)]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 1), ("no\n", 1), ("", 1)])
def test_it_asks(
    answer: str,
    code: int,
    config: str,
    kafka: TopicAdmin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert ran(config, "--partitions", "8") == code
    out, err = capsys.readouterr()
    assert "grow? [y/N] " in out
    assert bool(kafka.grown) is (code == 0)
    assert err == ("" if code == 0 else "nothing was changed\n")


def test_a_dry_run_asks_the_broker_and_changes_nothing(
    config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(config, "--partitions", "8", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "action": "grow",
        "partitions": 8,
        "done": False,
        "topics": [
            {"topic": "state.pagerduty", "from": 6, "to": 8},
            {"topic": "events", "from": 6, "to": 8},
        ],
    }
    assert (kafka.tried, kafka.grown) == (["state.pagerduty", "events"], [])


def test_for_programs_there_is_nothing_on_stdout_but_json(
    config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(config, "--partitions", "8", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] is True
    assert kafka.counts["events"] == 8


@pytest.mark.parametrize("also", [[], ["--dry-run"]])
def test_where_nothing_is_left_to_do_it_is_done(
    also: list[str], config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(config, "--partitions", "6", "--yes", *also) == 0
    out = "nothing is left to do: the events topic has 6 partitions, and all others enough\n"
    assert capsys.readouterr() == (out, "")
    assert kafka.grown == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--partitions"),
        (["--partitions", "0", "--yes"], "must be a whole number of at least 1"),
        (["--partitions", "8"], "--yes: is needed where nobody can be asked"),
        (["--partitions", "8", "--json"], "--yes: is needed where nobody can be asked"),
        (
            ["--partitions", "5", "--yes"],
            "--partitions 5: topic events has 6 partitions, and none can be removed: 6 or more are possible\n",
        ),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], said: str, config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(config, *arguments) == 2
    assert said in capsys.readouterr().err
    assert kafka.grown == []


RIGHT = (
    "topic events: this user may not alter it: `kafka-acls.sh --bootstrap-server … --add --allow-principal User:… "
    "--operation Alter --topic events`\n"
)
REPLICAS = "Unable to replicate the partition 3 time(s): only 2 broker(s) are registered."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TopicAuthorizationFailedError("Could not create partitions for events: None"), RIGHT),
        (
            InvalidReplicationFactorError(f"Could not create partitions for events: {REPLICAS}"),
            "topic events cannot get 8 partitions with as many replicas as it has, until more brokers are up: "
            f"{REPLICAS}\n",
        ),
        (
            PolicyViolationError("Could not create partitions for events: too\nmany"),
            "topic events cannot get 8 partitions: too many\n",
        ),
        (
            PolicyViolationError("Could not create partitions for events: None"),
            "topic events cannot get 8 partitions: PolicyViolationError\n",
        ),
    ],
)
def test_what_kafka_refuses_is_one_line_and_1_and_nothing_is_changed(
    error: Any, said: str, config: str, kafka: TopicAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.refusals["events"] = error
    assert ran(config, "--partitions", "8", "--yes") == 1
    assert capsys.readouterr() == ("", said)
    assert kafka.grown == []


def test_a_topic_that_is_missing_is_one_line_and_1(
    config: str, kafka: TopicAdmin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del kafka.counts["state.pagerduty"]
    assert ran(config, "--partitions", "8", "--yes") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "topic state.pagerduty does not exist, or this user may not see it: "
        "run `clawdstrike-alerting topics create --config …`\n"
    )


def test_what_is_left_undone_is_done_by_the_same_command(
    config: str, kafka: TopicAdmin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create = kafka.create_partitions

    async def fails_at_the_events(wanted: Any, *, validate_only: bool = False) -> None:
        if "events" in wanted and not validate_only:
            raise KafkaConnectionError("the broker is away")
        await create(wanted, validate_only=validate_only)

    monkeypatch.setattr(kafka, "create_partitions", fails_at_the_events)
    monkeypatch.setattr(consumer.kafka.topic_growth, "_SETTLE_SECONDS", 0)
    assert ran(config, "--partitions", "8", "--yes") == 1
    out, err = capsys.readouterr()
    assert "state.pagerduty: 8 partitions" in out
    assert err == "topic events cannot get 8 partitions: the broker is away\n"
    monkeypatch.setattr(kafka, "create_partitions", create)
    assert ran(config, "--partitions", "8", "--yes") == 0
    assert kafka.grown == [("state.pagerduty", 8), ("events", 8)]


def test_kafka_out_of_reach_is_one_line_and_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(config, "--partitions", "8", "--yes") == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("kafka.bootstrap_servers: 127.0.0.1:1 did not answer within 1 s")
