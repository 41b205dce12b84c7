"""What is known of a transaction that has failed: whether the commit had been asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import RecordMetadata

import consumer.kafka.transaction
from consumer.kafka.transaction import TransactionRefused, Unanswered, commit_transaction

RECORD = RecordMetadata("state", 0, TopicPartition("state", 0), 7, None, 0, 0)


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


def failing(error: BaseException) -> Callable[[], Awaitable[Any]]:
    async def fail() -> None:
        raise error

    return fail


async def hanging() -> Any:
    await asyncio.Event().wait()


async def sent() -> RecordMetadata:
    return RECORD


async def ended(producer: Producer, send: Callable[[], Awaitable[RecordMetadata]]) -> Any:
    try:
        await commit_transaction(producer, send)
    except Exception as error:
        return error
    return None


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.kafka.transaction, "COMMIT_TIMEOUT_SECONDS", 0.05)


@pytest.mark.parametrize(
    "error",
    [
        MessageSizeTooLargeError(),
        TopicAuthorizationFailedError("t"),
        NotEnoughReplicasError(),
        ProducerFenced(),
        IllegalOperation("no transaction is open"),
        KafkaError("the sender has ended"),
        ConnectionResetError(),
    ],
)
async def test_what_fails_before_the_commit_is_asked_for_is_a_refusal_and_nothing_is_committed(
    error: Exception,
) -> None:
    producer = Producer()
    refused = await ended(producer, failing(error))
    assert isinstance(refused, TransactionRefused)
    assert (refused.error, refused.is_mended, producer.steps) == (error, False, ["begin"])


async def test_a_fault_of_ours_is_no_refusal() -> None:
    error, producer = ValueError("cannot be encoded"), Producer()
    assert await ended(producer, failing(error)) is error
    assert producer.steps == ["begin"]


@pytest.mark.usefixtures("_soon")
async def test_records_that_nobody_takes_in_time_are_refused_too() -> None:
    producer = Producer()
    assert isinstance(await ended(producer, hanging), TransactionRefused)
    assert producer.steps == ["begin"]


@pytest.mark.usefixtures("_soon")
async def test_a_commit_without_an_answer_has_an_unknown_outcome() -> None:
    unanswered = await ended(Producer(hanging), sent)
    assert isinstance(unanswered, Unanswered)
    assert (type(unanswered.error), unanswered.record) == (TimeoutError, RECORD)


@pytest.mark.parametrize("error", [TopicAuthorizationFailedError("t"), ProducerFenced()])
async def test_so_has_one_that_fails_and_one_of_its_records_tells(error: Exception) -> None:
    unanswered = await ended(Producer(failing(error)), sent)
    assert isinstance(unanswered, Unanswered)
    assert (unanswered.error, unanswered.record) == (error, RECORD)
