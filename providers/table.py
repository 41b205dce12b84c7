"""The providers that there are. A new one of ours is a folder, and its line here.

Besides there are those that other distributions bring (`providers.installed`), and those that the configuration
describes (`providers.configured`): as many as there are sections below `DESCRIBED`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from providers.configured.provider import ConfiguredProvider
from providers.contained import Contained, ProviderFault, containing
from providers.errors import Mistake
from providers.installed import Installed, installed
from providers.opsgenie.jsm import Jsm
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import JsmSettings, OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.provider import Provider, ProviderKind
from providers.settings import PipelineSettings

DESCRIBED: Final = "http"
"""The section under ``exporters.alerting`` whose sections each describe a provider, which has its section's name."""

BUILT_IN: Final[Mapping[str, ProviderKind]] = {
    PagerDuty.name: ProviderKind(PagerDutySettings, PagerDuty),
    OpsGenie.name: ProviderKind(OpsGenieSettings, OpsGenie),
    Jsm.name: ProviderKind(JsmSettings, Jsm),
}
"""The providers that this distribution brings, by their names."""

INSTALLED: Final[Installed] = installed({*BUILT_IN, DESCRIBED})
"""The providers that other installed distributions bring."""

PROVIDERS: Final[Mapping[str, ProviderKind]] = {**BUILT_IN, **INSTALLED.kinds}
"""The providers by the name of their section under ``exporters.alerting``; topics, groups, metrics and logs have the
same name."""


class UnusableProvider(Mistake):
    """A provider cannot be made of its section, which is valid otherwise."""


def place_of(name: str) -> str:
    """Where the section of the pipeline with this name stands in the configuration."""
    return f"exporters.alerting.{name}" if name in PROVIDERS else f"exporters.alerting.{DESCRIBED}.{name}"


def build(name: str, settings: PipelineSettings) -> Provider:
    """The provider of this name, with its faults contained.

    Raises `UnusableProvider` if it cannot be made; the error is one line, which names the section.
    """
    kind = PROVIDERS.get(name)
    make = partial(ConfiguredProvider, name) if kind is None else kind.build
    reason: str
    try:
        with containing("the provider cannot be made"):
            made: Provider = make(settings)
            return Contained(name, made)
    except ProviderFault as fault:
        reason = str(fault)
    raise UnusableProvider(f"{place_of(name)}: {reason}")
