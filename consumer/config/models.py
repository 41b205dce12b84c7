"""The whole configuration (design section 11), and the ``exporters.alerting`` section.

A provider's own settings are declared beside the provider; here they get what the pipeline needs: which events are the
same problem, and when a problem is over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator

from consumer.config.contradictions import why_nothing_alerts
from consumer.config.kafka import KafkaConfig
from consumer.config.service import DeliveryConfig, LogConfig, RouteSettings, ServerConfig, WebhooksConfig
from consumer.filter import Filter
from consumer.keys import KeyTemplate, check_text_template
from providers.masking import SHORTEST
from providers.opsgenie.settings import HeartbeatSettings, OpsGenieSettings
from providers.pagerduty.settings import Image, ImageSource, Link, PagerDutySettings
from providers.settings import NonEmpty, Settings
from state.violation import SEVERITY_BY_LABEL, Severity


def _severity(value: Any) -> Severity:
    if isinstance(value, Severity):
        return value
    if isinstance(value, str) and value in SEVERITY_BY_LABEL:
        return SEVERITY_BY_LABEL[value]
    raise ValueError(f"must be one of {', '.join(SEVERITY_BY_LABEL)}")


def _key_template(text: str) -> str:
    KeyTemplate.parse(text)
    return text


def _text_template(text: str) -> str:
    check_text_template(text)
    return text


MinSeverity = Annotated[Severity, BeforeValidator(_severity)]
KeyTemplateText = Annotated[str, AfterValidator(_key_template)]
TextTemplate = Annotated[str, AfterValidator(_text_template)]


class Deduplication(Settings):
    """Which events are the same problem (a key template), and how long they are suppressed, in seconds."""

    key_template: KeyTemplateText
    window_seconds: float = Field(default=300.0, ge=0)
    renotify_seconds: float = Field(default=3600.0, gt=0)


class PagerDutyDeduplication(Deduplication):
    """``Deduplication`` with PagerDuty's default key."""

    key_template: KeyTemplateText = "{guard}:{session_id}"


class OpsGenieDeduplication(Deduplication):
    """``Deduplication`` with OpsGenie's default key."""

    key_template: KeyTemplateText = "clawdstrike-{guard}-{session_id}"


class EventRule(Settings):
    """An event that ends alerts: what is given must be equal, what is None is not asked."""

    event_type: NonEmpty | None = None
    guard: NonEmpty | None = None
    allowed: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.event_type is None and self.guard is None and self.allowed is None:
            raise ValueError("needs at least one of event_type, guard and allowed")
        return self


class AutoResolve(Settings):
    """When a problem is over: quiet for ``after_minutes``, the session's end, or an event that says so.

    ``enabled: false`` switches off all three.
    """

    enabled: bool = True
    after_minutes: float = Field(default=30.0, gt=0)
    on_session_end: bool = True
    on_events: tuple[EventRule, ...] = ()


class LinkTemplate(Link):
    """A link whose templates have been checked."""

    href: TextTemplate
    text: TextTemplate | None = None


class ImageTemplate(Image):
    """An image whose templates have been checked."""

    src: Annotated[ImageSource, AfterValidator(_text_template)]
    href: TextTemplate | None = None
    alt: TextTemplate | None = None


def _check_routes(settings: Mapping[str, RouteSettings], keys: Mapping[str, str]) -> None:
    """Raises ValueError for settings of a route that is not there, and for two rates of one of ``keys`` (by route)."""
    for route in settings:
        if route not in keys:
            raise ValueError(f"routes: there is no route {route}, only {', '.join(keys)}")
    for index, (route, given) in enumerate(settings.items()):
        for other, its in list(settings.items())[:index]:
            if keys[route] == keys[other] and None is not given.rate_limit != its.rate_limit is not None:
                raise ValueError(f"routes: {other} and {route} have one key, and so one rate: give both the same")


class PagerDutySection(PagerDutySettings):
    """``exporters.alerting.pagerduty``: the provider's settings and the pipeline's."""

    links: tuple[LinkTemplate, ...] = ()
    images: tuple[ImageTemplate, ...] = ()
    client_url: TextTemplate | None = None
    routes: dict[NonEmpty, RouteSettings] = {}
    deduplication: PagerDutyDeduplication = PagerDutyDeduplication()
    auto_resolve: AutoResolve = AutoResolve()

    @model_validator(mode="after")
    def _routes_have_one_rate(self) -> Self:
        keys = {route: key.get_secret_value() for route, key in self.routing_keys().items()}
        _check_routes(self.routes, keys)
        return self


class OpsGenieSection(OpsGenieSettings):
    """``exporters.alerting.opsgenie``: the provider's settings and the pipeline's."""

    routes: dict[NonEmpty, RouteSettings] = {}
    deduplication: OpsGenieDeduplication = OpsGenieDeduplication()
    auto_resolve: AutoResolve = AutoResolve()
    heartbeat: HeartbeatSettings = HeartbeatSettings()

    @model_validator(mode="after")
    def _routes_exist(self) -> Self:
        _check_routes(self.routes, {"default": ""})
        return self


class AlertingConfig(Settings):
    """``exporters.alerting``: which events are alertable, and who is told. Exclude lists beat include lists;
    an empty include list is all."""

    enabled: bool = True
    min_severity: MinSeverity = Severity.HIGH
    include_guards: tuple[NonEmpty, ...] = ()
    exclude_guards: tuple[NonEmpty, ...] = ()
    include_event_types: tuple[NonEmpty, ...] = ()
    exclude_event_types: tuple[NonEmpty, ...] = ()
    pagerduty: PagerDutySection | None = None
    opsgenie: OpsGenieSection | None = None

    @property
    def filter(self) -> Filter:
        """Which denials are alertable."""
        return Filter(
            self.min_severity,
            self.include_guards,
            self.exclude_guards,
            self.include_event_types,
            self.exclude_event_types,
        )

    @model_validator(mode="after")
    def _something_can_alert(self) -> Self:
        if (why := why_nothing_alerts(self)) is not None:
            raise ValueError(why)
        return self


class Exporters(Settings):
    """``exporters``: of the engine's exporters, alerting is the one that is ours."""

    alerting: AlertingConfig = AlertingConfig()


class Config(Settings):
    """The configuration of the service. Values are checked, defaults are filled in, secrets do not print."""

    kafka: KafkaConfig = KafkaConfig()
    exporters: Exporters = Exporters()
    delivery: DeliveryConfig = DeliveryConfig()
    server: ServerConfig = ServerConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    log: LogConfig = LogConfig()

    @property
    def pipelines(self) -> list[str]:
        """The names of the providers that are configured; none if alerting is disabled."""
        return list(self.sections)

    @property
    def sections(self) -> dict[str, PagerDutySection | OpsGenieSection]:
        """The section of every pipeline by its name; none if alerting is disabled."""
        alerting = self.exporters.alerting
        if not alerting.enabled:
            return {}
        sections = {"pagerduty": alerting.pagerduty, "opsgenie": alerting.opsgenie}
        return {name: section for name, section in sections.items() if section is not None}


def secrets_of(config: BaseModel) -> frozenset[str]:
    """Every secret value in the configuration, or in a part of it: what must not be seen anywhere."""
    return frozenset(secret for _, secret in _secrets_in(config, ()) if secret)


def short_secrets(config: BaseModel) -> Sequence[str]:
    """The paths of secrets that are too short to be taken out of the log wherever they stand (`providers.masking`)."""
    return [".".join(path) for path, secret in _secrets_in(config, ()) if 0 < len(secret) < SHORTEST]


def _secrets_in(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, SecretStr):
        yield path, value.get_secret_value()
    elif isinstance(value, BaseModel | dict):
        for name, item in dict(value).items():
            yield from _secrets_in(item, (*path, str(name)))
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for number, item in enumerate(value):
            yield from _secrets_in(item, (*path, str(number)))
