"""The settings of PagerDuty that the provider itself needs (design section 11)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from providers.settings import ApiKey, Endpoint, NonEmpty, ProviderSettings, Settings, SeverityName, check_retired
from providers.template import Template, check_template

PagerDutySeverity = Literal["critical", "error", "warning", "info"]
"""The severities that PagerDuty knows."""

EventCategory = Literal[
    "authentication", "authorization", "file", "network", "process", "tool", "configuration", "session"
]

_DEFAULT_SEVERITIES: dict[str, str] = {
    "critical": "critical",
    "high": "error",
    "medium": "warning",
    "low": "info",
    "info": "info",
}
_ROUTING_KEY_LENGTH = 32


def _check_routing_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) != _ROUTING_KEY_LENGTH:
        raise ValueError(f"must be {_ROUTING_KEY_LENGTH} characters")
    return key


def is_global(key: SecretStr) -> bool:
    """Whether it is a global integration key, by which an event orchestration finds the service. It begins with R."""
    return key.get_secret_value().startswith("R")


RoutingKey = Annotated[ApiKey, AfterValidator(_check_routing_key)]
"""An integration key, of a service or a global one. One of another length can never work, so it is refused before the
first page needs it."""


def _check_image_source(src: str) -> str:
    if not src.startswith(("https://", "{")):
        raise ValueError("must begin with https://, or with a placeholder")
    return src


TextTemplate = Annotated[NonEmpty, AfterValidator(check_template)]

PayloadField = Literal["summary", "source", "component", "group", "class"]
"""The fields of ``payload`` that a template can fill in place of this service."""

OWN_DETAILS: Final = (
    "event_id", "event_type", "session_id", "user_id", "resource_type", "resource_name", "resource_path",
    "resource_host", "policy_hash", "ruleset", "allowed", "labels", "topic", "partition", "offset", "occurrences",
    "first_seen", "last_seen", "highest_severity", "runtime_agent_id", "runtime_agent_kind", "cut",
)  # fmt: skip
"""The ``custom_details`` that this service fills in itself."""


def _check_detail(name: str) -> str:
    if name in OWN_DETAILS:
        raise ValueError("is one of the details that are filled in already: choose another name")
    return name


DetailName = Annotated[NonEmpty, Field(max_length=100), AfterValidator(_check_detail)]
ImageSource = Annotated[str, AfterValidator(_check_image_source), AfterValidator(check_template)]


def _with_default_severities(value: Any) -> Any:
    return {**_DEFAULT_SEVERITIES, **value} if isinstance(value, dict) else value


SeverityMapping = Annotated[dict[SeverityName, PagerDutySeverity], BeforeValidator(_with_default_severities)]


class Link(Settings):
    """A link beside the incident; both are templates over the event."""

    href: TextTemplate
    text: TextTemplate | None = None


class Image(Settings):
    """A picture beside the incident; all are templates over the event. PagerDuty shows https sources only."""

    src: ImageSource
    href: TextTemplate | None = None
    alt: TextTemplate | None = None


class PagerDutyRouting(Settings):
    """Which integration a trigger goes through: by guard, else by tenant, else by severity, else the default."""

    by_guard: dict[NonEmpty, RoutingKey] = {}
    by_tenant: dict[NonEmpty, RoutingKey] = {}
    by_severity: dict[SeverityName, RoutingKey] = {}


class ChangeEvents(Settings):
    """Allowed events of these categories (``event_category``) are shown beside incidents; they page nobody."""

    enabled: bool = False
    categories: tuple[EventCategory, ...] = ("configuration",)


class PagerDutySettings(ProviderSettings):
    """How violations become PagerDuty incidents. ``severity_mapping`` has all five severities, whatever was given.

    Through the ``retired_routing_keys`` goes nothing but acknowledges and resolves of what was opened by them.
    """

    default_key_template: ClassVar[str] = "{guard}:{session_id}"

    routing_key: RoutingKey
    retired_routing_keys: tuple[RoutingKey, ...] = ()
    api_endpoint: Endpoint = "https://events.pagerduty.com"
    rest_token: ApiKey | None = None
    rest_endpoint: Endpoint | None = None
    severity_mapping: SeverityMapping = Field(default={}, validate_default=True)
    routing: PagerDutyRouting = PagerDutyRouting()
    payload: dict[PayloadField, TextTemplate] = {}
    custom_details: bool = True
    extra_details: dict[DetailName, TextTemplate] = {}
    links: tuple[Link, ...] = ()
    images: tuple[Image, ...] = ()
    client: NonEmpty = "Clawdstrike"
    client_url: TextTemplate | None = None
    change_events: ChangeEvents = ChangeEvents()

    @model_validator(mode="after")
    def _retired_keys_are_not_in_use(self) -> Self:
        keys = {key.get_secret_value(): route for route, key in reversed(list(self.route_keys().items()))}
        check_retired("retired_routing_keys", self.retired_routing_keys, keys)
        return self

    @model_validator(mode="after")
    def _some_route_takes_change_events(self) -> Self:
        if self.change_events.enabled and all(map(is_global, self.route_keys().values())):
            raise ValueError(
                "change_events.enabled: every key is a global integration key, through which no change event goes"
            )
        return self

    def route_keys(self) -> Mapping[str, SecretStr]:
        """``default``, ``by_guard:secret_leak``, …: then in the order of precedence."""
        routing = self.routing
        return {
            "default": self.routing_key,
            **{f"by_guard:{guard}": key for guard, key in routing.by_guard.items()},
            **{f"by_tenant:{tenant}": key for tenant, key in routing.by_tenant.items()},
            **{f"by_severity:{severity}": key for severity, key in routing.by_severity.items()},
        }

    def retired_keys(self) -> Sequence[SecretStr]:
        """The keys of integrations through which incidents were opened before."""
        return self.retired_routing_keys

    def routed_guards(self) -> Collection[str]:
        """The guards that have an integration of their own."""
        return self.routing.by_guard.keys()

    def routed_severities(self) -> Collection[SeverityName]:
        """The severities that have an integration of their own."""
        return self.routing.by_severity.keys()

    def described(self) -> Iterator[tuple[str, str]]:
        """Change events; the addresses that begin with a placeholder, and what becomes of them."""
        if self.change_events.enabled:
            yield "change events", f"allowed events of category {', '.join(self.change_events.categories)}"
            if without := [route for route, key in self.route_keys().items() if is_global(key)]:
                yield "", f"not through {', '.join(without)}: a global integration key takes none"
        addresses = [
            *((f"links.{number}.href", link.href, "link") for number, link in enumerate(self.links)),
            *((f"images.{number}.src", image.src, "image") for number, image in enumerate(self.images)),
            *((f"images.{number}.href", image.href, "link") for number, image in enumerate(self.images)),
            ("client_url", self.client_url, "link"),
        ]
        for name, text, what in addresses:
            if text and Template(text).begins_with_value:
                yield name, f"{text}: as the event has it, if that makes an absolute https address, else no {what}"
