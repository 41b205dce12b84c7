"""What a template of a described provider can be told, by the names of its placeholders.

A value is what JSON has: text, a number, true or false, a list, an object; None where the event lacks it. Texts come
from outside: they are made one line, and are not longer than `VALUE_LIMIT`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from providers.alert_summary import origin_fields, summary_fields
from providers.notification import Notification, Resolve, Trigger
from providers.text import one_line, shorten
from providers.timestamps import utc
from state.facts import LABEL, fact_of
from state.violation import Violation

Json = Any
"""A value that JSON can express."""

VALUE_LIMIT: Final = 1024
"""How many characters of a text are kept, where the placeholder names no other limit."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one request is made of: the notification, and the dedup key as the provider has it written."""

    notification: Notification
    dedup_key: str
    secret: str
    mapped_severity: Json = None


Fact = Callable[[Told], Json]
"""Gets the value of a placeholder from what the provider is told."""


def _of_trigger(get: Callable[[Trigger], Json]) -> Fact:
    def fact(told: Told) -> Json:
        assert isinstance(told.notification, Trigger)
        return get(told.notification)

    return fact


def _of_violation(get: Callable[[Violation], Json]) -> Fact:
    return _of_trigger(lambda trigger: get(trigger.violation))


def _own_tags(violation: Violation) -> list[str]:
    return [
        f"guard:{violation.guard}",
        f"severity:{violation.severity.label}",
        f"event_type:{violation.event_type}",
    ]


def _details(trigger: Trigger) -> dict[str, Json]:
    """All facts of the event that it has, and the summary of the alert, as an object."""
    violation = trigger.violation
    facts = {name: getattr(violation, name) for name in _PLAIN}
    facts["severity"] = trigger.severity.label
    facts["labels"] = dict(violation.labels) or None
    facts.update(origin_fields(trigger))
    facts.update(summary_fields(trigger.alert_summary))
    return {name: value for name, value in facts.items() if value is not None and value != ""}


_PLAIN: Final = tuple(name for name in Violation.__struct_fields__ if name not in ("severity", "labels"))

_OF_TRIGGERS: Final[Mapping[str, Fact]] = {
    **{name: _of_violation(fact_of(name)) for name in (*_PLAIN, "resource")},
    "labels": _of_violation(lambda violation: dict(violation.labels)),
    "tags": _of_violation(_own_tags),
    "severity": _of_trigger(lambda trigger: trigger.severity.label),
    "mapped_severity": attrgetter("mapped_severity"),
    "again": _of_trigger(attrgetter("again")),
    "raised": _of_trigger(attrgetter("raised")),
    "details": _of_trigger(_details),
    "occurrences": _of_trigger(lambda trigger: trigger.alert_summary.occurrences),
    "first_seen": _of_trigger(lambda trigger: utc(trigger.alert_summary.first_seen)),
    "last_seen": _of_trigger(lambda trigger: utc(trigger.alert_summary.last_seen)),
    "highest_severity": _of_trigger(lambda trigger: trigger.alert_summary.highest_severity.label),
    "topic": _of_trigger(lambda trigger: origin_fields(trigger).get("topic")),
    "partition": _of_trigger(lambda trigger: origin_fields(trigger).get("partition")),
    "offset": _of_trigger(lambda trigger: origin_fields(trigger).get("offset")),
}


def _ended_by(told: Told) -> Json:
    notification = told.notification
    ended_by = notification.ended_by if isinstance(notification, Resolve) else None
    return None if ended_by is None else ended_by.value


@dataclass(frozen=True, slots=True)
class Known:
    """What a template can be told: ``facts`` by their names, and the ``labels`` of the event as ``label.NAME``."""

    facts: Mapping[str, Fact]
    labels: bool = False


_KEY: Final[Mapping[str, Fact]] = {"dedup_key": attrgetter("dedup_key")}

OF_TRIGGER: Final = Known({**_KEY, **_OF_TRIGGERS}, labels=True)
"""The facts that a template of a trigger or an update can use."""

OF_ACKNOWLEDGE: Final = Known(_KEY)
OF_RESOLVE: Final = Known({**_KEY, "ended_by": _ended_by})
OF_NOTHING: Final = Known({})
"""The facts that a template can use which is about no alert: of a header, a heartbeat or a check."""

STRUCTURED: Final = frozenset({"labels", "tags", "details"})
"""The facts that are a list or an object: each of these can only be the whole of a value."""


def is_somewhere(name: str) -> bool:
    """Whether there is such a placeholder in any template."""
    return name in OF_TRIGGER.facts or name in OF_RESOLVE.facts or name.startswith(LABEL)


def label(name: str) -> Fact:
    """The label of the event that the placeholder ``label.NAME`` names."""
    return _of_violation(fact_of(name))


def fit(value: Json, limit: int = VALUE_LIMIT) -> Json:
    """The value with each of its texts on one line, and in at most ``limit`` characters."""
    match value:
        case str():
            return shorten(one_line(value), limit)
        case list():
            return [fit(item, limit) for item in value]
        case dict():
            return {fit(name, limit): fit(item, limit) for name, item in value.items()}
        case _:
            return value
