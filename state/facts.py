"""How the facts of an event are got by the names that they have in templates, in silences and in the configuration.

A name is that of a field of a `Violation`, ``resource`` (short for ``resource_name``), or ``label.NAME``. Who takes
names decides which of them; each is looked up once, and gives a function that is cheap to call for every event.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

from state.violation import Severity

KEY_FIELDS: Final = (
    "guard",
    "session_id",
    "resource",
    "tenant_id",
    "event_type",
    "severity",
    "agent_id",
    "user_id",
    "environment",
    "resource_type",
    "ruleset",
    "runtime_agent_id",
    "runtime_agent_kind",
)
"""The facts that several events of one problem can have in common: the placeholders of a key template, besides
``label.NAME``."""

LABEL: Final = "label."
"""Stands before the name of a label."""

LACKING: Final = "default"
"""What stands in a text for a fact that the event lacks; an empty text counts as lacking."""

_SEVERITY_LABELS = tuple(severity.label for severity in sorted(Severity))


def is_label(name: str) -> bool:
    """Whether this is ``label.NAME``, with a name."""
    return name.startswith(LABEL) and name != LABEL


def fact_of(name: str) -> Callable[[Any], Any]:
    """A function that gets this fact from an event (a `Violation`, or what has the same attributes), as it is there:
    None where the event lacks it. Whether there is such a fact is not checked."""
    if name.startswith(LABEL):
        label = name.removeprefix(LABEL)
        return lambda event: event.labels.get(label)
    return attrgetter("resource_name" if name == "resource" else name)


def text_of(name: str) -> Callable[[Any], str | None]:
    """A function that gets this fact from an event as text; None, or an empty text, where the event lacks it."""
    if name == "severity":
        return lambda event: _SEVERITY_LABELS[event.severity]
    if name == "resource_port":
        return lambda event: None if event.resource_port is None else str(event.resource_port)
    return fact_of(name)
