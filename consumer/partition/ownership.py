"""Proof of ownership: a commit of this member that the group has accepted (design sections 2 and 6).

Only the consumer's own commit carries the group's generation. A fetch answer proves nothing, and a transaction only
that nobody else has initialised the producer's id yet.
"""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from consumer.clock import Clock


class NotOwner(Exception):
    """The group refused the proof, or took the partitions back meanwhile: this member owns nothing now.

    Of this class itself: the group knows the member, but by another generation. The client has heard of it too, and
    joins again.
    """


class Revoked(NotOwner):
    """A revocation has begun since the proof was begun: whoever handles that has taken care of the tasks."""


class UnknownMember(NotOwner):
    """The group does not even know the member: its session had expired, or another one has taken its
    ``group_instance_id``. The client joins again."""


class NotAssigned(NotOwner):
    """The client says that the partitions are not this member's. It does not join again: it has to be built anew."""


class Proofs:
    """The proofs of one member. A proof is fresh for half a session time-out from the moment it was *begun*."""

    def __init__(self, consumer: AIOKafkaConsumer, session_timeout: float, clock: Clock) -> None:
        self._consumer = consumer
        self._session_timeout = session_timeout
        self._clock = clock
        self._revocations = 0
        self._proved_at: float | None = None

    @property
    def interval(self) -> float:
        """Seconds between proofs: a third of the session time-out."""
        return self._session_timeout / 3

    @property
    def is_fresh(self) -> bool:
        """Whether a request may leave: an accepted proof is young enough, and no revocation has begun since."""
        return self._proved_at is not None and self._clock.monotonic() - self._proved_at < self._session_timeout / 2

    def revoke(self) -> None:
        """A revocation begins: no earlier proof counts, and none that is still unanswered will."""
        self._revocations += 1
        self._proved_at = None

    async def prove(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit these offsets as a member of the group; accepted, it is a fresh proof.

        Raises `NotOwner` if the group refuses, `Revoked` if a revocation has begun meanwhile (the client sends its
        current generation, so such a commit can pass for partitions that are gone); TimeoutError if the group does not
        answer within a session time-out; KafkaError for anything else.
        """
        begun, revocations = self._clock.monotonic(), self._revocations
        try:
            await self.conclude(offsets)
        except (NotOwner, KafkaError, TimeoutError):
            if self._revocations == revocations:
                raise
        if self._revocations != revocations:
            raise Revoked("the partitions were revoked meanwhile")
        self._proved_at = max(begun, self._proved_at or begun)

    async def conclude(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit these offsets as a member that is about to give its partitions back. Raises as `prove` does."""
        try:
            async with asyncio.timeout(self._session_timeout):
                await self._consumer.commit(dict(offsets))
        except CommitFailedError as error:
            refusal = UnknownMember if isinstance(error.__cause__, UnknownMemberIdError) else NotOwner
            raise refusal("the group refused the commit") from error
        except IllegalStateError as error:
            raise NotAssigned(f"not assigned: {error}") from error
