"""Tries the right to write dead letters before anything is read: without it, the first poison event stops its
partition.

The trial writes one record in a transaction that it aborts, so no ``read_committed`` reader sees the record. It uses a
transactional id of its own: a task's id would fence the task's owner. It writes to the dead-letter topic only: in a
state partition its open transaction would hide the owner's checkpoints from the next owner (design section 15).
"""

import asyncio
import uuid

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from consumer.config import KafkaConfig
from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.kafka.startup import StartupError

TRIAL_SECONDS = 10.0
"""Time limit for the trial. If it takes longer, the reason is not a missing right, and the service starts all the
same."""


async def try_dead_letters(clients: KafkaClients) -> str | None:
    """Find out whether this user may write dead letters. Returns any other error of the trial, None without one.

    Another error forbids nothing: it may be over when the first dead letter is written, and is reported then if it is
    not. Raises `StartupError` if a right is missing, with the right and the command that grants it.
    """
    kafka = clients.config
    # A process that dies during its trial leaves the transaction open. Nobody else has this transactional id, so only
    # the broker's time-out ends the transaction, which until then hides every dead letter written after it.
    transactional_id = f"{kafka.group_id}-check-{uuid.uuid4().hex}"
    producer = clients.transactional(transactional_id, timeout_seconds=TRIAL_SECONDS)
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            await start_producer(producer)
            await _write_nothing(producer, kafka.topics.dlq)
    except TopicAuthorizationFailedError as error:
        topic = kafka.topics.dlq
        raise StartupError(
            f"topic {topic}: this user may not write to it, and what cannot become a notification has to go there: "
            f"{grant(kafka, f'--topic {topic}', *_WRITING)}"
        ) from error
    except TransactionalIdAuthorizationFailed as error:
        raise StartupError(
            f"kafka.group_id: this user may not use transactional ids that begin with {kafka.group_id}, and everything "
            f"is written under such: {grant(kafka, f'--transactional-id {kafka.group_id} {PREFIXED}', *_WRITING)}"
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        return repr(error)
    finally:
        await close_producer(producer)
    return None


async def _write_nothing(producer: AIOKafkaProducer, topic: str) -> None:
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"", headers=[("alerting.check", b"")])
    await producer.abort_transaction()


PREFIXED = "--resource-pattern-type prefixed"
_WRITING = ("Write", "Describe")


def grant(kafka: KafkaConfig, resource: str, *operations: str) -> str:
    """The command that gives this user the right to these operations."""
    principal = f"User:{kafka.security.username or '…'}"
    wanted = " ".join(f"--operation {operation}" for operation in operations)
    return f"`kafka-acls.sh --bootstrap-server … --add --allow-principal {principal} {wanted} {resource}`"
