"""Why an event came, or would come, to what it does (design section 23): each step of its way with its reason.

Pure: it is given the record, the time, and the alert as it was before. What it comes to is what `Simulated` makes of
it, which decides as a task does; here is said why.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.config import AlertingConfig, Config, ProviderSection, secrets_of
from consumer.deciding.pipeline import Pipeline
from consumer.events.event import TOMBSTONE, FetchedRecord, Poison, SecurityEvent
from consumer.events.filter import End, Filter
from consumer.events.keys import value_of
from consumer.events.schema import Gate, read_gate
from consumer.events.severities import Severities
from consumer.events.wrapping import unwrapped
from consumer.tuning.simulated import Said, Saying, Simulated
from providers.masking import REDACTED, Mask
from providers.notification import Trigger
from providers.timestamps import utc
from state.alert import Alert
from state.facts import LACKING
from state.occurrences import event_time
from state.violation import Severity
from state.why import Why, why

_ALERTING = "exporters.alerting"


@dataclass(frozen=True, slots=True)
class Configured:
    """A pipeline, and the settings that it was made of."""

    pipeline: Pipeline
    alerting: AlertingConfig
    section: ProviderSection
    secrets: Collection[str]

    @classmethod
    def of(cls, config: Config, pipeline: Pipeline) -> "Configured":
        """The pipeline of a configuration."""
        section = config.sections[pipeline.provider.name]
        return cls(pipeline, config.exporters.alerting, section, secrets_of(config))

    @property
    def path(self) -> str:
        """Of the provider's section."""
        return f"{_ALERTING}.{self.pipeline.provider.name}"


@dataclass(frozen=True, slots=True)
class Question:
    """A record, decided at a time (seconds since the epoch), that found this alert of its key.

    ``alert_is_of`` says where the alert is known from: a part of a sentence.
    """

    record: FetchedRecord
    at: float
    alert: Callable[[str], Alert | None]
    alert_is_of: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of the way: what it found, and facts for programs."""

    name: str
    says: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it came to.

    ``kept_by`` is the one setting, field or alert that kept it from opening an incident, ``otherwise`` what would have
    to be different; both None if it opens one.
    """

    outcome: str
    says: str
    kept_by: str | None = None
    otherwise: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The way of one event through one pipeline."""

    provider: str
    steps: Sequence[Finding]
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        verdict = self.verdict
        return {
            "provider": self.provider,
            "outcome": verdict.outcome,
            "says": verdict.says,
            "kept_by": verdict.kept_by,
            "otherwise": verdict.otherwise,
            "steps": [{"step": step.name, "says": step.says, **step.facts} for step in self.steps],
        }


def explain(configured: Configured, question: Question) -> Explanation:
    """The way of the event, as far as it goes."""
    way = _Way(configured, question)
    for step in STEPS:
        if (found := step(way)) is not None:
            way.steps.append(found)
        if way.ends_here:
            break
    assert way.verdict is not None
    return Explanation(configured.pipeline.provider.name, way.steps, way.verdict)


@dataclass(slots=True)
class _Way:
    """How far it is explained."""

    configured: Configured
    question: Question
    steps: list[Finding] = field(default_factory=list)
    verdict: Verdict | None = None
    ends_here: bool = False
    gate: Gate | None = None
    event: SecurityEvent | None = None
    dedup_key: str = ""
    before: Alert | None = None
    simulated: Simulated | None = None
    said: Said | None = None

    @property
    def the_event(self) -> SecurityEvent:
        """The event, once it is known to be one that concerns somebody."""
        assert self.event is not None
        return self.event

    def ends(self, outcome: str, says: str, kept_by: str | None = None, otherwise: str | None = None) -> None:
        """Here its way ends."""
        self.verdict, self.ends_here = Verdict(outcome, says, kept_by, otherwise), True


def _decoded(way: _Way) -> Finding:
    record, decoder = way.question.record, way.configured.pipeline.decoder
    found = decoder.decode(record)
    if found is TOMBSTONE:
        way.ends("tombstone", "the record has no value: it is skipped", "the record", "an event as its value")
        return Finding("decoded", "a tombstone, not an event")
    if isinstance(found, Poison):
        where = found.path or "the whole value"
        kept_by, otherwise = where, "an event as the schema has it: what is wrong is a dead letter, and decides nothing"
        if found.error_class == "too_large":
            kept_by, otherwise = "delivery.max_event_bytes", "a smaller event, or a larger limit"
        way.ends("dead_letter", f"it becomes a dead letter ({found.error_class})", kept_by, otherwise)
        return Finding(
            "decoded", f"poison: {where}: {found.reason}", {"path": found.path, "error_class": found.error_class}
        )
    gate = gate_of(record)
    assert gate is not None
    way.gate, way.event = gate, found if isinstance(found, SecurityEvent) else None
    facts: dict[str, Any] = {
        "event_type": gate.event_type,
        "guard": gate.decision.guard,
        "allowed": gate.decision.allowed,
        "severity": gate.decision.severity,
    }
    if way.event is not None:
        violation = way.event.violation()
        facts |= {
            "event_id": violation.event_id,
            "timestamp": violation.timestamp,
            "tenant": violation.tenant_id,
            "session": violation.session_id,
            "reason": violation.reason,
        }
    said = "allowed" if gate.decision.allowed else f"a denial of severity {gate.decision.severity}"
    return Finding("decoded", f"{gate.event_type} of the guard {gate.decision.guard}: {said}", facts)


def gate_of(record: FetchedRecord) -> Gate | None:
    """What decides whether the event of a record is alertable; None if it holds none."""
    value = unwrapped(record.value or b"", record.headers)
    gate = read_gate(value) if isinstance(value, bytes) else value
    return None if isinstance(gate, Poison) else gate


def _filtered(way: _Way) -> Finding:
    """What of it the filter lets through."""
    gate, event = way.gate, way.event
    assert gate is not None
    if event is not None and event.alertable:
        return Finding("filter", "passes: a denial whose severity, guard and event type are alertable")
    if event is not None and event.ends is not None:
        what = "the alerts of its session" if event.ends is End.SESSION else "the alert of its key"
        setting = "on_session_end" if event.ends is End.SESSION else "on_events"
        path = f"{way.configured.path}.auto_resolve.{setting}"
        way.ends("ends", f"it ends {what}: they are resolved", path, "it is no problem, but the end of one")
        return Finding("filter", f"not alertable, but it ends {what} ({path})")
    path, what, otherwise = kept_by_filter(way.configured.alerting, gate)
    way.ends("filtered", f"nobody is told: {what}", path, otherwise)
    return Finding("filter", f"{what} ({path})", {"setting": path})


def kept_by_filter(alerting: AlertingConfig, gate: Gate) -> tuple[str, str, str]:
    """Why an event that has this gate is not alertable: the setting or field, what it says, and what would have to be
    different."""
    decision, asked = gate.decision, alerting.filter
    if decision.allowed:
        return "decision.allowed", "the action was allowed", "a denial: only denials alert, and no setting changes that"
    severity = Severities(alerting.treat_denied_info_as).of(decision)
    reason = asked.reason(severity, decision.guard, gate.event_type)
    if reason == "severity":
        least = asked.min_severity.label
        raised = ", or treat_denied_info_as" if decision.severity == Severity.INFO.label else ""
        return (
            f"{_ALERTING}.min_severity",
            f"its severity, {severity.label}, is below {least}",
            f"min_severity: {severity.label} (or lower), or an event of severity {least} or above{raised}",
        )
    name, value = ("guard", decision.guard) if reason == "guard" else ("event type", gate.event_type)
    return _kept_by_list(asked, name, value)


def _kept_by_list(asked: Filter, name: str, value: str) -> tuple[str, str, str]:
    field_name = "guards" if name == "guard" else "event_types"
    excluded: Collection[str] = getattr(asked, f"exclude_{field_name}")
    if value in excluded:
        setting = f"exclude_{field_name}"
        return f"{_ALERTING}.{setting}", f"the {name} {value} is excluded", f"{setting} without {value}"
    setting = f"include_{field_name}"
    return (
        f"{_ALERTING}.{setting}",
        f"the {name} {value} is not among those that are included",
        f"{setting} with {value}, or empty",
    )


def _key(way: _Way) -> Finding:
    event, template, record = way.the_event, way.configured.pipeline.template, way.question.record
    way.dedup_key = template.render(event)
    parts = {name: value_of(name)(event) or LACKING for name in sorted(template.fields)}
    facts: dict[str, Any] = {"dedup_key": way.dedup_key, "template": template.text, "parts": parts}
    says = f"{way.dedup_key} by {template.text}"
    record_key = way.configured.pipeline.record_key
    if record_key is not None and (unexpected := record_key.check(event, record.key)) is not None:
        found = "none" if unexpected.found is None else unexpected.found.decode(errors="backslashreplace")
        facts["unexpected_record_key"] = found
        says += (
            f"; its record has the key {found} and not its {record_key.field}, as kafka.event_key says: "
            "one problem can be told once in each partition"
        )
    return Finding("key", says, facts)


def _met(way: _Way) -> Finding:
    """The alert before, and what the pipeline makes of the event beside it."""
    question = way.question
    way.before = alert = question.alert(way.dedup_key)
    way.simulated = Simulated(way.configured.pipeline)
    if alert is not None:
        way.simulated.place(alert, question.record.partition, question.at)
    way.said = way.simulated.decide(question.record, question.at)
    if alert is None:
        return Finding("alert", f"there is none of this key ({question.alert_is_of})", {"alert": None})
    told = alert.last_notified
    facts = {
        "status": alert.status.value,
        "occurrences": alert.occurrences,
        "highest_severity": alert.highest.label,
        "first_seen": utc(alert.first_seen),
        "last_seen": utc(alert.last_seen),
        "told": None if told is None else {"severity": told.severity.label, "at": utc(told.at)},
        "owes": alert.owed is not None,
    }
    says = f"{alert.status.value}, with {_times(alert.occurrences)} before, the last at {utc(alert.last_seen)}"
    if told is not None:
        says += f"; told at {utc(told.at)} as {told.severity.label}"
    return Finding("alert", f"{says} ({question.alert_is_of})", {"alert": facts})


def _aged(way: _Way) -> Finding | None:
    pipeline, simulated = way.configured.pipeline, way.simulated
    assert simulated is not None
    if not simulated.outcomes["stale"]:
        return None
    event, record, at = way.the_event, way.question.record, way.question.at
    age = at - event_time(event.time, record.timestamp, at)
    way.ends(
        "dead_letter",
        "it is too old to be told: it becomes a dead letter, which can be replayed",
        "delivery.max_event_age",
        f"an event that is younger than {pipeline.max_event_age:.0f} s, or a longer max_event_age",
    )
    return Finding("age", f"{age:.0f} s, more than the {pipeline.max_event_age:.0f} s of delivery.max_event_age")


def _silenced(way: _Way) -> Finding | None:
    pipeline, simulated, record = way.configured.pipeline, way.simulated, way.question.record
    assert simulated is not None
    if not simulated.outcomes["silenced"]:
        return None
    silence = pipeline.silences.of(way.the_event, pipeline.provider.name, record.timestamp / 1000)[-1]
    until = utc(silence.expires_at)
    others = "" if silence.include_critical else ", or one of severity critical"
    way.ends(
        "silenced",
        f"it is counted, and nobody is told: what still goes on at {until} is told then",
        f"the silence {silence.id}",
        f"an event whose record is written from {until} on, or that the silence does not match{others}; "
        f"`silences expire {silence.id}` ends it",
    )
    return Finding(
        "silence",
        f"silenced by {silence.id} until {until}, by {silence.created_by}: {silence.reason}",
        {"silence": silence.id, "until": until},
    )


def _route(way: _Way) -> Finding:
    pipeline, before = way.configured.pipeline, way.before
    provider = pipeline.provider
    if before is not None and before.integration is not None:
        route = pipeline.route(before, before.route)
        says = f"{route}: an alert stays with the integration that its first event has decided"
    else:
        route = provider.route_of(way.the_event.violation())
        kind = route.partition(":")[0]
        says = f"{route}: {_WHY_ROUTE.get(kind, 'what matches no other')}"
    return Finding("route", says, {"route": route})


_WHY_ROUTE: Mapping[str, str] = {
    "by_guard": "its guard has an integration of its own",
    "by_tenant": "its tenant has an integration of its own",
    "by_severity": "its severity has an integration of its own",
}


def _outcome(way: _Way) -> Finding:
    configured, question, before, event = way.configured, way.question, way.before, way.the_event
    policy = configured.pipeline.policy
    time = event_time(event.time, question.record.timestamp, question.at)
    reason = why(before, event.severity, time, question.at, policy)
    key, path = way.dedup_key, f"{configured.path}.deduplication"
    facts = {"why": reason.value}
    if reason in (Why.NEW, Why.NOT_TOLD):
        way.verdict = Verdict("pages", f"it opens an incident: {_WHY[reason]}")
        return Finding("outcome", f"a trigger: {_WHY[reason]}", facts)
    assert before is not None
    last, told = min(before.last_seen, question.at), before.last_notified
    match reason:
        case Why.COUNTED:
            way.verdict = Verdict(
                "counted",
                "it is counted into a trigger that is owed already, and told with it",
                f"the alert {key}",
                "nothing: it is told, with what is owed, as soon as the provider takes that",
            )
            return Finding("outcome", "counted into a trigger that the provider has not accepted yet", facts)
        case Why.REOPENED:
            way.verdict = Verdict("pages", f"it opens an incident again: {_WHY[reason]}")
            return Finding("outcome", f"a trigger: {_WHY[reason]}", facts)
        case Why.ACKNOWLEDGED:
            assert told is not None
            way.ends(
                "suppressed",
                "it is counted, and nobody is told: a person has the alert",
                f"the alert {key}",
                f"an event of higher severity than {told.severity.label}, or an alert that nobody had acknowledged",
            )
            return Finding("outcome", "suppressed: somebody has acknowledged the alert", facts)
        case Why.WITHIN_WINDOW:
            assert told is not None
            since = max(0.0, time - last)
            way.ends(
                "suppressed",
                "it is counted, and nobody is told: the incident is open",
                f"the alert {key}, within {path}.window_seconds",
                f"an event after {utc(last + policy.window_seconds)} (a window_seconds below {since:g}), one from "
                f"{utc(told.at + policy.renotify_seconds)} on (renotify_seconds), or of higher severity than "
                f"{told.severity.label}: then the incident is told again. A page of its own needs another dedup key, "
                "or an alert that was over",
            )
            says = f"suppressed: {since:g} s after the last occurrence, within {policy.window_seconds:g} s"
            return Finding("outcome", f"{says} ({path}.window_seconds)", facts)
    setting = {Why.RENOTIFIED: f"{path}.renotify_seconds", Why.AFTER_WINDOW: f"{path}.window_seconds"}.get(reason)
    way.verdict = Verdict(
        "updates",
        f"it tells the open incident again: {_WHY[reason]}",
        f"the alert {key}, whose incident is open",
        "another dedup key, or an alert that was over: then it would open an incident of its own",
    )
    return Finding("outcome", f"a trigger with the same key: {_WHY[reason]}{f' ({setting})' if setting else ''}", facts)


_WHY: Mapping[Why, str] = {
    Why.NEW: "there was no alert of its key",
    Why.NOT_TOLD: "the provider has taken nothing of this alert",
    Why.REOPENED: "the alert was being resolved",
    Why.RAISED: "it is of higher severity than the provider was told",
    Why.RENOTIFIED: "the provider was told longer ago than renotify_seconds",
    Why.AFTER_WINDOW: "the last occurrence is longer ago than window_seconds",
}


def _payload(way: _Way) -> Finding | None:
    said, provider = way.said, way.configured.pipeline.provider
    if said is None or said.what is Saying.RESOLVE:
        return None
    trigger = Trigger.of(said.alert, way.the_event.violation())
    hidden = _Hidden(way.configured.secrets)
    requests = [
        {
            "method": request.method,
            "url": hidden(request.url),
            "headers": hidden(dict(request.headers)),
            "body": hidden(request.body),
        }
        for request in provider.requests(said.route, trigger)
    ]
    first = requests[0]
    return Finding("payload", f"{first['method']} {first['url']}", {"requests": requests})


STEPS: Final[Sequence[Callable[[_Way], Finding | None]]] = (
    _decoded,
    _filtered,
    _key,
    _met,
    _aged,
    _silenced,
    _route,
    _outcome,
    _payload,
)
"""The way, in its order. Each gives what it found, if there is something to say, and can end the way."""


class _Hidden:
    """Takes secrets out of what is shown, also those that are too short to be looked for in a text."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets, self._mask = secrets, Mask(secrets)

    def __call__(self, value: Any) -> Any:
        match value:
            case str():
                words = value.split(" ")  # a header: the scheme, and the key
                return self._mask(" ".join(REDACTED if word in self._secrets else word for word in words))
            case dict():
                return {name: self(item) for name, item in value.items()}
            case list() | tuple():
                return [self(item) for item in value]
            case _:
                return value


def _times(count: int) -> str:
    return "one event" if count == 1 else f"{count:,} events"
