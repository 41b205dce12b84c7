"""The demo's configuration, and the rules that the oracle has to know of it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consumer.demo.oracle import Produced, Rules
from consumer.receivers.webhooks.app import PATH as WEBHOOKS_PATH
from providers.sandbox import Incident, SandboxSubscription

PARTITIONS = 4
PIPELINES = ("pagerduty", "opsgenie")

DEFAULT = "default"
GUARD_ROUTES = ("secret_leak",)
TENANT_ROUTES = ("acme-corp",)
GUARD_TEAMS = {"secret_leak": ("dlp",), "egress_allowlist": ("network", "soc"), "forbidden_path": ("soc",)}
LABEL_TEAMS = {"payments": ("payments-oncall",), "data": ("data-oncall",)}
"""OpsGenie's teams by the value of the label ``team``."""
RESPONDER = "security"
"""The team that is told of everything."""

_LONGEST_USUAL = 300.0
_DAY = 86400


@dataclass(frozen=True, slots=True)
class DemoStage:
    """The addresses and the length of a run. ``run_id``, which makes the names of topics and groups unique, is None on
    the embedded broker, where nobody else is."""

    bootstrap_servers: str
    sandbox_url: str
    port: int
    seconds: float
    run_id: str | None = None
    ingest_port: int = 0
    webhooks_port: int = 0

    def config(self) -> dict[str, Any]:
        """The configuration of the service, as a file would have it.

        The windows of suppression and of quiet are longer than the run, so that the demands of the events do not depend
        on when they were sent.
        """
        deduplication = {"window_seconds": max(_LONGEST_USUAL, 2 * self.seconds), "renotify_seconds": _DAY}
        auto_resolve = {"after_minutes": max(30.0, self.seconds / 30), "on_session_end": True}
        return {
            "kafka": self._kafka(),
            "exporters": {
                "alerting": {
                    "min_severity": "high",
                    "pagerduty": {
                        "routing_key": pagerduty_key(DEFAULT),
                        "api_endpoint": self.sandbox_url,
                        "routing": {
                            "by_guard": {guard: pagerduty_key(guard) for guard in GUARD_ROUTES},
                            "by_tenant": {tenant: pagerduty_key(tenant) for tenant in TENANT_ROUTES},
                        },
                        "deduplication": deduplication,
                        "auto_resolve": auto_resolve,
                    },
                    "opsgenie": {
                        "api_key": OPSGENIE_KEY,
                        "api_endpoint": self.sandbox_url,
                        "responders": [{"type": "team", "name": RESPONDER}],
                        "routing": {
                            "by_guard": {guard: list(teams) for guard, teams in GUARD_TEAMS.items()},
                            "by_tag": {f"team:{label}": list(teams) for label, teams in LABEL_TEAMS.items()},
                        },
                        "deduplication": deduplication,
                        "auto_resolve": auto_resolve,
                    },
                }
            },
            # The sandbox accepts any rate, and the demo has an hour's events in a minute.
            "delivery": {"rate_limit": {"requests_per_second": 0}},
            "server": {"host": "127.0.0.1", "port": self.port},
            "ingest": {"host": "127.0.0.1", "port": self.ingest_port, "tokens": [INGEST_TOKEN]},
            "webhooks": {
                "enabled": True,
                "host": "127.0.0.1",
                "port": self.webhooks_port,
                "pagerduty": {"secrets": [WEBHOOK_SECRET]},
                "opsgenie": {"token": WEBHOOK_TOKEN},
            },
        }

    def subscriptions(self) -> list[SandboxSubscription]:
        """What the sandbox is to send when somebody does something there."""
        url = f"http://127.0.0.1:{self.webhooks_port}{WEBHOOKS_PATH}"
        return [
            SandboxSubscription(provider="pagerduty", url=f"{url}pagerduty", secret=WEBHOOK_SECRET),
            SandboxSubscription(provider="opsgenie", url=f"{url}opsgenie", token=WEBHOOK_TOKEN),
        ]

    def _kafka(self) -> dict[str, Any]:
        kafka: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "start_from": "earliest",
            "session_timeout": "10s",
        }
        if self.run_id is not None:
            name = f"clawdstrike-demo-{self.run_id}"
            kafka["group_id"] = name
            kafka["topics"] = {topic: f"{name}.{topic}" for topic in ("events", "state", "dlq", "feedback")}
        return kafka


def pagerduty_key(route: str) -> str:
    """The routing key of the sandbox's integration for a route."""
    return hashlib.sha256(f"demo {route}".encode()).hexdigest()[:32]


INGEST_TOKEN = hashlib.sha256(b"demo ingest").hexdigest()

WEBHOOK_SECRET = hashlib.sha256(b"demo webhooks of pagerduty").hexdigest()
WEBHOOK_TOKEN = hashlib.sha256(b"demo webhooks of opsgenie").hexdigest()

OPSGENIE_KEY = hashlib.sha256(b"demo opsgenie").hexdigest()[:36]

PAGERDUTY_KEYS = {pagerduty_key(route): route for route in (DEFAULT, *GUARD_ROUTES, *TENANT_ROUTES)}
"""The integrations that the sandbox has, by their keys."""


def _integration(event: Produced) -> tuple[str, ...]:
    if event.guard in GUARD_ROUTES:
        return (event.guard,)
    return (event.tenant_id if event.tenant_id in TENANT_ROUTES else DEFAULT,)


def _teams(event: Produced) -> tuple[str, ...]:
    by_label = [LABEL_TEAMS.get(value, ()) for name, value in event.labels if name == "team"]
    return _named(RESPONDER, *GUARD_TEAMS.get(event.guard, ()), *(team for teams in by_label for team in teams))


RULES = {
    "pagerduty": Rules(
        "pagerduty",
        dedup_key=lambda event: f"{event.guard}:{event.session_id}",
        route=_integration,
        severities={"critical": "critical", "high": "error"},
    ),
    "opsgenie": Rules(
        "opsgenie",
        dedup_key=lambda event: f"clawdstrike-{event.guard}-{event.session_id}",
        route=_teams,
        severities={"critical": "P1", "high": "P2"},
    ),
}


def route_shown(incident: Incident) -> tuple[str, ...]:
    """The route that an incident of the sandbox shows, with the oracle's names."""
    if incident.provider == "pagerduty":
        return (PAGERDUTY_KEYS.get(incident.key, "unknown integration"),)
    responders: Sequence[dict[str, str]] = (incident.opened_with or {}).get("responders", ())
    return _named(*(responder.get("name", "?") for responder in responders))


def _named(*teams: str) -> tuple[str, ...]:
    return tuple(sorted(set(teams)))
