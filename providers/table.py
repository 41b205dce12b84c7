"""The providers that there are. A new one is a folder, and its line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from providers.opsgenie.jsm import Jsm
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import JsmSettings, OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.provider import Provider
from providers.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Kind:
    """A provider, as it is configured and made: ``build`` takes settings of the type ``settings``."""

    settings: type[ProviderSettings]
    build: Callable[[Any], Provider]


PROVIDERS: Final[Mapping[str, Kind]] = {
    PagerDuty.name: Kind(PagerDutySettings, PagerDuty),
    OpsGenie.name: Kind(OpsGenieSettings, OpsGenie),
    Jsm.name: Kind(JsmSettings, Jsm),
}
"""By the name of the section under ``exporters.alerting``, which topics, groups, metrics and logs have as well."""
