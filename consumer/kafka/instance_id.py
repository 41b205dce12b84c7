"""Two processes with one ``kafka.group_instance_id``: the one that started first goes on, the other ends (design
section 15).

Kafka lets each process take the membership from the other, every few seconds, for ever, and both believe that they are
the member (KIP-345). So each process identifies itself in its client id, and a process that has lost the membership
asks the group who has it.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from structlog.typing import FilteringBoundLogger

from consumer.kafka.group_members import described_groups
from consumer.timing.clock import Clock
from providers.errors import UserError

ASK_SECONDS = 5.0
"""Time limit for asking the group for its members; a rebalance of this member waits meanwhile."""

LOSSES = 5
LOSS_SECONDS = 60.0
"""A member that loses its membership `LOSSES` times within this time, without learning to whom, ends too."""

_TOKEN_LENGTH = 8


class InstanceIdTaken(UserError):
    """Another process uses this process's ``group_instance_id``, and this process is the one that has to end."""


@dataclass(frozen=True, slots=True, order=True)
class Process:
    """Identifies a process: when it started (milliseconds since the epoch, by its host's clock), and a random token.

    Processes are ordered by start time. All who compare two see the same order, so a wrong clock does no harm.
    """

    started: int
    token: str

    @classmethod
    def this(cls) -> "Process":
        """A process that starts now."""
        return cls(time.time_ns() // 1_000_000, secrets.token_hex(_TOKEN_LENGTH // 2))

    def client_id(self, name: str) -> str:
        """The client id by which other members recognise this process."""
        return f"{name}-{self.started}-{self.token}"

    @classmethod
    def of(cls, client_id: str) -> "Process | None":
        """The process with this client id; None if the client is not ours, or of a release that named no process."""
        _, *rest = client_id.rsplit("-", 2)
        match rest:
            case [started, token] if started.isdecimal() and len(token) == _TOKEN_LENGTH:
                return cls(int(started), token)
        return None


class InstanceId:
    """The ``group_instance_id`` of a member, and who else uses it."""

    def __init__(
        self,
        instance_id: str,
        process: Process,
        *,
        admin: AIOKafkaAdminClient,
        group_id: str,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self._instance_id = instance_id
        self._process = process
        self._admin = admin
        self._group_id = group_id
        self._clock = clock
        self._log = log
        self._losses: deque[float] = deque(maxlen=LOSSES)

    async def check(self, *, is_lost: bool) -> None:
        """Ask the group who has the membership. ``is_lost``: the group has said that this member has lost it.

        Raises `InstanceIdTaken` if this process is the one to end.
        """
        holder = await self._holder()
        if holder is not None and holder != self._process:
            if holder < self._process:
                raise self._taken()
            self._losses.clear()
            self._log.warning("instance_id_shared", group_instance_id=self._instance_id, goes_on=True)
        elif is_lost:
            now = self._clock.monotonic()
            self._losses.append(now)
            if len(self._losses) == LOSSES and now - self._losses[0] < LOSS_SECONDS:
                raise self._taken()

    def _taken(self) -> InstanceIdTaken:
        return InstanceIdTaken(
            f"kafka.group_instance_id: another member of group {self._group_id} uses '{self._instance_id}' too: "
            "give each member its own"
        )

    async def _holder(self) -> Process | None:
        """The process that has the membership now; None if nobody has it, or if that is not known."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answers = await self._admin.describe_consumer_groups([self._group_id])
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.warning("group_members_unknown", error=repr(error))
            return None
        return next((Process.of(client_id) for client_id in holders(answers, self._instance_id)), None)


def holders(answers: Iterable[Any], instance_id: str) -> Iterator[str]:
    """The client ids of the members with this instance id: none or one."""
    for group in described_groups(answers):
        for member in group.members:
            if member.name == instance_id:
                yield member.client_id
