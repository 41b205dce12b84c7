"""PagerDuty's REST API v2, as far as it is asked whether somebody is paged and whether webhooks are sent, and the
services behind integration keys.

https://developer.pagerduty.com/api-reference: List incidents, List alerts for an incident, List services, Get a
service, List maintenance windows, List Event Orchestrations, Get the Service Orchestration for a service and its active
status, List webhook subscriptions, Enable a webhook subscription; errors as https://developer.pagerduty.com/docs/errors
has them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from providers.sandbox.call import Call, CallMoment, Received, Reply
from providers.sandbox.incidents import Incident, Incidents
from providers.sandbox.webhooks import Webhooks

ServiceStatus = Literal["active", "disabled"]

_PATH = re.compile(
    r"/(?P<what>incidents/(?P<incident>[^/]+)/alerts|incidents|services/(?P<service>[^/]+)|services|maintenance_windows"
    r"|webhook_subscriptions/(?P<subscription>[^/]+)/enable|webhook_subscriptions"
    r"|event_orchestrations/services/(?P<of_service>[^/]+)(?P<active>/active)?|event_orchestrations)\Z"
)
_MOST = 100
_LEAST = 25
_STATUS = {"open": "triggered", "acknowledged": "acknowledged", "ended": "resolved"}

_UNAUTHORIZED = Reply.json(401, {"error": {"message": "Authentication failed", "code": 2006}})


@dataclass(slots=True, kw_only=True)
class RestService:
    """A service, whose integration has this key. ``maintenance_until`` is the end of a maintenance window that has
    begun, in seconds since the epoch; ``suppresses``: a rule of its event orchestration suppresses every event."""

    id: str
    key: str
    name: str
    status: ServiceStatus = "active"
    maintenance_until: float | None = None
    suppresses: bool = False

    def in_maintenance(self, now: float) -> bool:
        """Whether its maintenance window goes on."""
        return self.maintenance_until is not None and now < self.maintenance_until

    def swallows(self, action: str, now: float) -> bool:
        """Whether an event that was accepted does nothing: its integrations are switched off, or a rule suppresses what
        would be opened."""
        return self.status == "disabled" or self.in_maintenance(now) or (self.suppresses and action == "trigger")


@dataclass(slots=True)
class Services:
    """The services by their integration keys: each key that is used or asked for has one, unless it is global.

    ``global_keys`` are those of an event orchestration, ``unknown`` those that belong to nothing that can be seen.
    """

    global_keys: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    _by_key: dict[str, RestService] = field(default_factory=dict)

    def of(self, key: str) -> RestService:
        """The service of a key."""
        if key not in self._by_key:
            number = len(self._by_key) + 1
            self._by_key[key] = RestService(id=f"PSRV{number:03}", key=key, name=f"Service {number}")
        return self._by_key[key]

    def all(self) -> Sequence[RestService]:
        """Those that can be seen."""
        return [one for one in self._by_key.values() if one.key not in self.unknown | self.global_keys]

    def clear(self) -> None:
        """As at the start."""
        self.global_keys.clear()
        self.unknown.clear()
        self._by_key.clear()


class Rest:
    """Answers look-ups, and enables webhook subscriptions. ``tokens`` are the known ones (None: every one)."""

    def __init__(self, incidents: Incidents, webhooks: Webhooks, tokens: frozenset[str] | None = None) -> None:
        self.services = Services()
        self._webhooks = webhooks
        self._incidents = incidents
        self._tokens = tokens

    def read(self, received: Received, provider: str) -> Call | None:
        """The call that a request is; None where its path is none of this API's."""
        found = _PATH.search(received.path)
        if found is None:
            return None
        call = Call(method=received.method, path=received.address, provider=provider, action="look")
        call.target, call.target_type = found["what"], "rest"
        scheme, _, token = received.headers.get("Authorization", "").partition(" ")
        known = scheme == "Token" and token.startswith("token=")
        if not known or (self._tokens is not None and token.removeprefix("token=") not in self._tokens):
            call.refusal = _UNAUTHORIZED
        elif received.method != ("GET" if found["subscription"] is None else "POST"):
            call.refusal = _error(405, 2015, "Invalid operation")
        return call

    def answer(self, call: Call, now: CallMoment) -> Reply:
        """What is asked for."""
        found = _PATH.search(call.path.partition("?")[0])
        assert found is not None
        query = parse_qs(call.path.partition("?")[2])
        if found["subscription"] is not None:
            return self._enable(unquote(found["subscription"]))
        if found["incident"] is not None:
            return self._alerts(unquote(found["incident"]), query)
        if (id := found["service"] or found["of_service"]) is not None:
            service = next((one for one in self.services.all() if one.id == unquote(id)), None)
            if service is None:
                return _error(404, 5002, "Service Not Found")
            if found["service"] is not None:
                return Reply.json(200, {"service": _service(service, query, now.wall)})
            if found["active"]:
                return Reply.json(200, {"active": service.suppresses})
            return Reply.json(200, {"orchestration_path": _orchestration_path(service)})
        match found["what"]:
            case "incidents":
                return self._list_incidents(query)
            case "services":
                return _page("services", [_service(one, query, now.wall) for one in self.services.all()], query)
            case "webhook_subscriptions":
                return _page("webhook_subscriptions", self._subscriptions(), query)
            case "maintenance_windows":
                return self._windows(query, now.wall)
            case _:
                keys = sorted(self.services.global_keys)
                return _page("orchestrations", [_orchestration(keys)] if keys else [], query)

    def _list_incidents(self, query: dict[str, list[str]]) -> Reply:
        incidents: Iterable[Incident] = self._incidents.list("pagerduty")
        if key := query.get("incident_key"):
            incidents = (one for one in incidents if one.dedup_key == key[0])
        if statuses := query.get("statuses[]"):
            incidents = (one for one in incidents if _STATUS[one.status] in statuses)
        if services := query.get("service_ids[]"):
            incidents = (one for one in incidents if self.services.of(one.key).id in services)
        told = [_incident(one, self.services.of(one.key)) for one in incidents]
        if query.get("sort_by") == ["created_at:desc"]:
            told.reverse()
        return _page("incidents", told, query)

    def _alerts(self, incident: str, query: dict[str, list[str]]) -> Reply:
        one = self._incidents.get("pagerduty", incident)
        if one is None:
            return _error(404, 5001, "Incident Not Found")
        status = "resolved" if one.status == "ended" else "triggered"
        alert = {"id": f"{one.id}-A", "type": "alert", "status": status, "alert_key": one.dedup_key}
        return _page("alerts", [alert], query)

    def _subscriptions(self) -> Sequence[dict[str, Any]]:
        return [_subscription(*one) for one in self._webhooks.subscriptions("pagerduty")]

    def _enable(self, id: str) -> Reply:
        if not self._webhooks.enable_one(id):
            return _error(404, 2100, "Not Found")
        (one,) = [one for one in self._subscriptions() if one["id"] == id]
        return Reply.json(200, {"webhook_subscription": one})

    def _windows(self, query: dict[str, list[str]], now: float) -> Reply:
        asked = query.get("service_ids[]")
        windows = [
            _window(one)
            for one in self.services.all()
            if (asked is None or one.id in asked)
            and (query.get("filter") != ["ongoing"] or one.in_maintenance(now))
            and one.maintenance_until is not None
        ]
        return _page("maintenance_windows", windows, query)


def _page(name: str, entries: Sequence[Any], query: dict[str, list[str]]) -> Reply:
    """Classic pagination: https://developer.pagerduty.com/docs/pagination."""
    given = [*query.get("limit", []), str(_LEAST)][0], [*query.get("offset", []), "0"][0]
    if not all(each.isdecimal() and len(each) < 6 for each in given):
        return _error(400, 2001, "Invalid Input Provided")
    limit, offset = min(int(given[0]), _MOST), int(given[1])
    shown = entries[offset : offset + limit]
    more = offset + limit < len(entries)
    return Reply.json(200, {name: shown, "limit": limit, "offset": offset, "more": more, "total": None})


def _subscription(id: str, url: str, is_disabled: bool, is_off: bool) -> dict[str, Any]:
    delivery = {"id": f"{id}-D", "type": "http_delivery_method", "url": url, "temporarily_disabled": is_disabled}
    return {
        "id": id,
        "type": "webhook_subscription",
        "active": not is_off,
        "delivery_method": {**delivery, "secret": None, "custom_headers": []},
        "description": "",
        "events": ["incident.acknowledged", "incident.unacknowledged", "incident.resolved"],
        "filter": {"type": "account_reference"},
    }


def _service(service: RestService, query: dict[str, list[str]], now: float) -> dict[str, Any]:
    status = "maintenance" if service.in_maintenance(now) and service.status == "active" else service.status
    integration = {"id": f"{service.id}-I", "type": "events_api_v2_inbound_integration_reference", "summary": "Events"}
    if "integrations" in query.get("include[]", []):
        integration |= {"type": "events_api_v2_inbound_integration", "integration_key": service.key}
    return {
        "id": service.id,
        "type": "service",
        "summary": service.name,
        "name": service.name,
        "status": status,
        "integrations": [integration],
        "auto_pause_notifications_parameters": {"enabled": False, "timeout": None},
    }


def _incident(incident: Incident, service: RestService) -> dict[str, Any]:
    """``incident_key`` is null where an alert has opened it, and its ``alert_key`` is what it is found by."""
    changed = incident.resolved_at if incident.resolved_at is not None else incident.opened_at
    return {
        "id": incident.id,
        "type": "incident",
        "summary": f"[#{incident.number}] {incident.title}",
        "incident_number": incident.number,
        "title": incident.title,
        "status": _STATUS[incident.status],
        "incident_key": None,
        "created_at": _utc(incident.opened_at),
        "last_status_change_at": _utc(changed),
        "service": {"id": service.id, "type": "service_reference", "summary": service.name},
        "html_url": f"https://sandbox.pagerduty.example/incidents/{incident.id}",
    }


def _window(service: RestService) -> dict[str, Any]:
    assert service.maintenance_until is not None
    return {
        "id": f"{service.id}-W",
        "type": "maintenance_window",
        "summary": "Maintenance",
        "end_time": _utc(service.maintenance_until),
        "services": [{"id": service.id, "type": "service_reference", "summary": service.name}],
    }


def _orchestration(keys: Iterable[str]) -> dict[str, Any]:
    integrations = [{"id": f"int-{key[:4]}", "parameters": {"routing_key": key, "type": "global"}} for key in keys]
    return {"id": "e-1", "name": "Everything", "integrations": integrations}


def _orchestration_path(service: RestService) -> dict[str, Any]:
    actions = {"suppress": True} if service.suppresses else {}
    rules = [{"id": "r-1", "conditions": [], "actions": actions}] if actions else []
    return {"type": "service", "sets": [{"id": "start", "rules": rules}], "catch_all": {"actions": {}}}


def _error(status: int, code: int, message: str) -> Reply:
    return Reply.json(status, {"error": {"message": message, "code": code, "errors": []}})


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
