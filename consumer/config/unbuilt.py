"""Settings of features that are not built yet. They are refused when they are set, never accepted and ignored.

Whoever builds such a feature removes its line from the table.
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
    """One setting. ``refused`` says which of its values are refused, and ``within`` with which other settings (it gets
    the whole tree).

    ``together`` names these other settings in the message.
    """

    path: str
    refused: Callable[[Any], bool]
    within: Callable[[Any], bool] = _anyhow
    together: str = ""


UNBUILT: Sequence[Unbuilt] = (
    Unbuilt("exporters.alerting.pagerduty.change_events.enabled", is_true),
    Unbuilt(
        "exporters.alerting.opsgenie.heartbeat.enabled",
        is_true,
        within=_alerts_go_to_jira,
        together=" with an api_endpoint of Jira Service Management",
    ),
    Unbuilt("webhooks.enabled", is_true),
)


def unbuilt_settings(tree: Any, table: Sequence[Unbuilt] = UNBUILT) -> Iterator[tuple[Location, str]]:
    """The settings of ``table`` that the tree sets, with their places and messages. The tree is checked, not the model:
    with other mistakes there is no model, and all mistakes are reported at once."""
    for setting in table:
        location = tuple(setting.path.split("."))
        if setting.refused(at(tree, location)) and setting.within(tree):
            yield location, f"not available in this version{setting.together}"
