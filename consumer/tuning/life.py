"""What became of one dedup key, or of one event, in recorded events (design section 23)."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from consumer.events.event import FetchedRecord, SecurityEvent
from consumer.events.schema import Poison, read_event
from consumer.events.wrapping import unwrapped
from consumer.tuning.explain import Configured, Explanation, Question, explain
from consumer.tuning.simulated import Said, Saying, Simulated
from providers.timestamps import utc
from state.alert import Alert
from state.occurrences import event_time
from state.why import why

KEPT: Final = 50
"""Moments that are kept of a life: the last ones."""

REPLAYED: Final = "by the events since then alone: what was open before is not known"
"""Where the alert is known from that a recorded event found."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Something was told, or would have been."""

    at: float
    what: str
    why: str


@dataclass(slots=True)
class KeyLife:
    """The life of one dedup key, as recorded events make it; ``told`` is the last event that somebody was told of."""

    configured: Configured
    dedup_key: str
    happened: deque[Happened] = field(default_factory=lambda: deque(maxlen=KEPT))
    counts: Counter[str] = field(default_factory=Counter)
    told: tuple[FetchedRecord, Explanation] | None = None
    simulated: Simulated = field(init=False)

    def __post_init__(self) -> None:
        self.simulated = Simulated(self.configured.pipeline, self._said)

    def take(self, record: FetchedRecord, at: float) -> None:
        """The next record."""
        pipeline, simulated, key = self.configured.pipeline, self.simulated, self.dedup_key
        event = pipeline.decoder.decode(record)
        if not isinstance(event, SecurityEvent) or not event.alertable or pipeline.template.render(event) != key:
            simulated.decide(record, at)
            return
        before, silenced = simulated.before(record, key, at), simulated.outcomes["silenced"]
        said = simulated.decide(record, at)
        if simulated.outcomes["silenced"] > silenced:
            self.counts["silenced"] += 1
            return
        if said is None:
            time = event_time(event.time, record.timestamp, at)
            self.counts[why(before, event.severity, time, at, pipeline.policy).value] += 1
            return
        explanation = explain(self.configured, Question(record, at, lambda _: before, REPLAYED))
        self.counts[said.what.value] += 1
        self.happened.append(Happened(at, said.what.value, explanation.verdict.says))
        self.told = record, explanation

    def _said(self, said: Said) -> None:
        if said.is_page and said.event is None and said.alert.dedup_key == self.dedup_key:
            self.counts[said.what.value] += 1
            self.happened.append(Happened(said.at, said.what.value, "its silences have ended, and it goes on"))
        if said.what is Saying.RESOLVE and said.alert.dedup_key == self.dedup_key:
            ended_by = said.alert.ended_by
            self.counts["resolve"] += 1
            self.happened.append(
                Happened(said.at, "resolve", f"ended by {'nobody knows what' if ended_by is None else ended_by.value}")
            )


class Search:
    """Looks for the event of an id, and explains it by what came before it."""

    def __init__(self, configured: list[Configured], event_id: str) -> None:
        self._simulated = [(one, Simulated(one.pipeline)) for one in configured]
        self._event_id = event_id
        self._needle = event_id.encode()
        self.record: FetchedRecord | None = None
        self.explanations: list[Explanation] = []

    def take(self, record: FetchedRecord, at: float) -> bool:
        """The next record; whether it is the one."""
        if record.value is not None and self._needle in record.value and _id_of(record) == self._event_id:
            self.record = record
            for configured, simulated in self._simulated:

                def before(dedup_key: str, simulated: Simulated = simulated) -> Alert | None:
                    return simulated.before(record, dedup_key, at)

                self.explanations.append(explain(configured, Question(record, at, before, REPLAYED)))
            return True
        for _, simulated in self._simulated:
            simulated.decide(record, at)
        return False


def _id_of(record: FetchedRecord) -> str | None:
    value = unwrapped(record.value or b"", record.headers)
    found = value if isinstance(value, Poison) else read_event(value)
    return found.event_id if isinstance(found, Poison) else found[0].event_id


def place(record: FetchedRecord) -> str:
    """Where a record stands, and since when."""
    if not record.topic:
        return "an event that was not read from Kafka"
    return (
        f"{record.topic}, partition {record.partition}, offset {record.offset}, written {utc(record.timestamp / 1000)}"
    )
