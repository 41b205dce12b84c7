"""A consumer group and its members as a broker describes them (Kafka's DescribeGroups), with named fields."""

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
"""The group's coordinator is loading, missing, or has moved: such an error passes."""

UUID_LENGTH = 36
"""A member id is an instance id or a client id, then a hyphen and a UUID of this length."""


class DescribedMember(NamedTuple):
    """A member. ``metadata`` is its subscription and ``assignment`` its partitions: both are in Kafka's encoding, and
    empty while the group rebalances. ``host`` is the address that its connection came from, as the broker writes it.
    """

    member_id: str
    client_id: str
    metadata: bytes
    host: str = ""
    assignment: bytes = b""

    @property
    def name(self) -> str:
        """The member id without its UUID: the ``group.instance.id`` of a static member, else the client id."""
        return self.member_id[: -UUID_LENGTH - 1]

    @property
    def instance_id(self) -> str | None:
        """Its ``group.instance.id``, taken from the member id, since aiokafka does not request the field itself; None
        for a dynamic member."""
        return self.name if self.name and self.name != self.client_id else None


class DescribedGroup(NamedTuple):
    """A group. ``error`` is Kafka's code, 0 for none."""

    error: int
    name: str
    state: str
    protocol_type: str
    members: Sequence[DescribedMember]


def described_groups(answers: Iterable[Any]) -> Iterator[DescribedGroup]:
    """The groups in the result of the admin client's ``describe_consumer_groups``."""
    for answer in answers:
        for error, name, state, protocol_type, _, members, *_ in answer.groups:
            found = [
                DescribedMember(member_id, client_id, metadata, host, assignment)
                for member_id, client_id, host, metadata, assignment, *_ in members
            ]
            yield DescribedGroup(error, name, state, protocol_type, found)
