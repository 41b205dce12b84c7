"""What a simulation comes to, in numbers."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from consumer.tuning.rows import Rows
from consumer.tuning.simulated import Said, Saying, Simulated
from state.alert import Alert

DIMENSIONS: Final = ("guard", "tenant", "severity", "route", "hour")
"""By what notifications are counted."""

_PAGE, _UPDATE, _RESOLVE, _EVENTS = range(4)
"""Where the counts of a value stand. Values are known by what is said of them, keys by pages and updates."""


@dataclass(slots=True)
class NotificationTally:
    """Counts what a provider is told. An update is a trigger about an incident that is there; a resolve is counted with
    what its alert was about."""

    pages: int = 0
    updates: Counter[str] = field(default_factory=Counter)
    resolves: Counter[str] = field(default_factory=Counter)
    by: dict[str, Rows] = field(default_factory=lambda: {name: Rows(_EVENTS, _EVENTS) for name in DIMENSIONS})
    by_key: Rows = field(default_factory=lambda: Rows(_EVENTS + 1, _RESOLVE))

    def said(self, said: Said) -> None:
        """The provider is told this."""
        alert = said.alert
        if said.owed is not None:
            guard, tenant, severity = said.owed.guard, said.owed.tenant, said.owed.severity
        else:
            source = alert.source
            guard, tenant = (None, None) if source is None else (source.guard, source.tenant)
            severity = alert.highest
        if said.what is Saying.PAGE:
            self.pages += 1
            what = _PAGE
        elif said.what is Saying.RESOLVE:
            self.resolves[alert.ended_by.value if alert.ended_by is not None else "unknown"] += 1
            what = _RESOLVE
            self.lived(alert)
        else:
            self.updates[said.what.value] += 1
            what = _UPDATE
        values = (guard, tenant, severity.label, said.route, _hour(said.at))
        for name, value in zip(DIMENSIONS, values, strict=True):
            self.by[name].add(value or "none", what)
        if what != _RESOLVE:
            self.by_key.add(alert.dedup_key, what)

    def lived(self, alert: Alert) -> None:
        """The alert is over, or the simulation is: so many events were counted into it."""
        self.by_key.add(alert.dedup_key, _EVENTS, alert.occurrences)

    def noisiest(self, at_most: int) -> list[dict[str, Any]]:
        """The keys that the provider was told of most often, with the events that they had."""
        ranked = sorted(
            self.by_key.items(), key=lambda item: (-item[1][_PAGE] - item[1][_UPDATE], -item[1][_EVENTS], item[0])
        )
        return [
            {"dedup_key": key, "pages": counts[_PAGE], "updates": counts[_UPDATE], "events": counts[_EVENTS]}
            for key, counts in ranked[:at_most]
        ]


@dataclass(slots=True)
class Side:
    """A simulated pipeline, and the tally of it."""

    simulated: Simulated
    tally: NotificationTally

    def finish(self, until: float) -> None:
        """Nothing occurs any more until this time; what is open then is counted."""
        self.simulated.finish(until)
        for alert in self.simulated.open_alerts():
            self.tally.lived(alert)

    def numbers(self) -> dict[str, int]:
        """What can be compared, and bounded, in one number each."""
        tally, outcomes = self.tally, self.simulated.outcomes
        updates, resolves = sum(tally.updates.values()), sum(tally.resolves.values())
        return {
            "pages": tally.pages,
            "updates": updates,
            "resolves": resolves,
            "notifications": tally.pages + updates + resolves,
            "suppressed": outcomes["suppressed"],
            "silenced": outcomes["silenced"],
            "dead_letters": sum(outcomes[stage] for stage in DEAD_LETTERS),
            "open": sum(1 for _ in self.simulated.open_alerts()),
        }

    def report(self, keys: int) -> dict[str, Any]:
        """All of it, for programs; of the noisiest keys so many."""
        tally, outcomes = self.tally, self.simulated.outcomes
        ignored = {reason: count for reason, count in self.simulated.pipeline.decoder.ignored.items() if count}
        return {
            **self.numbers(),
            "updates_by": dict(tally.updates),
            "resolved_by": dict(tally.resolves),
            "ignored_by": ignored,
            "dead_letters_by": {stage: outcomes[stage] for stage in DEAD_LETTERS if outcomes[stage]},
            "unexpected_keys": outcomes["unexpected_key"],
            "by": {name: _rows(name, values) for name, values in tally.by.items()},
            "noisiest": tally.noisiest(keys),
            "noisiest_may_lack": tally.by_key.lacking,
        }


DEAD_LETTERS: Final = ("decode", "stale", "decide")
"""The stages of dead letters that a decision makes."""


def side_of(simulated_pipeline: Any) -> Side:
    """A side that begins: no alert is there."""
    tally = NotificationTally()
    return Side(Simulated(simulated_pipeline, tally.said), tally)


def _rows(name: str, values: Rows) -> list[dict[str, Any]]:
    """The most pages first; hours in their order; last, as ``others``, those that are beyond any number."""
    ranked = sorted(values.items(), key=lambda item: item[0] if name == "hour" else "")
    if name != "hour":
        ranked.sort(key=lambda item: (-item[1][_PAGE], -item[1][_UPDATE], item[0]))
    if any(values.others):
        ranked.append(("others", values.others))
    return [
        {name: value, "pages": counts[_PAGE], "updates": counts[_UPDATE], "resolves": counts[_RESOLVE]}
        for value, counts in ranked
    ]


def _hour(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:00Z")
