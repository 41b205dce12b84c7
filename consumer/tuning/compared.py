"""Two configurations over the same events: which pages would be gone, and which would be new (design section 23).

Pages are compared by the event that opens them. So one that has another dedup key or route is the same page.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.events.event import FetchedRecord
from consumer.tuning.explain import Configured, gate_of, kept_by_filter
from consumer.tuning.simulated import Said
from consumer.tuning.tally import Side
from providers.timestamps import utc
from state.held import is_silenced

EXAMPLES: Final = 20
"""That are kept of the pages that are gone, and of those that are new."""


@dataclass(slots=True)
class Differences:
    """Pages that only one of two sides has: how many, why the other has not, and the first of them."""

    count: int = 0
    because: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, page: Said, record: FetchedRecord, because: str, instead: str) -> None:
        """One more; ``instead`` says what the other side makes of its event."""
        self.count += 1
        self.because[because] += 1
        if len(self.examples) < EXAMPLES:
            owed, event = page.owed, page.event
            assert owed is not None
            self.examples.append(
                {
                    "at": utc(page.at),
                    "dedup_key": page.alert.dedup_key,
                    "severity": owed.severity.label,
                    "guard": owed.guard,
                    "tenant": owed.tenant,
                    "event_id": None if event is None else event.event_id,
                    "partition": record.partition,
                    "offset": record.offset,
                    "instead": instead,
                }
            )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"pages": self.count, "because": dict(self.because.most_common()), "examples": self.examples}


@dataclass(frozen=True, slots=True)
class Version:
    """A provider by one configuration."""

    configured: Configured
    side: Side


@dataclass(slots=True)
class Comparison:
    """A provider by a new configuration beside an old one; None where that has no such provider."""

    new: Version | None
    old: Version | None
    gone: Differences = field(default_factory=Differences)
    added: Differences = field(default_factory=Differences)

    def decide(self, record: FetchedRecord, at: float) -> None:
        """Both decide a record, at its time."""
        new = None if self.new is None else self.new.side.simulated.decide(record, at)
        old = None if self.old is None else self.old.side.simulated.decide(record, at)
        if new is old:  # as most are: nobody is told by either
            return
        if old is not None and old.is_page and not (new is not None and new.is_page):
            self.gone.add(old, record, *_instead(self.new, new, record))
        elif new is not None and new.is_page and not (old is not None and old.is_page):
            self.added.add(new, record, *_instead(self.old, old, record))


def _instead(version: Version | None, said: Said | None, record: FetchedRecord) -> tuple[str, str]:
    """What a side has made of a record that opened no incident there: in a word or a setting, and in a sentence."""
    if version is None:
        return "no such provider", "the provider is not configured"
    if said is not None:
        return "told again", f"the open incident {said.alert.dedup_key} is told again"
    configured, simulated = version.configured, version.side.simulated
    gate = gate_of(record)
    if gate is None:
        return "dead letter", "it is a dead letter"
    severity = configured.pipeline.decoder.severities.of_denials.get(gate.decision.severity)
    if severity is None or not configured.alerting.filter.passes(
        gate.decision.allowed, severity, gate.decision.guard, gate.event_type
    ):
        path, what, _ = kept_by_filter(configured.alerting, gate)
        return path, f"filtered: {what}"
    dedup_key = simulated.dedup_key(record)
    alert = None if dedup_key is None else simulated.alert(record, dedup_key)
    if alert is None:
        return "dead letter", "it is a dead letter"
    if is_silenced(alert):
        return "silenced", f"a silence holds the alert {alert.dedup_key}"
    return "suppressed", f"counted into the alert {alert.dedup_key}, which was open since {utc(alert.first_seen)}"
