"""Works out, from the events of a run alone, which incidents they demand at a provider.

This is a second, small answer to the question that the service answers. It shares no code with the service, knows all
events at once, and needs neither a clock nor state.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RANKS = ("info", "low", "medium", "high", "critical")
ALERTABLE = frozenset({"high", "critical"})
"""The demo's ``min_severity`` is high."""


@dataclass(frozen=True, slots=True)
class Produced:
    """The facts of a produced event on which its demands depend."""

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
        """The facts of an event that was sent."""
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
        """Whether somebody has to be told of the event."""
        return not self.allowed and self.severity in ALERTABLE


@dataclass(frozen=True, slots=True)
class Rules:
    """How one provider is told, according to the demo's configuration.

    ``dedup_key`` and ``route`` apply to an alertable event. A route has the names of the receivers of the incident: one
    integration at PagerDuty, the teams at OpsGenie. ``severities`` has the provider's names of severities.
    """

    provider: str
    dedup_key: Callable[[Produced], str]
    route: Callable[[Produced], tuple[str, ...]]
    severities: Mapping[str, str]


@dataclass(slots=True)
class Demand:
    """One incident that must exist exactly once. ``severity`` is the highest, by the provider's name."""

    dedup_key: str
    route: tuple[str, ...]
    severity: str
    is_resolved: bool = False
    event_ids: set[str] = field(default_factory=set)


def demands(produced: Iterable[Produced], rules: Rules) -> list[Demand]:
    """The incidents that these events demand, in order: one for each time that a problem begins.

    A problem begins with an alertable event of its key, and is over when its session ends. (An event after the end
    begins another problem. The demo's agents send none, since the number of incidents at the provider would then depend
    on when the first resolve arrives.)
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
