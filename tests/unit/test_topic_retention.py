"""For how long topics must keep their records: what the check asks, and that what is created has it."""

from typing import Any

import pytest

from consumer.config import Config, parse_config
from consumer.topics import check_topics, create_topics
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


async def problems(give_up_after: str, **kept: str) -> tuple[str, ...]:
    """What is wrong where everything was created, and these topics then keep their records for so long."""
    admin: Any = TopicAdmin()
    config = configured(give_up_after)
    await create_topics(admin, config, 3, None)
    for topic, retention in kept.items():
        admin.configs[topic]["retention.ms"] = retention
    return (await check_topics(admin, config)).problems


@pytest.mark.parametrize("give_up_after", ["500ms", "1h", "24h", "7d", "8d", "30d", "0"])
async def test_what_is_created_passes_the_check(give_up_after: str) -> None:
    assert await problems(give_up_after) == ()


@pytest.mark.parametrize(
    ("give_up_after", "kept"),
    [("24h", DAY_MS), ("24h", -1), ("0", -1), ("7d", 7 * DAY_MS)],
)
async def test_a_feedback_topic_is_kept_as_long_as_something_can_be_owed(give_up_after: str, kept: int) -> None:
    assert await problems(give_up_after, feedback=str(kept)) == ()


@pytest.mark.parametrize(
    ("give_up_after", "kept", "length", "fix"),
    [
        ("24h", DAY_MS - 1, f"must be at least {DAY_MS}", DAY_MS),
        ("8d", 7 * DAY_MS, f"must be at least {8 * DAY_MS}", 8 * DAY_MS),
        ("0", 400 * DAY_MS, "must be unlimited", -1),
    ],
)
async def test_a_feedback_topic_that_could_lose_a_hand_over_is_told_with_the_command(
    give_up_after: str, kept: int, length: str, fix: int
) -> None:
    assert await problems(give_up_after, feedback=str(kept)) == (
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
