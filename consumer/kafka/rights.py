"""The right to write dead letters, tried before anything is read: without it the first poison stops its partition.

The trial is one record in a transaction that is aborted, so nobody who reads committed records sees it. It has a
transactional id of its own: a task's would fence the task's owner. It goes to the dead-letter topic alone: in a state
partition an open transaction would hide the owner's checkpoints from the next owner (design section 15).
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
"""For the trial. What takes longer is no matter of rights, and is left to later."""


async def try_dead_letters(clients: KafkaClients) -> str | None:
    """See whether this user may write dead letters. Returns what else has gone wrong, None if nothing has.

    Raises `StartupError` with the missing right and the command that gives it. Anything else forbids nothing: it can
    be over when the first dead letter is to be written, and is told there if it is not.
    """
    kafka = clients.config
    # A member that dies in its trial leaves it open, and no other has its transactional id, so the broker has to end
    # it. Until then it hides every dead letter that is written behind it.
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
