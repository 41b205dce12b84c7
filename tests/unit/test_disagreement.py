"""Members that run and read other topics than this one would are told of in one line for each group."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError

from consumer.config import Config
from consumer.tasks.repartition.disagreement import disagreement, topics_of_groups

GROUP, STAGE = "clawdstrike-alerting.pagerduty", "clawdstrike-alerting.pagerduty-repartition"
EVENTS, KEYED = "clawdstrike.events", "clawdstrike.alerting.keyed.pagerduty"


def configured(template: str) -> Config:
    deduplication = {"key_template": template}
    pagerduty = {"routing_key": "r" * 32, "deduplication": deduplication}
    return Config.model_validate(
        {"kafka": {"bootstrap_servers": "localhost:9092"}, "exporters": {"alerting": {"pagerduty": pagerduty}}}
    )


WITHOUT, WITH_STAGE = configured("{guard}:{session_id}"), configured("{guard}:{resource}")


class Admin:
    """Groups in this state, whose members have these client ids, and read these topics."""

    def __init__(self, *, state: str = "Stable", error: int = 0, **members: Sequence[tuple[str, str]]) -> None:
        self._state, self._error = state, error
        self._groups = {GROUP: members.get("group", ()), STAGE: members.get("stage", ())}

    async def describe_topics(self) -> list[dict[str, Any]]:
        return [{"topic": topic, "partitions": [{"partition": 0}]} for topic in (EVENTS, KEYED)]

    async def describe_consumer_groups(self, groups: Sequence[str]) -> list[Any]:
        (group,) = groups
        members = [
            (
                f"{client_id}-uuid",
                client_id,
                "/127.0.0.1",
                ConsumerProtocolMemberMetadata(0, [topic], b"").encode(),
                b"",
            )
            for client_id, topic in self._groups[group]
        ]
        kind = "consumer" if members else ""
        return [SimpleNamespace(groups=[(self._error, group, self._state, kind, "range", members)])]


async def found(config: Config, admin: Any) -> list[str]:
    answer = await disagreement(admin, config)
    assert not answer.unknown
    return list(answer.lines)


OURS = "clawdstrike-alerting"


def test_what_members_read_is_a_matter_of_the_key_template() -> None:
    assert topics_of_groups(WITHOUT, {EVENTS, KEYED}) == {GROUP: EVENTS, STAGE: None}
    assert topics_of_groups(WITH_STAGE, {EVENTS}) == {GROUP: KEYED, STAGE: EVENTS}


def test_where_there_is_no_topic_of_a_stage_nobody_is_asked() -> None:
    assert topics_of_groups(WITHOUT, {EVENTS}) == {}


@pytest.mark.parametrize(
    ("config", "members"),
    [
        (WITHOUT, {}),
        (WITHOUT, {"group": [(OURS, EVENTS), (f"{OURS}-17-0a1b2c3d", EVENTS)]}),
        (WITHOUT, {"group": [("kafka-console-consumer", "else")]}),
        (WITH_STAGE, {"group": [(OURS, KEYED)], "stage": [(OURS, EVENTS)]}),
    ],
)
async def test_members_that_agree_and_clients_of_others_are_no_trouble(config: Config, members: Any) -> None:
    assert await found(config, Admin(**members)) == []


async def test_a_stage_that_runs_and_tasks_behind_it_are_told_of_by_one_that_needs_none() -> None:
    lines = await found(WITHOUT, Admin(group=[(OURS, KEYED)], stage=[(OURS, EVENTS)]))
    assert lines[0].startswith(
        f"a member of consumer group {GROUP} that runs reads {KEYED}, and this one would read {EVENTS}"
    )
    assert lines[1].startswith(f"a member of consumer group {STAGE} that runs reads {EVENTS}, and this one needs no")
    assert len(lines) == 2


async def test_tasks_that_read_the_events_are_told_of_by_one_that_needs_a_stage() -> None:
    (line,) = await found(WITH_STAGE, Admin(group=[(OURS, KEYED), (f"{OURS}-17-0a1b2c3d", EVENTS)]))
    assert line == (
        f"a member of consumer group {GROUP} that runs reads {EVENTS}, and this one would read {KEYED}: stop all "
        "members before deduplication.key_template or kafka.event_key changes whether there is a repartition stage"
    )


async def test_a_group_that_may_not_be_asked_about_says_nothing() -> None:
    class Refusing(Admin):
        async def describe_consumer_groups(self, groups: Sequence[str]) -> list[Any]:
            raise GroupAuthorizationFailedError(groups[0])

    assert await found(WITHOUT, Refusing()) == []
    assert await found(WITHOUT, Admin(error=GroupAuthorizationFailedError.errno)) == []


@pytest.mark.parametrize(
    "admin", [Admin(state="PreparingRebalance"), Admin(state="CompletingRebalance"), Admin(state="", error=15)]
)
async def test_a_group_in_a_rebalance_does_not_say_what_its_members_read(admin: Any) -> None:
    answer = await disagreement(admin, WITHOUT)
    assert (list(answer.lines), list(answer.unknown)) == ([], [GROUP, STAGE])


async def test_a_group_without_an_answer_is_not_known() -> None:
    class Silent(Admin):
        async def describe_consumer_groups(self, groups: Sequence[str]) -> list[Any]:
            raise GroupCoordinatorNotAvailableError(groups[0])

    silent: Any = Silent()
    assert list((await disagreement(silent, WITHOUT)).unknown) == [GROUP, STAGE]
