"""The sections about the service itself: delivery, its servers, its log."""

import random
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from consumer.config.durations import Duration, PositiveDuration
from providers.retry import Backoff
from providers.settings import ApiKey, Endpoint, NonEmpty, Settings

Port = Annotated[int, Field(ge=0, le=65535)]
"""A TCP port; 0 lets the system choose a free one."""

# A state record holds the event in base64, which is a third larger, and our producers send at most 16 MiB. Whether the
# state topic accepts that much is checked at start.
_LARGEST_EVENT = 8 << 20


class RetryConfig(Settings):
    """Exponential backoff with full jitter; milliseconds."""

    initial_backoff_ms: int = Field(default=1000, gt=0, le=3_600_000)
    max_backoff_ms: int = Field(default=30000, gt=0, le=3_600_000, validate_default=True)
    backoff_multiplier: float = Field(default=2.0, ge=1)

    @field_validator("max_backoff_ms")
    @classmethod
    def _is_the_larger(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("initial_backoff_ms", 0):
            raise ValueError("must not be less than initial_backoff_ms")
        return value

    def backoff(self, chance: Callable[[], float] = random.random) -> Backoff:
        """How long to wait after failures, by these settings. ``chance`` returns a number in [0, 1]: the part of the
        longest wait that is waited."""
        return Backoff(self.initial_backoff_ms / 1000, self.max_backoff_ms / 1000, self.backoff_multiplier, chance)


class CircuitBreaker(Settings):
    """After failures of how many alerts a route's breaker opens, and after how many seconds an alert that has failed is
    tried again while it is open (other alerts sooner)."""

    failure_threshold: int = Field(default=5, ge=1)
    recovery_seconds: float = Field(default=30.0, gt=0)


class RateLimit(Settings):
    """The token bucket of each integration key. None means the provider's documented rate; 0 requests per second means
    no limit."""

    requests_per_second: float | None = Field(default=None, ge=0)
    burst_size: int | None = Field(default=None, ge=1)


class RouteSettings(Settings):
    """The settings of one route, by its name (``default``, ``by_guard:…``, …); None means as in ``delivery``."""

    rate_limit: RateLimit | None = None
    route_check: Duration | None = None


class DeliveryConfig(Settings):
    """How notifications are delivered and decisions are committed. Durations are in seconds.

    ``give_up_after`` 0 means never. ``route_check`` is how long a route may be idle before its key is checked, 0 means
    never. ``max_owed`` is the limit for owed triggers of each integration key, ``max_owed_bytes`` that for the records
    of all of them, for all tasks of a member. ``max_event_age`` None means that no event is too old.
    ``max_event_bytes`` is the limit for key, value and headers together.
    """

    timeout_seconds: float = Field(default=30.0, gt=0)
    retry: RetryConfig = RetryConfig()
    give_up_after: Duration = 86400.0
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    rate_limit: RateLimit = RateLimit()
    max_in_flight: int = Field(default=256, ge=1)
    route_check: Duration = 3600.0
    max_owed: int = Field(default=10000, ge=1)
    max_owed_bytes: int = Field(default=256 << 20, ge=1)
    commit_interval_ms: int = Field(default=100, ge=1)
    max_event_age: PositiveDuration | None = None
    max_event_bytes: int = Field(default=262144, ge=1, le=_LARGEST_EVENT)
    forget_after: PositiveDuration = 7 * 86400.0
    shutdown_grace: Duration = 25.0


class TlsConfig(Settings):
    """The certificate (PEM, with what leads to its authority) that a receiver presents, and its key, not encrypted.
    Files that are replaced are used for every new connection, once they fit together."""

    cert_file: NonEmpty
    key_file: NonEmpty


class ServerConfig(Settings):
    """Where health and metrics are served."""

    host: NonEmpty = "127.0.0.1"
    port: Port = 8080


class SecretHeader(Settings):
    """A header that a subscription sends along."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
    value: ApiKey


class ClientCredentialsSettings(Settings):
    """What a subscription gets its token for, at this service."""

    client_id: NonEmpty
    client_secret: ApiKey


class PagerDutyWebhooks(Settings):
    """How PagerDuty's webhooks are known: by the signing ``secrets`` of the subscriptions (several, so that one can be
    rotated), a ``header`` of one's own, a token of OAuth2 client credentials; all that are set must be right.

    ``enable_again``: a subscription that PagerDuty has disabled is enabled again, which needs its REST token."""

    secrets: tuple[ApiKey, ...] = ()
    header: SecretHeader | None = None
    oauth: ClientCredentialsSettings | None = None
    enable_again: bool = False

    @property
    def is_set(self) -> bool:
        """Whether there is anything by which PagerDuty's webhooks are known."""
        return bool(self.secrets) or self.header is not None or self.oauth is not None


class OpsGenieWebhooks(Settings):
    """The token that OpsGenie or Jira Service Management, which do not sign, send along."""

    token: ApiKey | None = None


class WebhooksConfig(Settings):
    """The receiver of the providers' webhooks, which say what happens there.

    ``public_address`` is by what providers reach it, without ``/v1/webhooks/…``; None: it does not know."""

    enabled: bool = False
    host: NonEmpty = "0.0.0.0"
    port: Port = 8081
    public_address: Endpoint | None = None
    tls: TlsConfig | None = None
    pagerduty: PagerDutyWebhooks = PagerDutyWebhooks()
    opsgenie: OpsGenieWebhooks = OpsGenieWebhooks()
    jsm: OpsGenieWebhooks = OpsGenieWebhooks()

    @model_validator(mode="after")
    def _somebody_may_send(self) -> Self:
        if self.enabled and not self.pagerduty.is_set and self.opsgenie.token is None and self.jsm.token is None:
            raise ValueError(
                "pagerduty.secrets, opsgenie.token or jsm.token: one is required with enabled, "
                "or nobody could tell a provider's webhooks from anybody's"
            )
        return self

    @model_validator(mode="after")
    def _enables_its_own_only(self) -> Self:
        if self.pagerduty.enable_again and self.public_address is None:
            raise ValueError(
                "public_address: is required with pagerduty.enable_again, "
                "or a subscription that goes to somebody else could be enabled"
            )
        return self


class HistoryConfig(Settings):
    """Whether what has happened to each alert is written to the history topic."""

    enabled: bool = True


class LogConfig(Settings):
    """What is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
