"""The settings of OpsGenie and of Jira Service Management that the providers themselves need (design section 11)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from providers.settings import ApiKey, Endpoint, NonEmpty, ProviderSettings, Settings, SeverityName, check_retired

Priority = Literal["P1", "P2", "P3", "P4", "P5"]

_DEFAULT_PRIORITIES: dict[str, str] = {"critical": "P1", "high": "P2", "medium": "P3", "low": "P4", "info": "P5"}


def _with_default_priorities(value: Any) -> Any:
    return {**_DEFAULT_PRIORITIES, **value} if isinstance(value, dict) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


PriorityMapping = Annotated[dict[SeverityName, Priority], BeforeValidator(_with_default_priorities)]
Teams = Annotated[
    tuple[NonEmpty, ...], BeforeValidator(_as_list, json_schema_input_type=NonEmpty | tuple[NonEmpty, ...])
]
"""Names of teams; a single one may be given without a list."""

TAG_LIMIT: Final = 50
"""The most characters of a tag."""
MOST_TAGS: Final = 20
_OWN_TAGS: Final = 3  # guard, severity, event type

Action = Annotated[str, Field(min_length=1, max_length=50)]

VerifyMode = Literal["first"] | bool
"""For which accepted requests this service asks what has become of them: for the first alert's (``first``), for all
(True), or for none (False)."""

Plan = Literal["free", "standard", "premium", "enterprise"]

_NO_HEARTBEATS: Final = frozenset({"free", "standard"})
_NO_WEBHOOKS: Final = frozenset({"free", "standard"})

ACTOR: Final = "clawdstrike-alerting"
"""The name under which this service acts on an alert, unless ``user`` is another one."""

USER_LIMIT: Final = 100
NOTE_LIMIT: Final = 25_000
"""The most characters of ``user`` (`USER_LIMIT`) and of ``note``."""


def is_jira_service_management(api_endpoint: str) -> bool:
    """Whether a base address is that of Jira Service Management, which has fewer calls for integrations."""
    try:
        parts = urlsplit(api_endpoint)
        host = parts.hostname or ""
    except ValueError:  # it is no address at all
        return False
    return "/jsm/ops" in parts.path or host == "atlassian.com" or host.endswith(".atlassian.com")


class Recipient(Settings):
    """Somebody who is named by exactly one of ``id``, ``name`` and, for a user, ``username``."""

    type: Literal["team", "user", "escalation", "schedule"]
    id: NonEmpty | None = None
    name: NonEmpty | None = None
    username: NonEmpty | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.username is not None and self.type != "user":
            raise ValueError("username is for users only: use id or name")
        if sum(given is not None for given in (self.id, self.name, self.username)) != 1:
            or_username = " or username" if self.type == "user" else ""
            raise ValueError(f"needs exactly one of id or name{or_username}")
        return self

    def payload(self) -> dict[str, str]:
        """The recipient as the API expects it, where a user's name is ``username``."""
        if self.id is not None:
            return {"type": self.type, "id": self.id}
        field = "username" if self.type == "user" else "name"
        return {"type": self.type, field: self.name or self.username or ""}


class Responder(Recipient):
    """Who is notified of the alert."""


class Viewer(Recipient):
    """Who may see the alert without being notified."""

    type: Literal["team", "user"]


class OpsGenieRouting(Settings):
    """Names of teams that are added to the responders; all that match, added up.

    A key of ``by_tag`` is a tag as it is sent, or a label as ``name:value``.
    """

    by_guard: dict[NonEmpty, Teams] = {}
    by_severity: dict[SeverityName, Teams] = {}
    by_tag: dict[NonEmpty, Teams] = {}


class HeartbeatSettings(Settings):
    """The ping that vouches for the whole group; ``interval_minutes`` may be a fraction."""

    enabled: bool = False
    name: NonEmpty = "clawdstrike"
    interval_minutes: float = Field(default=5.0, gt=0)


class AlertSettings(ProviderSettings):
    """How violations become alerts of OpsGenie's kind. ``priority_mapping`` has all five severities, whatever is given.

    Through the ``retired_api_keys`` goes nothing but acknowledges and closes of what was opened by them. ``note`` is
    written to each new alert; empty is none.
    """

    default_key_template: ClassVar[str] = "clawdstrike-{guard}-{session_id}"

    api_key: ApiKey
    retired_api_keys: tuple[ApiKey, ...] = ()
    api_endpoint: Endpoint
    responders: tuple[Responder, ...] = Field(default=(), max_length=50)
    visible_to: tuple[Viewer, ...] = Field(default=(), max_length=50)
    actions: tuple[Action, ...] = Field(default=(), max_length=10)
    tags: tuple[NonEmpty, ...] = ()
    user: Annotated[str, Field(min_length=1, max_length=USER_LIMIT)] = ACTOR
    note: Annotated[str, Field(max_length=NOTE_LIMIT)] = ""
    verify: VerifyMode = "first"
    priority_mapping: PriorityMapping = Field(default={}, validate_default=True)
    routing: OpsGenieRouting = OpsGenieRouting()
    heartbeat: HeartbeatSettings = HeartbeatSettings()

    @model_validator(mode="after")
    def _retired_keys_are_not_in_use(self) -> Self:
        check_retired("retired_api_keys", self.retired_api_keys, {self.api_key.get_secret_value(): "default"})
        return self

    def route_keys(self) -> Mapping[str, SecretStr]:
        """The one key, which is for all alerts. Responders decide who is notified, not keys."""
        return {"default": self.api_key}

    def retired_keys(self) -> Sequence[SecretStr]:
        """The keys of integrations through which alerts were opened before."""
        return self.retired_api_keys

    def routed_guards(self) -> Collection[str]:
        """The guards that add teams."""
        return self.routing.by_guard.keys()

    def routed_severities(self) -> Collection[SeverityName]:
        """The severities that add teams."""
        return self.routing.by_severity.keys()

    def described(self) -> Iterator[tuple[str, str]]:
        """Who is notified, what of the tags is cut, and the heartbeat."""
        if self.responders:
            yield "responders", ", ".join(f"{to.type} {to.name or to.username or to.id}" for to in self.responders)
        routing = self.routing
        for kind, teams in (("guard", routing.by_guard), ("severity", routing.by_severity), ("tag", routing.by_tag)):
            for value, names in teams.items():
                yield f"+ by {kind}", f"{value}: {', '.join(names)}"
        if (too_many := len(self.tags) - (MOST_TAGS - _OWN_TAGS)) > 0:
            yield "tags", f"the last {too_many} are dropped: OpsGenie takes {MOST_TAGS}, three are our own"
        if cut := [tag for tag in self.tags if len(tag) > TAG_LIMIT]:
            yield "tags", f"cut to {TAG_LIMIT} characters: {', '.join(cut)}"
        yield from self._verified()
        beat = self.heartbeat
        yield "heartbeat", f"{beat.name}, every {beat.interval_minutes:g} min" if beat.enabled else "none"

    def _verified(self) -> Iterator[tuple[str, str]]:
        match self.verify:
            case "first":
                yield "verified", "until one alert has come about after a start, and send-test"
            case True:
                yield "verified", "each request: one call more, or several"
            case False:
                yield "verified", "nothing: what is accepted is believed to come about"


class OpsGenieSettings(AlertSettings):
    """How violations become OpsGenie alerts."""

    api_endpoint: Endpoint = "https://api.opsgenie.com"

    @model_validator(mode="after")
    def _heartbeat_is_at_opsgenie(self) -> Self:
        if self.heartbeat.enabled and is_jira_service_management(self.api_endpoint):
            raise ValueError(
                "heartbeat: a heartbeat of Jira Service Management is pinged through its cloud API: "
                "configure that as the provider jsm"
            )
        return self

    def _verified(self) -> Iterator[tuple[str, str]]:
        if is_jira_service_management(self.api_endpoint):
            yield "verified", "nothing: Jira Service Management says it by its cloud API only (the provider jsm)"
        else:
            yield from super()._verified()


class CloudSettings(Settings):
    """Atlassian's cloud API: the site, and whose API token calls it. ``product``: whose the alerts are."""

    cloud_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
    email: Annotated[str, Field(pattern=r"^[!-9;-~]+@[!-9;-~]+$")]
    token: ApiKey
    product: Literal["jsm", "compass"] = "jsm"
    api_endpoint: Endpoint = "https://api.atlassian.com"


class JsmHeartbeatSettings(HeartbeatSettings):
    """The same of a heartbeat that belongs to a team."""

    team_id: NonEmpty | None = None


class JsmSettings(AlertSettings):
    """How violations become alerts of Jira Service Management, or Compass.

    Without ``cloud`` there is what its integrations can do: create, acknowledge, close and note. ``plan`` is for
    ``check-config``, which says what it lacks.
    """

    api_endpoint: Endpoint = "https://api.atlassian.com/jsm/ops/integration"
    cloud: CloudSettings | None = None
    plan: Plan | None = None
    heartbeat: JsmHeartbeatSettings = JsmHeartbeatSettings()

    @model_validator(mode="after")
    def _heartbeat_can_be_pinged(self) -> Self:
        if self.heartbeat.enabled:
            if self.cloud is None:
                raise ValueError("heartbeat: is pinged through the cloud API: cloud is needed")
            if self.heartbeat.team_id is None:
                raise ValueError("heartbeat: belongs to a team: heartbeat.team_id is needed")
            if self.plan in _NO_HEARTBEATS:
                raise ValueError(f"heartbeat: the plan {self.plan} has none")
        return self

    def described(self) -> Iterator[tuple[str, str]]:
        """What the others say, and what can be done without the cloud API, or in this plan."""
        yield from super().described()
        if self.cloud is None:
            yield "cloud API", "none: no priority and tags of what is open, no heartbeat"
        else:
            yield "cloud API", f"{self.cloud.product} {self.cloud.cloud_id}, as {self.cloud.email}"
        if self.plan is None:
            yield "plan", "not given: Free and Standard have no heartbeats,"
            yield "", "and outgoing webhooks need Premium or Enterprise"
        elif self.plan in _NO_WEBHOOKS:
            yield "plan", f"{self.plan}: no heartbeats, and no outgoing webhooks"
        else:
            yield "plan", self.plan

    def _verified(self) -> Iterator[tuple[str, str]]:
        if self.cloud is None:
            yield "verified", "nothing: the cloud API alone says what has become of a request"
        else:
            yield from super()._verified()
