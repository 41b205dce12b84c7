"""Reads the metrics of the service, as any Prometheus would."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PREFIX = "clawdstrike_alerting_"
_ALERTABLE = ("triggered", "counted", "suppressed")


@dataclass(slots=True)
class PipelineNumbers:
    """The metrics of one pipeline at one moment. ``running`` is the number of partitions whose task decides."""

    events: Counter[str] = field(default_factory=Counter)
    notifications: Counter[str] = field(default_factory=Counter)
    alerts: Counter[str] = field(default_factory=Counter)
    owed: int = 0
    lag: int = 0
    running: int = 0
    queued: int = 0
    in_flight: int = 0
    dead_letters: int = 0
    troubles: int = 0

    @property
    def alertable(self) -> int:
        """The number of alertable events."""
        return sum(self.events[outcome] for outcome in _ALERTABLE)

    @property
    def suppressed(self) -> int:
        """The number of alertable events that were counted into an existing alert."""
        return self.events["suppressed"] + self.events["counted"]

    @property
    def errors(self) -> int:
        """The number of notifications that the provider has not accepted when it answered."""
        return self.notifications.total() - self.notifications["accepted"]

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in this pipeline, as far as the metrics show."""
        return not (self.lag or self.owed or self.queued or self.in_flight or self.alerts["resolving"])


Numbers = Mapping[str, PipelineNumbers]
"""The metrics of every pipeline by its name."""


async def scrape(session: aiohttp.ClientSession, url: str) -> Numbers | None:
    """The metrics now; None if there is no answer, or none yet."""
    try:
        async with session.get(url) as answer:
            return parse(await answer.text()) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None


def parse(text: str) -> dict[str, PipelineNumbers]:
    """Read metrics in Prometheus' text format."""
    found: dict[str, PipelineNumbers] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            pipeline = sample.labels.get("pipeline")
            if pipeline is not None and sample.name.startswith(_PREFIX):
                numbers = found.setdefault(pipeline, PipelineNumbers())
                _add(numbers, sample.name.removeprefix(_PREFIX), sample.labels, int(sample.value))
    return found


def _add(numbers: PipelineNumbers, name: str, labels: Mapping[str, str], value: int) -> None:
    match name:
        case "events_total":
            numbers.events[labels["outcome"]] += value
        case "notifications_total":
            numbers.notifications[labels["result"]] += value
        case "alerts":
            numbers.alerts[labels["status"]] += value
        case "owed":
            numbers.owed += value
        case "lag":
            numbers.lag += value
        case "task_running":
            numbers.running += value
        case "queued":
            numbers.queued += value
        case "in_flight":
            numbers.in_flight += value
        case "dead_letters_total":
            numbers.dead_letters += value
        case "task_troubles_total":
            numbers.troubles += value
