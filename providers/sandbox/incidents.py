"""PagerDuty's incidents and OpsGenie's alerts, for which people would have been woken up."""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from providers.sandbox.call import CallMoment

By = Literal["client", "person"]
"""Who did something: the service under test, or a person at the sandbox."""
Extra = Literal["event_told_before", "open_elsewhere"]

Happening = Literal["opened", "told again", "severity", "acknowledged", "unacknowledged", "note", "tags", "resolved"]


@dataclass(frozen=True, slots=True)
class IncidentEntry:
    """One thing that happened to an incident. ``detail`` is the client's text, and can be hostile."""

    at: float
    what: Happening
    by: By = "client"
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Incident:
    """One incident (PagerDuty) or alert (OpsGenie), from its opening to its end.

    ``number`` counts from 1 over both providers, in the order of opening. ``key`` is the secret key that opened it.
    ``severity`` is what the provider shows now: PagerDuty's severity of the last trigger, OpsGenie's priority;
    ``severities`` are all its values so far. ``event_ids`` are those of every trigger, in order, without repeats.
    ``occurrences`` is how many events the problem has had, by the largest number told. ``opened_with`` is the body that
    opened the incident (None in light mode). ``extra`` says why the incident should not have been opened: its event had
    been told before, or the same problem was open under another key.
    """

    number: int
    id: str
    provider: str
    key: str
    dedup_key: str
    title: str
    severity: str
    opened_at: float
    opened_monotonic: float
    status: Literal["open", "acknowledged", "ended"] = "open"
    triggers: int = 1
    occurrences: int = 1
    acknowledgements: int = 0
    acknowledged_by: By | None = None
    resolved_at: float | None = None
    resolved_monotonic: float | None = None
    ended_by: By | None = None
    extra: Extra | None = None
    event_ids: list[str] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    opened_with: Mapping[str, Any] | None = None

    @property
    def open(self) -> bool:
        """Whether the incident has not ended; an acknowledged one is still open."""
        return self.status != "ended"

    def add_trigger(self, event_id: str | None) -> None:
        """Count a trigger that told the same problem again."""
        self.triggers += 1
        self.saw(event_id)

    def saw(self, event_id: str | None) -> None:
        """Add the id of an event that a request about this incident carried."""
        if event_id is not None and event_id not in self.event_ids:
            self.event_ids.append(event_id)


def _unwatched(incident: Incident, step: IncidentEntry) -> None:
    pass


class Incidents:
    """All incidents, and the open incident of each dedup key.

    A dedup key is unique within its ``scope``: the routing key at PagerDuty, the account (``""``) at OpsGenie.
    ``keep_ended`` bounds how many ended incidents are remembered; the counts are of all. ``watch`` is called after
    every step of every incident.
    """

    def __init__(
        self,
        *,
        keep_ended: int | None = None,
        keep_bodies: bool = True,
        watch: Callable[[Incident, IncidentEntry], None] = _unwatched,
    ) -> None:
        self._keep_ended = keep_ended
        self._keep_bodies = keep_bodies
        self._watch = watch
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._all: dict[str, Incident] = {}
        self._open: dict[tuple[str, str, str], Incident] = {}
        self._open_by_dedup_key: Counter[tuple[str, str]] = Counter()
        self._ended: deque[str] = deque()
        self._events_told: dict[str, set[str]] = {}
        self._opened: Counter[str] = Counter()
        self._extra: Counter[str] = Counter()
        self._ended_count: Counter[str] = Counter()
        self._acknowledged: Counter[str] = Counter()

    def list(self, provider: str | None = None) -> list[Incident]:
        """The remembered incidents, in the order of opening."""
        return [incident for incident in self._all.values() if provider in (None, incident.provider)]

    def get(self, provider: str, id: str) -> Incident | None:
        """The incident with this id, open or ended; None if there is none."""
        incident = self._all.get(id)
        return incident if incident is not None and incident.provider == provider else None

    def find_open(self, provider: str, scope: str, dedup_key: str) -> Incident | None:
        """The open incident of a dedup key; None if there is none."""
        return self._open.get((provider, scope, dedup_key))

    def was_told(self, provider: str | None, event_id: str | None) -> bool:
        """Whether a trigger with this event has been accepted."""
        return provider is not None and event_id in self._events_told.get(provider, ())

    def trigger(
        self,
        provider: str,
        scope: str,
        *,
        key: str,
        dedup_key: str,
        title: str,
        severity: str,
        event_id: str | None,
        body: Mapping[str, Any],
        now: CallMoment,
        occurrences: int | None = None,
    ) -> tuple[Incident, bool]:
        """Add to the open incident of the dedup key, or open one. The second value says whether it was opened."""
        told = self._events_told.setdefault(provider, set())
        incident = self._open.get((provider, scope, dedup_key))
        opened = incident is None
        if incident is None:
            incident = Incident(
                number=sum(self._opened.values()) + 1,
                id=str(uuid.uuid4()),
                provider=provider,
                key=key,
                dedup_key=dedup_key,
                title=title,
                severity=severity,
                opened_at=now.wall,
                opened_monotonic=now.monotonic,
                extra=self._why_extra(provider, dedup_key, event_id in told),
                event_ids=[] if event_id is None else [event_id],
                severities=[severity],
                opened_with=body if self._keep_bodies else None,
            )
            self._all[incident.id] = incident
            self._open[provider, scope, dedup_key] = incident
            self._open_by_dedup_key[provider, dedup_key] += 1
            self._opened[provider] += 1
            self._extra[provider] += incident.extra is not None
        else:
            incident.add_trigger(event_id)
        if event_id is not None:
            told.add(event_id)
        incident.occurrences = max(occurrences or 1, incident.occurrences)
        self._watch(incident, IncidentEntry(now.wall, "opened" if opened else "told again", detail=title))
        return incident, opened

    def acknowledge(self, incident: Incident, *, by: By, now: CallMoment, detail: str = "") -> None:
        """Acknowledge an open incident."""
        incident.acknowledgements += 1
        incident.acknowledged_by = by
        self._acknowledged[incident.provider] += incident.status != "acknowledged"
        incident.status = "acknowledged"
        self._watch(incident, IncidentEntry(now.wall, "acknowledged", by, detail))

    def unacknowledge(self, incident: Incident, *, now: CallMoment) -> None:
        """Take back the acknowledgement of an open incident."""
        self._acknowledged[incident.provider] -= incident.status == "acknowledged"
        incident.status = "open"
        self._watch(incident, IncidentEntry(now.wall, "unacknowledged"))

    def set_severity(self, incident: Incident, severity: str, *, now: CallMoment) -> None:
        """Set the severity that the incident shows."""
        if severity != incident.severity:
            detail = f"{incident.severity} → {severity}"
            incident.severity = severity
            incident.severities.append(severity)
            self._watch(incident, IncidentEntry(now.wall, "severity", detail=detail))

    def note(self, incident: Incident, note: str, *, now: CallMoment) -> None:
        """Add a note to the incident."""
        incident.notes.append(note)
        self._watch(incident, IncidentEntry(now.wall, "note", detail=note))

    def tag(self, incident: Incident, tags: Iterable[str], *, now: CallMoment) -> None:
        """Set the tags of the incident."""
        incident.tags = [*tags]
        self._watch(incident, IncidentEntry(now.wall, "tags", detail=", ".join(incident.tags)))

    def end(self, scope: str, incident: Incident, *, by: By, now: CallMoment, detail: str = "") -> None:
        """End an open incident. The next trigger of its dedup key opens a new one."""
        self._acknowledged[incident.provider] -= incident.status == "acknowledged"
        incident.status = "ended"
        incident.ended_by = by
        incident.resolved_at, incident.resolved_monotonic = now
        dedup = (incident.provider, incident.dedup_key)
        del self._open[incident.provider, scope, incident.dedup_key]
        self._open_by_dedup_key[dedup] -= 1
        if not self._open_by_dedup_key[dedup]:
            del self._open_by_dedup_key[dedup]
        self._ended_count[incident.provider] += 1
        self._ended.append(incident.id)
        if self._keep_ended is not None and len(self._ended) > self._keep_ended:
            del self._all[self._ended.popleft()]
        self._watch(incident, IncidentEntry(now.wall, "resolved", by, detail))

    def end_by_person(self, provider: str, dedup_key: str, *, key: str | None, now: CallMoment) -> int:
        """A person closes the open incidents of a dedup key (under one secret key, or all). Returns their number."""
        found = [
            (scope, incident)
            for (of_provider, scope, of_dedup_key), incident in self._open.items()
            if (of_provider, of_dedup_key) == (provider, dedup_key) and key in (None, incident.key)
        ]
        for scope, incident in found:
            self.end(scope, incident, by="person", now=now)
        return len(found)

    def acknowledged(self, provider: str) -> int:
        """How many open incidents are acknowledged."""
        return self._acknowledged[provider]

    def counts(self) -> dict[str, dict[str, int]]:
        """By provider: how many incidents were opened, are open, have ended, and should not have been opened."""
        return {
            provider: {
                "opened": opened,
                "open": opened - self._ended_count[provider],
                "ended": self._ended_count[provider],
                "extra": self._extra[provider],
            }
            for provider, opened in self._opened.items()
        }

    def _why_extra(self, provider: str, dedup_key: str, told_before: bool) -> Extra | None:
        if told_before:
            return "event_told_before"
        return "open_elsewhere" if self._open_by_dedup_key[provider, dedup_key] else None
