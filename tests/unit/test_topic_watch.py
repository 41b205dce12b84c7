"""What is wrong with the topics while the service runs: what `topics check` says, a running member says too."""

from typing import Any

import pytest
from aiokafka.errors import KafkaError

from consumer.config import Config, parse_config
from consumer.group.topic_watch import TopicWatch
from consumer.kafka.topic_specs import follower_of
from consumer.kafka.topics import check_topics, member_topics

CONFIG: Config = parse_config(
    f"kafka: {{topics: {{events: events, state: state, dlq: dlq, feedback: feedback}}}}\n"
    f"exporters: {{alerting: {{pagerduty: {{routing_key: {'k' * 32}}}, opsgenie: {{api_key: k}}}}}}",
    {},
    lambda path: path,
)
STATE = follower_of(CONFIG, "state.pagerduty")
SENTENCE = (
    "topic state.pagerduty has 1 partitions, its input events has 3: "
    "`clawdstrike-alerting topics grow --config … --partitions 3`"
)
TOLD: tuple[str, ...] = (SENTENCE,)
NOTHING: tuple[str, ...] = ()


class Admin:
    """Has these topics, all as they must be but for ``policies``; ``asked`` is how often it was asked."""

    def __init__(self, **counts: int) -> None:
        self.counts = {"state.pagerduty": counts["state"], "events": counts["events"]}
        self.counts |= {"state.opsgenie": counts["events"], "dlq": 1, "feedback": 1}
        self.policies: dict[str, str] = {}
        self.asked = 0
        self.error: Exception | None = None

    async def describe_topics(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return [{"topic": name, "partitions": [None] * count} for name, count in self.counts.items()]

    async def describe_configs(self, resources: Any) -> list[Any]:
        class Response:
            resources = [
                (0, "", 2, name, [("cleanup.policy", self.policies.get(name, _policy(name)))]) for name in self.counts
            ]

        return [Response]


def _policy(name: str) -> str:
    return "compact" if name.startswith("state") else "delete"


class Log:
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.said.append(event)


def watch(admin: Admin) -> tuple[TopicWatch, Log]:
    log: Any = Log()
    client: Any = admin
    return TopicWatch(lambda: member_topics(client, CONFIG, STATE), STATE.name, log), log


async def test_kafka_is_asked_only_when_the_number_has_changed_or_somebody_asks() -> None:
    admin = Admin(events=2, state=2)
    topics, log = watch(admin)
    for known in (0, 2, 2, 2):  # 0: nothing is known yet
        await topics.look(known)
    assert (admin.asked, topics.outgrown, topics.unfit, log.said) == (1, (), (), [])
    topics.ask()  # a task is built
    await topics.look(0)
    await topics.look(2)
    assert admin.asked == 2


async def test_it_is_told_once_as_an_error_and_stays_told_until_the_topic_has_grown() -> None:
    admin = Admin(events=1, state=1)
    topics, log = watch(admin)
    await topics.look(1)
    admin.counts["events"] = 3
    for _ in range(3):
        await topics.look(3)
    assert topics.outgrown == TOLD
    assert log.said == ["topic_outgrown"]
    admin.counts["state.pagerduty"] = 3
    for _ in range(3):
        await topics.look(3)
    assert topics.outgrown == NOTHING
    assert log.said == ["topic_outgrown", "topic_has_grown"]
    assert admin.asked == 1 + 3 + 1


async def test_the_state_may_grow_first() -> None:
    """The running member says what `topics check` says, once the input is known to be smaller, and no more."""
    admin = Admin(events=6, state=6)
    topics, log = watch(admin)
    await topics.look(6)
    admin.counts["state.pagerduty"] = 8
    topics.ask()
    await topics.look(6)
    (sentence,) = topics.outgrown
    assert sentence.startswith(
        "topic state.pagerduty has 8 partitions, its input events has 6: give events 8 partitions too "
        "(`clawdstrike-alerting topics grow --config … --partitions 8`), or stop"
    )
    report = await check_topics(admin, CONFIG)
    assert sentence in report.outgrown
    assert not report.problems, "a member that starts in between is not refused"
    admin.counts["events"] = 8
    await topics.look(8)
    assert (topics.outgrown, log.said) == ((), ["topic_outgrown", "topic_has_grown"])


async def test_a_state_topic_that_the_broker_has_made_anew_is_told_with_both_fixes() -> None:
    """With one partition, and not compacted."""
    admin = Admin(events=3, state=3)
    topics, log = watch(admin)
    await topics.look(3)
    del admin.counts["state.pagerduty"]
    topics.ask()
    await topics.look(3)
    assert (topics.outgrown, len(topics.unfit)) == ((), 1)
    assert topics.unfit[0].startswith("topic state.pagerduty does not exist")
    admin.counts["state.pagerduty"], admin.policies["state.pagerduty"] = 1, "delete"
    await topics.look(3)
    assert topics.outgrown == TOLD
    assert topics.unfit[0].startswith("topic state.pagerduty: cleanup.policy is delete and must be compact")
    assert log.said == ["topic_unfit", "topic_outgrown", "topic_unfit"]
    admin.counts["state.pagerduty"] = 3
    del admin.policies["state.pagerduty"]
    await topics.look(3)
    assert (topics.outgrown, topics.unfit) == (NOTHING, NOTHING)
    assert log.said[3:] == ["topic_has_grown", "topics_fit_again"]


async def test_what_hinders_nobody_who_runs_is_told_and_noted() -> None:
    admin = Admin(events=3, state=3)
    admin.policies["dlq"] = "compact"
    topics, log = watch(admin)
    for _ in range(2):
        await topics.look(3)
    assert topics.unfit == NOTHING
    (sentence,) = topics.advice
    assert sentence.startswith("topic dlq: cleanup.policy is compact and must be delete")
    del admin.policies["dlq"], admin.counts["dlq"]
    await topics.look(3)
    assert topics.advice == NOTHING
    assert topics.unfit[0].startswith("topic dlq does not exist")
    assert log.said == ["topic_unfit", "topic_unfit"]


async def test_a_member_says_nothing_of_the_topics_of_another_provider() -> None:
    admin = Admin(events=7, state=7)
    admin.policies["state.opsgenie"] = "delete"
    topics, log = watch(admin)
    await topics.look(7)
    assert (topics.outgrown, topics.unfit, log.said) == ((), (), [])


async def test_a_broker_that_has_not_heard_of_it_yet_is_asked_again() -> None:
    admin = Admin(events=1, state=1)
    topics, _ = watch(admin)
    await topics.look(3)
    admin.counts["events"] = 3
    await topics.look(3)
    assert topics.outgrown == TOLD


@pytest.mark.parametrize("error", [KafkaError("no broker"), TimeoutError(), ConnectionError()])
async def test_what_was_told_stays_while_kafka_does_not_answer(error: Exception) -> None:
    admin = Admin(events=3, state=1)
    topics, log = watch(admin)
    await topics.look(3)
    admin.error = error
    await topics.look(3)
    assert topics.outgrown == TOLD
    assert log.said == ["topic_outgrown", "topics_unknown"]
