"""Settings whose part is not built yet. They are refused when they are set, never accepted and ignored.

Whoever builds such a part takes its line out of the table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.config.document import at, is_true
from consumer.config.problem import Location
from providers.opsgenie.settings import is_jira_service_management


def _anyhow(tree: Any) -> bool:
    return True


def _alerts_go_to_jira(tree: Any) -> bool:
    endpoint = at(tree, ("exporters", "alerting", "opsgenie", "api_endpoint"))
    return isinstance(endpoint, str) and is_jira_service_management(endpoint)


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One setting, for which values it needs what is not built, and with which other settings (``within``: their tree).

    ``together`` says in the message what these other settings are.
    """

    path: str
    refused: Callable[[Any], bool]
    within: Callable[[Any], bool] = _anyhow
    together: str = ""


UNBUILT: Sequence[Unbuilt] = (
    Unbuilt(
        "exporters.alerting.opsgenie.heartbeat.enabled",
        is_true,
        within=_alerts_go_to_jira,
        together=" with an api_endpoint of Jira Service Management",
    ),
    Unbuilt("webhooks.enabled", is_true),
)


def unbuilt_settings(tree: Any, table: Sequence[Unbuilt] = UNBUILT) -> Iterator[tuple[Location, str]]:
    """What of ``table`` is set in the tree, by location. Asked of the tree, because a model with other mistakes
    does not come into being, and all of them are told at once."""
    for setting in table:
        location = tuple(setting.path.split("."))
        if setting.refused(at(tree, location)) and setting.within(tree):
            yield location, f"not available in this version{setting.together}"
