"""What is known of a transaction that has failed: whether the commit had been asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)

import consumer.transaction
from consumer.transaction import Refused, commit_transaction


class Producer:
    """Fails, or hangs, where the test says."""

    def __init__(self, commit: Callable[[], Awaitable[None]] | None = None) -> None:
        self.steps: list[str] = []
        self._commit = commit

    async def begin_transaction(self) -> None:
        self.steps.append("begin")

    async def commit_transaction(self) -> None:
        self.steps.append("commit")
        if self._commit is not None:
            await self._commit()


def failing(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


async def hanging() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


async def ended(producer: Producer, send: Callable[[], Awaitable[None]]) -> Any:
    try:
        await commit_transaction(producer, send)  # type: ignore[arg-type]
    except Exception as error:
        return error
    return None


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.transaction, "COMMIT_TIMEOUT_SECONDS", 0.05)


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), TopicAuthorizationFailedError("t")])
async def test_a_record_that_is_not_taken_is_a_refusal_and_nothing_is_committed(error: Exception) -> None:
    producer = Producer()
    refused = await ended(producer, failing(error))
    assert isinstance(refused, Refused)
    assert (refused.error, refused.is_mended, producer.steps) == (error, False, ["begin"])


@pytest.mark.usefixtures("_soon")
async def test_records_that_nobody_takes_in_time_are_refused_too() -> None:
    producer = Producer()
    assert isinstance(await ended(producer, hanging), Refused)
    assert producer.steps == ["begin"]


@pytest.mark.usefixtures("_soon")
async def test_a_commit_without_an_answer_has_an_unknown_outcome() -> None:
    assert type(await ended(Producer(hanging), nothing)) is TimeoutError


@pytest.mark.parametrize("error", [ProducerFenced(), KafkaError("the sender has ended"), NotEnoughReplicasError()])
async def test_what_is_wrong_with_the_producer_is_no_refusal(error: Exception) -> None:
    assert await ended(Producer(), failing(error)) is error


async def test_an_error_of_the_commit_is_no_refusal() -> None:
    error = TopicAuthorizationFailedError("t")
    assert await ended(Producer(failing(error)), nothing) is error
