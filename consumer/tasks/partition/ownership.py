"""Proof of ownership: a commit of group offsets by this member that the group coordinator has accepted (design sections
2 and 6).

Only the consumer's own commit carries the group's generation, which the coordinator checks. The answer to a fetch
proves nothing, and a transaction proves only that no other producer with the same transactional id was initialised yet.
"""

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from consumer.timing.clock import Clock


class NotOwner(Exception):
    """The coordinator refused the commit, or partitions were revoked meanwhile: this member owns no partition now.

    Where this class itself is raised, the group knows the member by another generation. The client has heard that too,
    and joins the group again.
    """


class Revoked(NotOwner):
    """A revocation began while the commit was under way. The rebalance callback closes the tasks, so there is nothing
    else to do."""


class UnknownMember(NotOwner):
    """The group does not know this member: its session has expired, or another process has joined with the same
    ``group_instance_id``. The client joins the group again."""


class NotAssigned(NotOwner):
    """The client says that the partitions are not assigned to this member. It does not join again by itself: the member
    has to be built anew."""


class Proofs:
    """The proofs of one member. A proof counts for half a session time-out, from the moment at which its commit was
    *sent*."""

    def __init__(self, consumer: AIOKafkaConsumer, session_timeout: float, clock: Clock) -> None:
        self._consumer = consumer
        self._session_timeout = session_timeout
        self._clock = clock
        self._revocations = 0
        self._proved_at: float | None = None

    @property
    def interval(self) -> float:
        """Seconds between two proofs: a third of the session time-out."""
        return self._session_timeout / 3

    @property
    def is_valid(self) -> bool:
        """Whether ownership is valid, so that a request may be sent: a proof was accepted, is young enough, and no
        revocation has begun since."""
        return self._proved_at is not None and self._clock.monotonic() - self._proved_at < self._session_timeout / 2

    def revoke(self) -> None:
        """Make every proof invalid, as a revocation begins: those that were accepted, and those that have no answer
        yet."""
        self._revocations += 1
        self._proved_at = None

    async def prove(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Prove ownership: commit these offsets as a member of the group.

        Raises `NotOwner` if the group refuses the commit, `TimeoutError` if the group does not answer within a session
        time-out, and `KafkaError` if the commit fails for another reason. Raises `Revoked` if a revocation has begun
        meanwhile: the client sends the generation that it has then, so such a commit may be accepted for partitions
        that are gone.
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
        """Commit these offsets for the last time, before the partitions are given back. It makes no proof valid.

        Raises `NotOwner` if the group refuses the commit, `TimeoutError` if the group does not answer within a session
        time-out, and `KafkaError` if the commit fails for another reason.
        """
        try:
            async with asyncio.timeout(self._session_timeout):
                await self._consumer.commit(dict(offsets))
        except CommitFailedError as error:
            refusal = UnknownMember if isinstance(error.__cause__, UnknownMemberIdError) else NotOwner
            raise refusal("the group refused the commit") from error
        except IllegalStateError as error:
            raise NotAssigned(f"not assigned: {error}") from error
