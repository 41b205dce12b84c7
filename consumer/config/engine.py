"""Translates the engine daemon's own file into a configuration of this service (design section 11).

The section ``siem.exporters.alerting`` says whom to notify about which events. Where it lacks a setting, the daemon's
default holds, which differs from ours. Its settings of batches, queues and files have no meaning here, and are named in
notes. The rest of the file is about the daemon itself. Our own sections beside ``siem`` (``kafka``, ``delivery``, …)
are read unchanged. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from consumer.config.document import Tree, at, is_true
from consumer.config.interpolation import Interpolation
from consumer.config.problem import Location
from state.violation import SEVERITY_BY_LABEL

ALERTING: Final[Location] = ("siem", "exporters", "alerting")
OURS: Final = ("kafka", "delivery", "server", "ingest", "webhooks", "history", "log")

KEY_TEMPLATE: Final = "{guard}:{session_id}:{resource}"
"""The daemon's default key template, for both providers."""

_OUR_ALERTING: Final[Location] = ("exporters", "alerting")
_PAGERDUTY_DEFAULTS: Final[Mapping[str, Any]] = {
    "custom_details": "false",
    "auto_resolve": {"enabled": "false"},
    "severity_mapping": {"low": "warning"},
}
_OPSGENIE_DEFAULTS: Final[Mapping[str, Any]] = {"auto_resolve": {"enabled": "false"}}
_SECRETS: Final = (("pagerduty", "routing_key"), ("opsgenie", "api_key"))
_LISTS: Final = {
    "include_guards": "include_guards",
    "exclude_guards": "exclude_guards",
    "include_types": "include_event_types",
    "exclude_types": "exclude_event_types",
}
"""The names of the lists in the exporter's ``filter``, and our names of the same lists."""

_RETRY: Final = ("initial_backoff_ms", "max_backoff_ms", "backoff_multiplier")
_RATE: Final = ("requests_per_second", "burst_size")
_WITHOUT_MEANING: Final[Mapping[Location, str]] = {
    ("dlq",): "what is not told becomes a dead letter in a topic",
    ("queue_capacity",): "what is not told yet is kept with its alert, in a topic; delivery.max_owed bounds that",
    ("runtime", "batch_size"): "nothing is sent in batches",
    ("runtime", "flush_interval_ms"): "what is to be told is told at once",
    ("runtime", "retry", "max_retries"): "it is tried again for delivery.give_up_after, however often that is",
}
_MISSING: Final = object()

Mistake = tuple[Location, str]


@dataclass(slots=True)
class Translation:
    """The daemon's file as a configuration of ours (``tree``). ``origins`` has the place in the daemon's file for
    places in ``tree``; ``mistakes`` have their place in the file; ``notes`` have a sentence for each setting that has
    no meaning here."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Location, Location] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def origin(self, location: Location) -> Location:
        """The place in the daemon's file of our setting at ``location``."""
        for length in range(len(location), 0, -1):
            if (origin := self.origins.get(location[:length])) is not None:
                return (*origin, *location[length:])
        return location

    def put(self, value: Any, at: Location, origin: Location) -> None:
        """Set the value at this place in the tree, unless there is one already."""
        *way, name = map(str, at)
        tree: Any = self.tree
        for step in way:
            tree = tree.setdefault(step, {})
            if not isinstance(tree, dict):
                return  # the model reports this mistake
        if name not in tree:
            tree[name] = value
            self.origins[at] = origin


def is_of_the_daemon(tree: Tree) -> bool:
    """Whether a file is the daemon's: it has ``siem``, and no ``exporters`` of ours."""
    return isinstance(tree, dict) and "siem" in tree and "exporters" not in tree


def translated(tree: dict[str, Tree], interpolation: Interpolation) -> Translation:
    """The daemon's file as a configuration of ours. References are resolved only in the parts that are read, since the
    daemon's other secrets need not exist on this host."""
    found = Translation({name: interpolation.resolve(tree[name], (name,)) for name in OURS if name in tree})
    siem = _mapping(tree["siem"], ("siem",), found)
    exporters = _mapping(siem.get("exporters"), ("siem", "exporters"), found)
    given = _with_secrets(_mapping(exporters.get("alerting"), ALERTING, found))
    own = [
        *(name for name in tree if name not in ("siem", *OURS)),
        *(f"siem.{name}" for name in siem if name not in ("enabled", "exporters")),
        *(f"siem.exporters.{name}" for name in exporters if name != "alerting"),
    ]
    if own:
        found.notes.append(f"{', '.join(own)}: without meaning here: the daemon's own")
    is_on = interpolation.resolve(siem.get("enabled"), ("siem", "enabled"))
    _Exporter(interpolation.resolve(given, ALERTING), is_on, found).translate()
    return found


class _Exporter:
    """The section ``siem.exporters.alerting``, with its references resolved."""

    def __init__(self, section: dict[str, Any], is_on: Any, found: Translation) -> None:
        self._section = section
        self._is_on = is_on
        self._found = found

    def translate(self) -> None:
        section, found = self._section, self._found
        found.origins[_OUR_ALERTING] = ALERTING
        alerting = {
            name: value
            for name, value in section.items()
            if name not in ("enabled", "runtime", "filter", "dlq", "queue_capacity", "timeout_ms", "min_severity")
        }
        found.tree["exporters"] = {"alerting": alerting}
        alerting["enabled"] = section.get("enabled")
        if not is_true(self._is_on):
            alerting["enabled"] = self._is_on
            found.origins[(*_OUR_ALERTING, "enabled")] = ("siem", "enabled")
        if alerting["enabled"] is None:
            alerting["enabled"] = "false"
        for provider, defaults in (("pagerduty", _PAGERDUTY_DEFAULTS), ("opsgenie", _OPSGENIE_DEFAULTS)):
            if isinstance(of_provider := alerting.get(provider), dict):
                alerting[provider] = self._provider(provider, of_provider, defaults)
        self._filter(alerting)
        self._runtime()
        for way, why in _WITHOUT_MEANING.items():
            if at(section, way, _MISSING) is not _MISSING:
                found.notes.append(f"{'.'.join(map(str, (*ALERTING, *way)))}: without meaning here: {why}")

    def _provider(self, name: str, given: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
        section = _merged(defaults, {key: value for key, value in given.items() if key != "dedup_key_template"})
        template = given.get("dedup_key_template") or KEY_TEMPLATE
        deduplication = section.setdefault("deduplication", {})
        if isinstance(deduplication, dict):
            deduplication.setdefault("key_template", template)
            at = (*_OUR_ALERTING, name, "deduplication", "key_template")
            self._found.origins[at] = (*ALERTING, name, "dedup_key_template")
        if name == "opsgenie" and "auto_resolve" not in given:
            self._found.notes.append(
                ".".join([*map(str, ALERTING), "opsgenie"]) + ": as the daemon, this closes no alert, unless "
                "auto_resolve: {enabled: true} is added there"
            )
        return section

    def _filter(self, alerting: dict[str, Any]) -> None:
        """Combine the exporter's filter with the alerting section's: an event has to pass both."""
        given = self._section.get("filter")
        other = _mapping(given, (*ALERTING, "filter"), self._found)
        for name in other.keys() - {"min_severity", *_LISTS}:
            self._found.mistakes.append(((*ALERTING, "filter", name), "unknown key"))
        alerting["min_severity"] = _higher(self._section.get("min_severity"), other.get("min_severity"))
        for theirs, ours in _LISTS.items():
            values, further = alerting.get(ours), other.get(theirs)
            if further is None:
                continue
            if not isinstance(further, list):
                self._found.mistakes.append(((*ALERTING, "filter", theirs), "must be a list"))
                continue
            if ours.startswith("exclude") and isinstance(values, list):
                alerting[ours] = [*values, *further]
            elif isinstance(values, list) and values and further:
                alerting[ours] = [value for value in values if value in further]
                if not alerting[ours]:
                    problem = f"nothing can ever alert: it has nothing in common with {ours} beside it"
                    self._found.mistakes.append(((*ALERTING, "filter", theirs), problem))
            elif not values:
                alerting[ours] = further
                self._found.origins[(*_OUR_ALERTING, ours)] = (*ALERTING, "filter", theirs)

    def _runtime(self) -> None:
        section, found = self._section, self._found
        at = (*ALERTING, "runtime")
        runtime = _mapping(section.get("runtime"), at, found)
        known = {"retry": ("max_retries", *_RETRY), "rate_limit": _RATE}
        for name in runtime.keys() - {"batch_size", "flush_interval_ms", *known}:
            found.mistakes.append(((*at, name), "unknown key"))
        for part, names in known.items():
            given = _mapping(runtime.get(part), (*at, part), found)
            for name, value in given.items():
                if name not in names:
                    found.mistakes.append(((*at, part, name), "unknown key"))
                elif name != "max_retries":
                    found.put(value, ("delivery", part, name), (*at, part, name))
        if (timeout := section.get("timeout_ms")) is not None:
            found.put(_seconds(timeout), ("delivery", "timeout_seconds"), (*ALERTING, "timeout_ms"))


def _mapping(value: Any, at: Location, found: Translation) -> dict[str, Any]:
    if value is None or isinstance(value, dict):
        return value or {}
    found.mistakes.append((at, "must be a mapping"))
    return {}


def _with_secrets(section: dict[str, Any]) -> dict[str, Any]:
    """The section with our form of references to secret files in place of the daemon's forms."""
    section = dict(section)
    for provider, name in _SECRETS:
        given = section.get(provider)
        if isinstance(given, dict) and isinstance(secret := given.get(name), str):
            for prefix in ("file:", "@"):
                if secret.startswith(f"{prefix}/"):
                    section[provider] = {**given, name: "${file:" + secret.removeprefix(prefix) + "}"}
    return section


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(given)
    for name, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(mine := merged.get(name, {}), Mapping):
            merged[name] = _merged(value, mine)
        elif merged.get(name) is None:
            merged[name] = value
    return merged


def _higher(*severities: Any) -> Any:
    """The highest of the severities that are given, without any the lowest. A wrong one is returned itself, so that the
    model reports it."""
    given = [severity for severity in severities if severity is not None]
    wrong = [severity for severity in given if not isinstance(severity, str) or severity not in SEVERITY_BY_LABEL]
    return wrong[0] if wrong else max(given, key=lambda label: SEVERITY_BY_LABEL[label], default="info")


def _seconds(milliseconds: Any) -> Any:
    try:
        return str(float(milliseconds) / 1000)
    except (TypeError, ValueError):
        return milliseconds  # the model reports this mistake
