"""What is known to have happened in a phase, beside its events: what the account has to judge by."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

REJECTING = frozenset({400, 413, 422})
"""Statuses that say of an alert that it will never be taken (design section 13), where its key is right."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The requests about the alerts of these sessions are refused, for ever.

    ``status`` is the answer; None: there is none in time. ``only_ends``: only the request that ends an alert is.
    """

    sessions: Collection[str]
    status: int | None
    only_ends: bool = False

    @property
    def rejects(self) -> bool:
        """Whether what is refused is to be given up at once: a dead letter, or an end that nobody is told of."""
        return self.status in REJECTING


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when something was in the way of pages: of all, or of a provider's, of a key's, of a partition's."""

    begun: float
    over: float
    provider: str | None = None
    key: str | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Hidden:
    """From when to when an open transaction hid what came into a partition behind it."""

    partition: int
    begun: float
    over: float

    def __str__(self) -> str:
        return f"partition {self.partition} hidden"


@dataclass(frozen=True, slots=True)
class Growth:
    """From when to when, after partitions were added, homes may wait for those of before, which can be hidden."""

    begun: float
    over: float


@dataclass(frozen=True, slots=True)
class Rotation:
    """From ``at`` on what went through a provider's key ``old`` goes through ``new``, and ``old`` is a retired key."""

    provider: str
    old: str
    new: str
    at: float


@dataclass(frozen=True, slots=True)
class Rendering:
    """From ``since`` on a provider's keys are rendered by agent, or (``by_agent`` is false) by the default template.

    ``since`` is a moment in which nothing was written, and all that had been was decided.
    """

    provider: str
    since: float
    by_agent: bool


@dataclass(slots=True)
class Happened:
    """``shared``: from when to when two members used one ``group_instance_id``: each may be the owner for Kafka then,
    and what the other had sent is still on the wire. ``renderings``: how keys were rendered, in the order of time."""

    refusals: list[Refusal] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    shared: list[tuple[float, float]] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    renderings: list[Rendering] = field(default_factory=list)
    deaf: list[tuple[float, float]] = field(default_factory=list)
    """From when to when a member may not have read what was written to Kafka, although it was running."""
    unheard: set[tuple[str, str]] = field(default_factory=set)
    """The provider and dedup key of incidents of which somebody's resolve was lost on its way back."""

    def refusal(self, session: str) -> Refusal | None:
        """The refusal that this session's alerts meet."""
        return refusal_of(self.refusals, session)


def refusal_of(refusals: Iterable[Refusal], session: str) -> Refusal | None:
    """The first of these that is about a session."""
    return next((refusal for refusal in refusals if session in refusal.sessions), None)
