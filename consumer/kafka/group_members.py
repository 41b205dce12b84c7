"""What a broker says of a consumer group and its members (Kafka's DescribeGroups), by name instead of by place."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

COORDINATOR_ERRORS: Final = (
    GroupLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
)
"""A group's coordinator is loading, not there, or another one: that passes."""

UUID_LENGTH = 36
"""Of what Kafka puts behind an instance id, or a client id, to make a member's id."""


class DescribedMember(NamedTuple):
    """A member; ``metadata`` is its subscription and ``assignment`` what it has, both in Kafka's encoding and empty
    while the group is in a rebalance. ``host`` is the address that its connection came from, as the broker writes it.
    """

    member_id: str
    client_id: str
    metadata: bytes
    host: str = ""
    assignment: bytes = b""

    @property
    def name(self) -> str:
        """What stands before the UUID in its id: the ``group.instance.id`` of a static member, else the client id."""
        return self.member_id[: -UUID_LENGTH - 1]

    @property
    def instance_id(self) -> str | None:
        """Its ``group.instance.id``, for which the client does not ask; None for a dynamic member."""
        return self.name if self.name and self.name != self.client_id else None


class DescribedGroup(NamedTuple):
    """A group. ``error`` is Kafka's code, 0 for none."""

    error: int
    name: str
    state: str
    protocol_type: str
    members: Sequence[DescribedMember]


def described_groups(answers: Iterable[Any]) -> Iterator[DescribedGroup]:
    """The groups in what the admin client's ``describe_consumer_groups`` gives."""
    for answer in answers:
        for error, name, state, protocol_type, _, members, *_ in answer.groups:
            found = [
                DescribedMember(member_id, client_id, metadata, host, assignment)
                for member_id, client_id, host, metadata, assignment, *_ in members
            ]
            yield DescribedGroup(error, name, state, protocol_type, found)
