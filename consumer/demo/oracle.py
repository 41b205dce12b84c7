"""What the events of a run demand of a provider: worked out from the events alone.

This is a second, small answer to the question that the service answers. It shares no code with it, knows the whole list
at once, and needs neither clock nor state.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RANKS = ("info", "low", "medium", "high", "critical")
ALERTABLE = frozenset({"high", "critical"})
"""The demo's ``min_severity`` is high."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What of a produced event bears on what it demands."""

    event_id: str
    event_type: str
    guard: str
    severity: str
    allowed: bool
    session_id: str
    tenant_id: str
    labels: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Produced":
        """Of an event as it was sent."""
        decision, session = event["decision"], event["session"]
        return cls(
            event_id=event["event_id"],
            event_type=event["event_type"],
            guard=decision["guard"],
            severity=decision["severity"],
            allowed=decision["allowed"],
            session_id=session["id"],
            tenant_id=session["tenant_id"],
            labels=tuple(sorted(event["labels"].items())),
        )

    @property
    def is_alertable(self) -> bool:
        """Whether somebody is to be told."""
        return not self.allowed and self.severity in ALERTABLE


@dataclass(frozen=True, slots=True)
class Rules:
    """How one provider is told, as the demo's configuration says it.

    ``dedup_key`` and ``route`` are of an alertable event; a route is the names of whom the incident must go to: one
    integration at PagerDuty, the teams at OpsGenie. ``severities`` are the provider's words.
    """

    provider: str
    dedup_key: Callable[[Produced], str]
    route: Callable[[Produced], tuple[str, ...]]
    severities: Mapping[str, str]


@dataclass(slots=True)
class Demand:
    """One incident that must be there, exactly once. ``severity`` is the highest, in the provider's words."""

    dedup_key: str
    route: tuple[str, ...]
    severity: str
    is_resolved: bool = False
    event_ids: set[str] = field(default_factory=set)


def demands(produced: Iterable[Produced], rules: Rules) -> list[Demand]:
    """The incidents that these events demand, in order: one for each time that a problem begins.

    A problem begins with an alertable event of its key, and is over when its session ends. (What comes behind the end
    begins another. The demo's agents do not do that, for whether the provider sees one incident or two would then be a
    matter of when the first resolve got there.)
    """
    found: list[Demand] = []
    ranks: list[int] = []
    current: dict[str, int] = {}
    of_session: dict[str, set[str]] = {}
    for event in produced:
        if event.event_type == "session_end":
            for key in of_session.pop(event.session_id, ()):
                found[current.pop(key)].is_resolved = True
        elif event.is_alertable:
            key, rank = rules.dedup_key(event), RANKS.index(event.severity)
            if key not in current:
                current[key] = len(found)
                of_session.setdefault(event.session_id, set()).add(key)
                found.append(Demand(key, rules.route(event), rules.severities[event.severity]))
                ranks.append(rank)
            index = current[key]
            found[index].event_ids.add(event.event_id)
            if rank > ranks[index]:
                ranks[index], found[index].severity = rank, rules.severities[event.severity]
    return found
