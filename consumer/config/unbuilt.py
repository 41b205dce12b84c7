"""Settings whose part is not built yet. They are refused when they are set, never accepted and ignored.

Whoever builds such a part takes its line out of the table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from consumer.config.problem import Location

_BOOL = TypeAdapter(bool)


def _is_on(value: Any) -> bool:
    try:
        return _BOOL.validate_python(value)
    except ValidationError:  # the model says so
        return False


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One setting, and for which values it needs what is not built."""

    path: str
    refused: Callable[[Any], bool]


UNBUILT: Sequence[Unbuilt] = (
    Unbuilt("exporters.alerting.pagerduty.change_events.enabled", _is_on),
    Unbuilt("webhooks.enabled", _is_on),
)


def unbuilt_settings(tree: Any, table: Sequence[Unbuilt] = UNBUILT) -> Iterator[tuple[Location, str]]:
    """What of ``table`` is set in the tree, by location. Asked of the tree, because a model with other mistakes
    does not come into being, and all of them are told at once."""
    for setting in table:
        location = tuple(setting.path.split("."))
        value = tree
        for key in location:
            if not isinstance(value, dict) or key not in value:
                break
            value = value[key]
        else:
            if setting.refused(value):
                yield location, "not available in this version"
