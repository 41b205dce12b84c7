"""What has become of every event and of every key, as the simulation has seen it, whatever the task believes."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Fates:
    """Sets of events, by their offsets, and of dedup keys. An event that is in none of `accounted` is lost."""

    told: set[int] = field(default_factory=set)
    """The provider has taken a trigger that covers it."""
    told_at: set[tuple[str, int]] = field(default_factory=set)
    """The same, with the place that the trigger went to."""
    seen: set[int] = field(default_factory=set)
    """It was counted into an incident that was open, or nobody had to be told of it."""
    dead: set[int] = field(default_factory=set)
    """A dead letter covers it."""
    waiting: set[int] = field(default_factory=set)
    """It is silenced, or its incident was closed by a request that landed late: it may still have to be told."""
    silent: set[int] = field(default_factory=set)
    """This owner of the partition, or one before it, has decided it as silenced."""
    muted: set[int] = field(default_factory=set)
    """It is silenced, and nobody has been told of it, nor is to be."""
    overflowed: set[str] = field(default_factory=set)
    """Keys with a dead letter because the route owed too much."""
    own_fault: set[str] = field(default_factory=set)
    """Keys of which a notification was rejected while the key of the route worked."""
    admitted: set[str] = field(default_factory=set)
    """Keys that a person has to look after, because a resolve was rejected."""
    dead_keys: set[str] = field(default_factory=set)
    """Keys with a dead letter."""
    unpromised: set[str] = field(default_factory=set)
    """Keys about which less is promised: a request has landed late, or somebody has closed the incident."""
    left_behind: set[str] = field(default_factory=set)
    """Keys of which the log has said that they end with an incident that is out of reach."""

    @property
    def accounted(self) -> set[int]:
        """The events that are not lost."""
        return self.told | self.seen | self.dead | self.waiting
