"""Finds filters that contradict each other: guards or event types that are included but can never alert.

If no event at all can alert, the configuration is wrong; otherwise a warning is enough.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from providers.table import INSTALLED, place_of
from state.violation import SEVERITY_BY_LABEL, Severity

if TYPE_CHECKING:
    from consumer.config.models import AlertingConfig, Config

_ALERTING = "exporters.alerting"


def why_nothing_alerts(alerting: "AlertingConfig") -> str | None:
    """Why no event can pass these filters; None if some events can."""
    for what, include, exclude in _lists(alerting):
        if include and set(include) <= set(exclude):
            return f"nothing can ever alert: each of include_{what} is in exclude_{what}, too"
    return None


def without_effect(config: "Config") -> Sequence[str]:
    """A sentence for each setting that has no meaning here, or no effect because of other settings. It names the
    setting."""
    return [*config.notes, *INSTALLED.refused, *_never_alerts(config.exporters.alerting), *_never_taken(config)]


def _never_alerts(alerting: "AlertingConfig") -> Iterator[str]:
    for what, include, exclude in _lists(alerting):
        for name in include:
            if name in exclude:
                yield f"{_ALERTING}.include_{what}: {name} is in exclude_{what}, too, and never alerts"


def _never_taken(config: "Config") -> Iterator[str]:
    """Routes that no alert can take."""
    alerting = config.exporters.alerting
    filter = alerting.filter
    for provider, section in config.sections.items():
        routing = f"{place_of(provider)}.routing"
        for guard in section.routed_guards():
            if filter.reason(max(Severity), guard, "") == "guard":
                yield f"{routing}.by_guard.{guard}: is never taken, since no event of this guard alerts"
        for label in section.routed_severities():
            if filter.reason(SEVERITY_BY_LABEL[label], "", "") == "severity":
                least = alerting.min_severity.label
                yield f"{routing}.by_severity.{label}: is never taken, since min_severity is {least}"


def _lists(alerting: "AlertingConfig") -> Iterator[tuple[str, Collection[str], Collection[str]]]:
    yield "guards", alerting.include_guards, alerting.exclude_guards
    yield "event_types", alerting.include_event_types, alerting.exclude_event_types
