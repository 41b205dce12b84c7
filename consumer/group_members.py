"""What a broker says of a consumer group and its members (Kafka's DescribeGroups), by name instead of by place."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple


class DescribedMember(NamedTuple):
    """A member; ``metadata`` is its subscription in Kafka's encoding, empty while the group is in a rebalance."""

    member_id: str
    client_id: str
    metadata: bytes


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
                DescribedMember(member_id, client_id, metadata) for member_id, client_id, _, metadata, *_ in members
            ]
            yield DescribedGroup(error, name, state, protocol_type, found)
