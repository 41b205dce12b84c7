"""How the service is at one moment, as it is seen from outside: by Kafka, and by the members' servers. Values only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group, and the partitions of its input that it has.

    ``host`` is the address that it came from, empty where the broker does not say one. ``instance_id`` is None for a
    dynamic member.
    """

    client_id: str
    host: str = ""
    instance_id: str | None = None
    partitions: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of an input, by its offsets.

    ``decided`` is the position of the last checkpoint, which is some seconds old where nothing alerts; ``committed`` is
    the group's offset, which never passes what is owed. Both are None where there is none yet. ``waits_since`` is the
    timestamp of the first record that is not decided, in seconds since the epoch; None if it is not known.
    ``stable`` is less than ``end`` where a transaction hides what is behind it.
    """

    number: int
    end: int
    stable: int
    decided: int | None = None
    committed: int | None = None
    waits_since: float | None = None

    @property
    def undecided(self) -> int:
        """How many offsets are behind the decided position; 0 where nothing has begun."""
        return 0 if self.decided is None else max(0, self.end - self.decided)

    @property
    def hidden(self) -> int:
        """How many of these nobody is shown, because of an open transaction."""
        return min(self.undecided, max(0, self.end - self.stable))

    @property
    def lag(self) -> int:
        """The group's lag, as Kafka's own tools count it; 0 where nothing has begun."""
        return 0 if self.committed is None else max(0, self.end - self.committed)


@dataclass(frozen=True, slots=True)
class Group:
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
class Pipeline:
    """A pipeline: who decides, what is open, and what people have not been told.

    ``alerts`` counts by status, ``owed`` by severity, the worst first; ``owed_since`` is since when the longest owed
    trigger has been owed. ``unreadable`` says what of the state could not be seen, a sentence for each.
    """

    group: Group
    stage: Group | None
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
    """What a member says is wrong with a route: ``condition`` is ``refused``, ``failing``, ``throttled``, or a word of
    a later release; ``since`` is RFC 3339."""

    pipeline: str
    route: str
    condition: str
    since: str
    reason: str


@dataclass(frozen=True, slots=True)
class Server:
    """What the server of a member says: that of ``host``. ``silence`` is why nothing is known of it, else None."""

    host: str
    port: int
    silence: str | None = None
    pipelines: Sequence[str] = ()
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()
    routes: Sequence[RouteSaid] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that was seen."""

    pipelines: Sequence[Pipeline]
    servers: Sequence[Server] = ()

    @property
    def groups(self) -> Sequence[Group]:
        """Those of the pipelines, each behind that of its stage."""
        return [group for pipeline in self.pipelines for group in (pipeline.stage, pipeline.group) if group is not None]

    def server_of(self, host: str) -> Server | None:
        """What the server on this host says; None where none was asked."""
        return next((server for server in self.servers if server.host == host), None)
