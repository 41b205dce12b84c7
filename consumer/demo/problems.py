"""The run as people see it: the problems that agents have caused, and the state of each at both providers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from consumer.demo.oracle import RANKS, Produced
from consumer.demo.stage import DEFAULT, RESPONDER, RULES, route_shown
from providers.sandbox import Incident

State = Literal["waiting", "paging", "open", "acked", "resolved"]
"""``waiting``: no provider has been told yet; ``paging``: some have; the others: the state of the incidents."""


@dataclass(slots=True, kw_only=True)
class DemoProblem:
    """Something that one agent was denied again and again. ``events`` is the number of denials."""

    guard: str
    agent: str
    tenant: str
    severity: str
    dedup_keys: Mapping[str, str]
    events: int = 1
    incidents: Sequence[Incident] = ()

    @property
    def state(self) -> State:
        """The state of the problem, by its incidents."""
        if not self.incidents:
            return "waiting"
        if len(self.incidents) < len(self.dedup_keys):
            return "paging"
        if not any(one.open for one in self.incidents):
            return "resolved"
        return "acked" if any(one.status == "acknowledged" for one in self.incidents) else "open"

    @property
    def paged(self) -> list[str]:
        """Who has been told: first the teams for this kind of problem, then those that are told of everything."""
        names = dict.fromkeys(
            name
            for one in sorted(self.incidents, key=lambda one: one.provider)  # OpsGenie first, which has the teams
            for name in route_shown(one)
        )
        return sorted(names, key=lambda name: name in (RESPONDER, DEFAULT))


@dataclass(frozen=True, slots=True)
class SeenProblem:
    """The run at one moment: numbers, and the problems, the newest first."""

    events: int = 0
    violations: int = 0
    pages: int = 0
    resolved: int = 0
    problems: Sequence[DemoProblem] = field(default_factory=tuple)


class Problems:
    """Follows a run. Each call reads only the events that are new since the call before."""

    def __init__(self) -> None:
        self._read = 0
        self._violations = 0
        self._problems: dict[tuple[str, str], DemoProblem] = {}

    def at(self, produced: Sequence[Produced], incidents: Iterable[Incident]) -> SeenProblem:
        """The run now; ``produced`` are all events so far, ``incidents`` all that the sandbox has."""
        for event in produced[self._read :]:
            if event.is_alertable:
                self._add(event)
        self._read = len(produced)
        told: dict[tuple[str, str], Incident] = {}
        pages = resolved = 0
        for one in incidents:
            told[one.provider, one.dedup_key] = one  # of several incidents of a key the last: it has the present state
            pages += 1
            resolved += not one.open
        for problem in self._problems.values():
            found = (told.get(name) for name in problem.dedup_keys.items())
            problem.incidents = tuple(one for one in found if one is not None)
        return SeenProblem(len(produced), self._violations, pages, resolved, tuple(reversed(self._problems.values())))

    def _add(self, event: Produced) -> None:
        self._violations += 1
        problem = self._problems.get((event.guard, event.session_id))
        if problem is None:
            agent = event.session_id.removeprefix(f"{event.tenant_id}-").rpartition("-")[0]
            self._problems[event.guard, event.session_id] = DemoProblem(
                guard=event.guard,
                agent=agent or event.session_id,
                tenant=event.tenant_id,
                severity=event.severity,
                dedup_keys={name: rules.dedup_key(event) for name, rules in RULES.items()},
            )
            return
        problem.events += 1
        if RANKS.index(event.severity) > RANKS.index(problem.severity):
            problem.severity = event.severity
