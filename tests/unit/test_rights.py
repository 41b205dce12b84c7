"""The trial of the right to write dead letters: what it does, and which of its failures forbid to start."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from consumer.config import KafkaConfig
from consumer.kafka.rights import TRIAL_SECONDS, try_dead_letters
from consumer.kafka.startup import StartupError


class Clients:
    """Makes one producer, which fails in one of its steps, and notes what is done with it."""

    def __init__(self, **failures: Exception) -> None:
        self.config = KafkaConfig()
        self.steps: list[str] = []
        self._failures = failures

    def transactional(self, transactional_id: str, *, timeout_seconds: float) -> Any:
        assert timeout_seconds == TRIAL_SECONDS, "nobody else ends what a member that dies leaves open"
        self.steps.append(transactional_id[: transactional_id.rindex("-") + 1])
        steps = ("start", "begin_transaction", "send_and_wait", "abort_transaction", "commit_transaction", "stop")
        return SimpleNamespace(**{step: self._step(step) for step in steps})

    def _step(self, name: str) -> Any:
        async def step(*arguments: Any, **_: Any) -> None:
            self.steps.append(" ".join([name, *(text for text in arguments if isinstance(text, str))]))
            if name in self._failures:
                raise self._failures[name]

        return step


async def tried(clients: Clients) -> str | None:
    return await try_dead_letters(clients)  # type: ignore[arg-type]


async def test_one_record_is_aborted_under_an_id_of_no_task_in_the_dead_letter_topic_only() -> None:
    clients = Clients()
    assert await tried(clients) is None
    assert clients.steps == [
        "clawdstrike-alerting-check-",
        "start",
        "begin_transaction",
        "send_and_wait clawdstrike.alerting.dlq",
        "abort_transaction",
        "stop",
    ]


async def test_a_missing_right_is_one_line_with_its_command() -> None:
    clients = Clients(send_and_wait=TopicAuthorizationFailedError("clawdstrike.alerting.dlq"))
    with pytest.raises(StartupError, match=r"^topic clawdstrike\.alerting\.dlq: .*`kafka-acls\.sh .* --topic \S+`$"):
        await tried(clients)
    assert clients.steps[-1] == "stop"
    with pytest.raises(StartupError, match=r"^kafka\.group_id: .*--resource-pattern-type prefixed`$"):
        await tried(Clients(start=TransactionalIdAuthorizationFailed("id")))


@pytest.mark.parametrize(
    "failure",
    [TimeoutError(), OSError("gone"), KafkaConnectionError("gone"), MessageSizeTooLargeError(), ProducerFenced()],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("step", ["start", "send_and_wait", "abort_transaction"])
async def test_what_is_no_matter_of_rights_is_left_to_later(step: str, failure: Exception) -> None:
    clients = Clients(**{step: failure})
    assert await tried(clients) == repr(failure)
    assert clients.steps[-1] == "stop"
