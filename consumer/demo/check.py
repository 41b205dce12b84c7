"""Compares the incidents that the sandbox received with those that the events demanded. Pure; the summary prints it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from consumer.demo.oracle import Demand
from providers.sandbox import Incident


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison. It holds if there are no ``differences``, each of which is a line about one fault."""

    what: str
    expected: str
    received: str
    differences: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether there are no differences."""
        return not self.differences


@dataclass(slots=True)
class _Pairs:
    """Demands with the incidents that meet them, and the demands and incidents that are left over."""

    met: list[tuple[Demand, Incident]] = field(default_factory=list)
    missing: list[Demand] = field(default_factory=list)
    extra: list[Incident] = field(default_factory=list)


def check_incidents(
    demanded: Sequence[Demand], incidents: Sequence[Incident], route_of: Callable[[Incident], tuple[str, ...]]
) -> list[Check]:
    """Compare one provider's incidents with the demands. Those of one dedup key are matched in their order."""
    pairs = _paired(demanded, incidents)
    missing = [f"missing: {demand.dedup_key}" for demand in pairs.missing]
    extra = [f"extra: {incident.dedup_key} ({incident.title})" for incident in pairs.extra]
    doubled = [
        f"extra ({incident.extra}): {incident.dedup_key}" for incident in incidents if incident.extra is not None
    ]
    return [
        Check("incidents", str(len(demanded)), str(len(incidents)), (*missing, *extra, *doubled)),
        _compare("severity", demanded, incidents, pairs, lambda one: (one.severity,), lambda one: (one.severity,)),
        _compare("route", demanded, incidents, pairs, lambda one: one.route, route_of),
        _compare("state", demanded, incidents, pairs, _state_demanded, _state_shown),
        _events(demanded, pairs),
    ]


def check_count(what: str, expected: int, received: int, *, at_least: bool = False) -> Check:
    """Compare two numbers. ``at_least``: more are right too, since some may have been counted twice."""
    holds = received >= expected if at_least else received == expected
    wanted = f"at least {expected}" if at_least else str(expected)
    return Check(what, wanted, str(received), () if holds else (f"{what}: {received} instead of {wanted}",))


def _paired(demanded: Sequence[Demand], incidents: Sequence[Incident]) -> _Pairs:
    shown: defaultdict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        shown[incident.dedup_key].append(incident)
    pairs = _Pairs()
    for demand in demanded:
        if shown[demand.dedup_key]:
            pairs.met.append((demand, shown[demand.dedup_key].pop(0)))
        else:
            pairs.missing.append(demand)
    pairs.extra = [incident for left in shown.values() for incident in left]
    return pairs


def _compare(
    what: str,
    demanded: Iterable[Demand],
    incidents: Iterable[Incident],
    pairs: _Pairs,
    wanted: Callable[[Demand], tuple[str, ...]],
    shown: Callable[[Incident], tuple[str, ...]],
) -> Check:
    wrong = tuple(
        f"{what} of {demand.dedup_key}: {' + '.join(shown(incident))} instead of {' + '.join(wanted(demand))}"
        for demand, incident in pairs.met
        if wanted(demand) != shown(incident)
    )
    return Check(what, _tally(map(wanted, demanded)), _tally(map(shown, incidents)), wrong)


def _events(demanded: Iterable[Demand], pairs: _Pairs) -> Check:
    """Check that each incident names at least one event, and only events of its own problem."""
    wrong: list[str] = []
    right = 0
    for demand, incident in pairs.met:
        told = set(incident.event_ids)
        if told and told <= demand.event_ids:
            right += 1
        else:
            foreign = len(told - demand.event_ids)
            why = f"tells of {foreign} foreign events" if told else "tells of no event"
            wrong.append(f"{demand.dedup_key} {why}")
    count = sum(1 for _ in demanded)
    return Check("own events", f"{count} incidents", f"{right} incidents", tuple(wrong))


def _state_demanded(demand: Demand) -> tuple[str]:
    return ("resolved" if demand.is_resolved else "open",)


def _state_shown(incident: Incident) -> tuple[str]:
    return (incident.status if incident.open else "resolved",)


def _tally(several: Iterable[Sequence[str]]) -> str:
    counts = Counter(word for words in several for word in words)
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"
