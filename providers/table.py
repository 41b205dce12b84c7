"""The table of all providers. A new provider is a folder, and its line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.provider import Provider
from providers.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Kind:
    """How a provider is configured and made: ``build`` takes settings of the type ``settings``."""

    settings: type[ProviderSettings]
    build: Callable[[Any], Provider]


PROVIDERS: Final[Mapping[str, Kind]] = {
    PagerDuty.name: Kind(PagerDutySettings, PagerDuty),
    OpsGenie.name: Kind(OpsGenieSettings, OpsGenie),
}
"""The providers by the name of their section under ``exporters.alerting``; topics, groups, metrics and logs have the
same name."""
