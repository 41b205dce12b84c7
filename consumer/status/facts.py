"""The service at one moment, as Kafka and the members' servers show it from outside. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group, and the input partitions that are assigned to it.

    ``host`` is the address that its connection came from, empty where the broker gives none. ``instance_id`` is None
    for a dynamic member.
    """

    client_id: str
    host: str = ""
    instance_id: str | None = None
    partitions: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """The offsets of an input partition.

    ``decided`` is the position of the last checkpoint (some seconds old while no event alerts), or the group's offset
    without one. ``committed`` is the group's offset, which never passes an event that is owed. Both are None where
    there is no offset yet. ``waits_since`` is the timestamp of the first record that is not decided, in seconds since
    the epoch; None if it is not known. ``stable`` is less than ``end`` where an open transaction hides the records
    behind it.
    """

    number: int
    end: int
    stable: int
    decided: int | None = None
    committed: int | None = None
    waits_since: float | None = None

    @property
    def undecided(self) -> int:
        """How many offsets lie between the decided position and the end; 0 where there is no position yet."""
        return 0 if self.decided is None else max(0, self.end - self.decided)

    @property
    def hidden(self) -> int:
        """How many of the undecided offsets an open transaction hides from every reader."""
        return min(self.undecided, max(0, self.end - self.stable))

    @property
    def lag(self) -> int:
        """The group's lag, as Kafka's own tools count it; 0 where there is no offset yet."""
        return 0 if self.committed is None else max(0, self.end - self.committed)


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A consumer group of ours: of a pipeline, or of its repartition stage. ``state`` is Kafka's word for it."""

    name: str
    group_id: str
    topic: str
    state: str
    members: Sequence[Member] = ()
    partitions: Sequence[Partition] = ()

    @property
    def unowned(self) -> Sequence[int]:
        """The partitions that no member has."""
        owned = {number for member in self.members for number in member.partitions}
        return [partition.number for partition in self.partitions if partition.number not in owned]


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """A pipeline: who decides, which alerts are open, and what people have not been told.

    ``alerts`` counts alerts by status, ``owed`` counts owed triggers by severity, the worst first. ``owed_since`` is
    the time since which the longest owed trigger has been owed, in seconds since the epoch. ``unreadable`` has a
    sentence for each part of the state that could not be read.
    """

    group: GroupStatus
    stage: GroupStatus | None
    routes: Sequence[str]
    alerts: Mapping[str, int] = field(default_factory=dict)
    owed: Mapping[str, int] = field(default_factory=dict)
    owed_since: float | None = None
    unreadable: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.group.name


@dataclass(frozen=True, slots=True)
class RouteSaid:
    """The trouble with a route, as a member's server reports it: ``condition`` is ``refused``, ``failing``,
    ``throttled``, or a word of a later release; ``since`` is RFC 3339."""

    pipeline: str
    route: str
    condition: str
    since: str
    reason: str


@dataclass(frozen=True, slots=True)
class Server:
    """What the server of the member on ``host`` answers. ``silence`` is why there is no answer, else None."""

    host: str
    port: int
    silence: str | None = None
    pipelines: Sequence[str] = ()
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()
    routes: Sequence[RouteSaid] = ()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Everything that was seen."""

    pipelines: Sequence[PipelineStatus]
    servers: Sequence[Server] = ()

    @property
    def groups(self) -> Sequence[GroupStatus]:
        """The groups of all pipelines, each after the group of its stage."""
        return [group for pipeline in self.pipelines for group in (pipeline.stage, pipeline.group) if group is not None]

    def server_of(self, host: str) -> Server | None:
        """What the server on this host answers; None if it was not asked."""
        return next((server for server in self.servers if server.host == host), None)
