"""The whole configuration (design section 11), and the ``exporters.alerting`` section.

A provider's own settings are declared beside the provider. This module adds the settings of the pipeline: which events
are the same problem, and when a problem is over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)

from consumer.config.contradictions import why_nothing_alerts
from consumer.config.ingest import IngestConfig
from consumer.config.kafka import KafkaConfig
from consumer.config.names import clashes
from consumer.config.service import (
    DeliveryConfig,
    HistoryConfig,
    LogConfig,
    RouteSettings,
    ServerConfig,
    WebhooksConfig,
)
from consumer.events.filter import Filter
from consumer.events.keys import KeyTemplate
from providers.configured.settings import ConfiguredSettings
from providers.contained import ProviderFault, containing
from providers.installed import unusable
from providers.located import located
from providers.masking import SHORTEST
from providers.names import check_name
from providers.provider import ProviderKind
from providers.settings import NonEmpty, PipelineSettings, Settings
from providers.table import DESCRIBED, PROVIDERS
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


MinSeverity = Annotated[Severity, BeforeValidator(_severity)]
KeyTemplateText = Annotated[str, AfterValidator(_key_template)]


class Deduplication(Settings):
    """Which events are the same problem (a key template), and how long they are suppressed, in seconds."""

    key_template: KeyTemplateText
    window_seconds: float = Field(default=300.0, ge=0)
    renotify_seconds: float = Field(default=3600.0, gt=0)


class EventRule(Settings):
    """An event that ends alerts: the fields that are given must be equal; a field that is None is ignored."""

    event_type: NonEmpty | None = None
    guard: NonEmpty | None = None
    allowed: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.event_type is None and self.guard is None and self.allowed is None:
            raise ValueError("needs at least one of event_type, guard and allowed")
        return self


class AutoResolve(Settings):
    """When a problem is over: no event for ``after_minutes``, the session's end, or an event of ``on_events``.

    ``enabled: false`` switches off all three.
    """

    enabled: bool = True
    after_minutes: float = Field(default=30.0, gt=0)
    on_session_end: bool = True
    on_events: tuple[EventRule, ...] = ()


def _check_routes(settings: Mapping[str, RouteSettings], keys: Mapping[str, str]) -> None:
    """Check the settings of routes; ``keys`` has the key of each route.

    Raises `ValueError` for settings of a route that does not exist, and for two rates of one key.
    """
    for route in settings:
        if route not in keys:
            raise ValueError(f"routes: there is no route {route}, only {', '.join(keys)}")
    for index, (route, given) in enumerate(settings.items()):
        for other, its in list(settings.items())[:index]:
            if keys[route] == keys[other] and None is not given.rate_limit != its.rate_limit is not None:
                raise ValueError(f"routes: {other} and {route} have one key, and so one rate: give both the same")


class ProviderSection(PipelineSettings):
    """``exporters.alerting.<provider>``: the provider's settings and the pipeline's."""

    routes: dict[NonEmpty, RouteSettings] = {}
    deduplication: Deduplication
    auto_resolve: AutoResolve = AutoResolve()

    @model_validator(mode="after")
    def _routes_have_one_rate(self) -> Self:
        _check_routes(self.routes, {route: key.get_secret_value() for route, key in self.route_keys().items()})
        return self

    @model_validator(mode="after")
    def _says_what_it_is_asked(self) -> Self:
        """What raises here, in code that may be another distribution's, would raise in the middle of a command."""
        self.endpoint(), self.retired_keys(), self.routed_guards(), self.routed_severities()
        tuple(self.described()), tuple(self.concealed())
        return self


def _contained(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """The section as it is read. What its provider's code raises, but for what it finds wrong, is a mistake as well."""
    fault: str
    try:
        with containing("the provider's settings cannot be read"):
            try:
                return read(value)
            except ValueError as error:  # also pydantic's own: what is wrong with the section
                wrong = error
        raise wrong
    except ProviderFault as error:
        fault = str(error)
    raise ValueError(fault)


def _section_of(settings: type[PipelineSettings]) -> type[ProviderSection]:
    """The type of the section of a provider that has these settings."""
    name = settings.__name__.removesuffix("Settings")
    KeyTemplate.parse(settings.default_key_template)
    deduplication = create_model(
        f"{name}Deduplication",
        __base__=Deduplication,
        __doc__=Deduplication.__doc__,
        key_template=(KeyTemplateText, settings.default_key_template),
    )
    bases: Any = (settings, ProviderSection)  # the defaults of the first win
    section = create_model(
        f"{name}Section",
        __base__=bases,
        __doc__=ProviderSection.__doc__,
        deduplication=(deduplication, deduplication.model_validate({})),
    )
    return cast("type[ProviderSection]", section)


class AlertingConfig(Settings):
    """``exporters.alerting``: which events are alertable, and who is notified. Exclude lists beat include lists;
    an empty include list means all. ``treat_denied_info_as``: the severity of denials whose own is ``info``, which the
    engine says where its audit had none (None: as it says)."""

    enabled: bool = True
    min_severity: MinSeverity = Severity.HIGH
    treat_denied_info_as: MinSeverity | None = None
    include_guards: tuple[NonEmpty, ...] = ()
    exclude_guards: tuple[NonEmpty, ...] = ()
    include_event_types: tuple[NonEmpty, ...] = ()
    exclude_event_types: tuple[NonEmpty, ...] = ()

    @property
    def sections(self) -> dict[str, ProviderSection]:
        """The sections of the providers that are configured, by their names: those in `PROVIDERS`, then those that are
        described here."""
        given = {name: section for name in PROVIDERS if (section := getattr(self, name)) is not None}
        return {**given, **getattr(self, DESCRIBED)}

    @property
    def filter(self) -> Filter:
        """The filter that decides which denials are alertable."""
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


def _described_name(name: str) -> str:
    return check_name(name, {*PROVIDERS, DESCRIBED})


def _usable_section_of(kind: ProviderKind) -> type[ProviderSection]:
    """The section of a provider. Of one whose settings can have none each section is a mistake."""
    try:
        with containing("the provider's settings can be no section"):
            return _section_of(kind.settings)
    except ProviderFault as fault:
        return _section_of(unusable(str(fault)).settings)


DescribedName = Annotated[str, AfterValidator(_described_name)]

if TYPE_CHECKING:
    WithProviders = AlertingConfig
else:
    _Contained = WrapValidator(_contained)
    WithProviders = create_model(
        "AlertingConfig",
        __base__=AlertingConfig,
        __doc__=AlertingConfig.__doc__,
        **{name: (Annotated[_usable_section_of(kind) | None, _Contained], None) for name, kind in PROVIDERS.items()},
        **{DESCRIBED: (dict[DescribedName, _section_of(ConfiguredSettings)], {})},
    )


class Exporters(Settings):
    """``exporters``: of the engine's exporters, only ``alerting`` concerns this service."""

    alerting: WithProviders = WithProviders()


class Config(Settings):
    """The configuration of the service. Values are checked, defaults are filled in, secrets do not print."""

    kafka: KafkaConfig = KafkaConfig()
    exporters: Exporters = Exporters()
    delivery: DeliveryConfig = DeliveryConfig()
    server: ServerConfig = ServerConfig()
    ingest: IngestConfig = IngestConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    history: HistoryConfig = HistoryConfig()
    log: LogConfig = LogConfig()

    _notes: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _names_are_of_one_pipeline(self) -> Self:
        described = getattr(self.exporters.alerting, DESCRIBED)
        wrong = list(clashes(self.kafka, list(PROVIDERS), list(described)))
        if wrong:
            raise located(type(self), ((("exporters", "alerting", DESCRIBED, name), why) for name, why in wrong))
        return self

    @property
    def notes(self) -> Sequence[str]:
        """A sentence for each setting of the file that has no meaning here; it names the setting."""
        return self._notes

    def take_notes(self, notes: Iterable[str]) -> None:
        """Set `notes`."""
        self._notes = tuple(notes)

    @property
    def pipelines(self) -> list[str]:
        """The names of the providers that are configured; none if alerting is disabled."""
        return list(self.sections)

    @property
    def sections(self) -> dict[str, ProviderSection]:
        """The section of every pipeline by its name; none if alerting is disabled."""
        alerting = self.exporters.alerting
        return alerting.sections if alerting.enabled else {}


def secrets_of(config: BaseModel) -> frozenset[str]:
    """Every secret value in the configuration, or in a part of it. None of them may be shown anywhere."""
    return frozenset(secret for _, secret in _secrets_in(config, ()) if secret)


def short_secrets(config: BaseModel) -> Sequence[str]:
    """The paths of secrets that are too short to be masked wherever they occur in the log (`providers.masking`)."""
    return [".".join(path) for path, secret in _secrets_in(config, ()) if 0 < len(secret) < SHORTEST]


def _secrets_in(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, SecretStr):
        yield path, value.get_secret_value()
    elif isinstance(value, BaseModel | dict):
        if isinstance(value, PipelineSettings):
            yield from ((path, text) for text in value.concealed())
        for name, item in dict(value).items():
            yield from _secrets_in(item, (*path, str(name)))
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for number, item in enumerate(value):
            yield from _secrets_in(item, (*path, str(number)))
