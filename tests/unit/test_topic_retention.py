"""For how long topics must keep their records: what the check asks, and that what is created has it."""

from typing import Any

import pytest

from consumer.config import Config, parse_config
from consumer.kafka.topic_specs import follower_of
from consumer.kafka.topics import TopicReport, check_topics, create_topics, member_topics
from tests.support.topic_admin import TopicAdmin

DAY_MS = 86_400_000
KEYED = "{deduplication: {key_template: '{guard}:{tenant_id}'}, routing_key: " + "k" * 32 + "}"


def configured(give_up_after: str) -> Config:
    text = (
        "kafka: {topics: {events: events, state: state, dlq: dlq, feedback: feedback, keyed: keyed}}\n"
        f"delivery: {{give_up_after: {give_up_after}}}\n"
        f"exporters: {{alerting: {{pagerduty: {KEYED}}}}}"
    )
    return parse_config(text, {}, lambda path: path)


async def report(give_up_after: str, **kept: str) -> TopicReport:
    """What is said where everything was created, and these topics then keep their records for so long."""
    admin: Any = TopicAdmin()
    config = configured(give_up_after)
    await create_topics(admin, config, 3, None)
    for topic, retention in kept.items():
        admin.configs[topic]["retention.ms"] = retention
    return await check_topics(admin, config)


async def problems(give_up_after: str, **kept: str) -> tuple[str, ...]:
    """What keeps the service from starting."""
    return (await report(give_up_after, **kept)).problems


@pytest.mark.parametrize("give_up_after", ["500ms", "1h", "24h", "7d", "8d", "30d", "0"])
async def test_what_is_created_passes_the_check(give_up_after: str) -> None:
    assert await problems(give_up_after) == ()


@pytest.mark.parametrize(
    ("give_up_after", "kept"),
    [("24h", DAY_MS), ("24h", -1), ("0", -1), ("7d", 7 * DAY_MS)],
)
async def test_a_feedback_topic_is_kept_as_long_as_something_can_be_owed(give_up_after: str, kept: int) -> None:
    found = await report(give_up_after, feedback=str(kept))
    assert (found.problems, found.notes) == ((), ())


@pytest.mark.parametrize(
    ("give_up_after", "kept", "length", "fix"),
    [
        ("24h", DAY_MS - 1, f"must be at least {DAY_MS}", DAY_MS),
        ("8d", 7 * DAY_MS, f"must be at least {8 * DAY_MS}", 8 * DAY_MS),
        ("0", 400 * DAY_MS, "must be unlimited", -1),
    ],
)
async def test_a_feedback_topic_that_could_lose_a_hand_over_is_noted_with_the_command_and_stops_nobody(
    give_up_after: str, kept: int, length: str, fix: int
) -> None:
    found = await report(give_up_after, feedback=str(kept))
    assert found.problems == ()
    assert found.notes == (
        f"topic feedback: retention.ms is {kept} and {length}, delivery.give_up_after: so long an alert that is handed "
        "over to another partition can wait in it: `kafka-configs.sh --bootstrap-server … --alter --entity-type topics "
        f"--entity-name feedback --add-config retention.ms={fix}`",
    )


async def test_what_the_broker_does_not_tell_is_no_problem() -> None:
    admin: Any = TopicAdmin()
    config = configured("30d")
    await create_topics(admin, config, 3, None)

    async def nothing(resources: Any) -> list[Any]:
        return []

    admin.describe_configs = nothing
    assert (await check_topics(admin, config)).problems == ()


async def test_other_topics_may_keep_their_records_for_as_short_as_they_like() -> None:
    few = {"events": "1000", "dlq": "1000", "state.pagerduty": "1000", "keyed.pagerduty.positions": "1000"}
    assert await problems("24h", **few) == ()


@pytest.mark.parametrize(
    ("configs", "are_checked"),
    [
        ({}, False),
        ({"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "3600000"}, True),
        ({"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "9223372036854775807"}, False),
        ({"message.timestamp.type": "CreateTime", "message.timestamp.difference.max.ms": "60000"}, True),
        ({"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "3600000"}, False),
    ],
)
async def test_a_member_knows_whether_brokers_check_the_times_of_its_input(
    configs: dict[str, str], are_checked: bool
) -> None:
    admin: Any = TopicAdmin()
    config = configured("24h")
    await create_topics(admin, config, 3, None)
    follower = follower_of(config, "state.pagerduty")
    admin.configs[follower.input] = configs
    found = await member_topics(admin, config, follower)
    assert found.times_are_checked is are_checked


async def test_a_member_that_runs_is_told_of_it_and_not_stopped() -> None:
    admin: Any = TopicAdmin()
    config = configured("24h")
    await create_topics(admin, config, 3, None)
    admin.configs["feedback"]["retention.ms"] = "1000"
    found = await member_topics(admin, config, follower_of(config, "state.pagerduty"))
    assert found.problems == ()
    (sentence,) = found.advice
    assert sentence.startswith("topic feedback: retention.ms is 1000 and must be at least")
