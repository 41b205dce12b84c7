"""PagerDuty's REST API v2, as far as it says whether an event that was accepted pages somebody.

https://developer.pagerduty.com/api-reference (List incidents; List services and Get a service, with
``include[]=integrations``; List maintenance windows; List Event Orchestrations; Get the Service Orchestration for a
service, and its active status) and https://developer.pagerduty.com/docs/pagination. A read-only token does.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import SecretStr

from providers.classification import Reasons, json_object
from providers.inspection import InspectionError, Obstacle
from providers.notify import Sender
from providers.pagerduty.rest_api import Json, RestApi, RestError, objects
from providers.text import one_line, shorten

PAGE: Final = 100
"""How many entries of a list are asked for at once: the most that PagerDuty gives."""

MOST_PAGES: Final = 100
"""How many pages of a list are read at most: the offset of classic pagination ends at 10,000."""

_NAME_LIMIT = 100
_HIDDEN = frozenset({402, 403, 404})
"""The statuses that say that the account, or the token, has no such thing. Then it stands in nobody's way, as far as
can be seen."""

_SWALLOWS = ("suppress", "suspend", "drop_event")
"""The actions of an orchestration's rule by which an event opens no incident, or opens it later."""


def rest_base(api_endpoint: str) -> str:
    """The REST API's address of the account whose Events API this is: EU accounts have one of their own."""
    return "https://api.eu.pagerduty.com" if ".eu." in api_endpoint else "https://api.pagerduty.com"


class RestInspector:
    """An `Inspector` over REST. ``keys`` are the integration keys by their routes."""

    def __init__(self, base: str, token: SecretStr, keys: Mapping[str, str]) -> None:
        self._api = RestApi(base, token, self._reason)
        self._keys = dict(keys)
        self._reasons = Reasons([token.get_secret_value(), *keys.values()])
        self._services: dict[str, str] = {}  # the ids of those that were found, by key

    async def find(self, sender: Sender, route: str, dedup_key: str, since: float, timeout: float) -> str | None:
        """The incident of a dedup key: by the ``alert_key`` of its alerts too, says the page of ``incident_key``."""
        query = {"incident_key": dedup_key, "date_range": "all", "limit": str(PAGE), "sort_by": "created_at:desc"}
        key = self._keys[route]
        if key in self._services or await self._service(sender, key, timeout) is not None:
            query["service_ids[]"] = self._services[key]  # else it is a global key, whose service nobody knows
        found = await self._get(sender, "/incidents", query, timeout)
        for incident in objects(found, "incidents"):
            moments = [_moment(incident.get(name)) for name in ("created_at", "last_status_change_at")]
            is_new = any(moment is not None and moment >= since for moment in moments)
            if incident.get("status") in ("triggered", "acknowledged") or is_new:
                return _told(incident)
        return None

    async def obstacles(self, sender: Sender, route: str, timeout: float) -> Sequence[Obstacle]:
        """What stands in the way of pages by the key of a route."""
        key = self._keys[route]
        service = await self._service(sender, key, timeout)
        if service is None:
            return [await self._without_service(sender, key, timeout)]
        return [obstacle async for obstacle in self._of_service(sender, service, timeout)]

    async def _of_service(self, sender: Sender, service: Json, timeout: float) -> AsyncIterator[Obstacle]:
        name, id, status = _name(service), str(service.get("id")), service.get("status")
        if status == "disabled":
            yield Obstacle(f"service {name} is disabled")
        query = {"service_ids[]": id, "filter": "ongoing", "limit": str(PAGE)}
        windows = list(objects(await self._get(sender, "/maintenance_windows", query, timeout), "maintenance_windows"))
        for window in windows:
            yield Obstacle(f"service {name} is in a maintenance window until {_text(window.get('end_time'))}")
        if status == "maintenance" and not windows:
            yield Obstacle(f"service {name} is in a maintenance window")
        paused = service.get("auto_pause_notifications_parameters")
        if isinstance(paused, dict) and paused.get("enabled"):
            seconds = _text(paused.get("timeout"))
            yield Obstacle(f"service {name} pauses alerts that it takes for transient, for {seconds} s", certain=False)
        if rules := await self._swallowing_rules(sender, id, timeout):
            what = f"the event orchestration of service {name} has {rules} rule{'s' if rules > 1 else ''}"
            yield Obstacle(f"{what} by which events are suppressed, paused or dropped", certain=False)

    async def _service(self, sender: Sender, key: str, timeout: float) -> Json | None:
        """The service that has an integration with this key."""
        with_keys = {"include[]": "integrations"}
        if (known := self._services.get(key)) is not None:
            found = await self._get(sender, f"/services/{known}", with_keys, timeout, may_be_hidden=True)
            service = found.get("service")
            if isinstance(service, dict) and _has_key(service, key):
                return service
            del self._services[key]
        async for service in self._all(sender, "services", with_keys, timeout):
            if _has_key(service, key):
                self._services[key] = str(service.get("id"))
                return service
        return None

    async def _without_service(self, sender: Sender, key: str, timeout: float) -> Obstacle:
        async for orchestration in self._all(sender, "event_orchestrations", {}, timeout, may_be_hidden=True):
            for integration in objects(orchestration, "integrations"):
                parameters = integration.get("parameters")
                if isinstance(parameters, dict) and parameters.get("routing_key") == key:
                    what = f"it is a global integration key of event orchestration {_name(orchestration)}"
                    return Obstacle(f"{what}, whose rules choose the service, or none", certain=False)
        return Obstacle("no integration of a service has its key, as far as the REST token can see")

    async def _swallowing_rules(self, sender: Sender, service: str, timeout: float) -> int:
        path = f"/event_orchestrations/services/{service}"
        active = await self._get(sender, f"{path}/active", {}, timeout, may_be_hidden=True)
        if active.get("active") is not True:
            return 0
        found = await self._get(sender, path, {}, timeout, may_be_hidden=True)
        orchestration = found.get("orchestration_path")
        if not isinstance(orchestration, dict):
            return 0
        rules = [rule for one in objects(orchestration, "sets") for rule in objects(one, "rules")]
        catch_all = orchestration.get("catch_all")
        rules += [catch_all] if isinstance(catch_all, dict) else []
        actions = [rule.get("actions") for rule in rules if not rule.get("disabled")]
        return sum(isinstance(one, dict) and any(one.get(name) for name in _SWALLOWS) for one in actions)

    async def _all(
        self, sender: Sender, name: str, query: Mapping[str, str], timeout: float, *, may_be_hidden: bool = False
    ) -> AsyncIterator[Json]:
        """All entries of a list, page by page. Raises `InspectionError` if there is no answer, or none that can be
        read."""
        absent = _HIDDEN if may_be_hidden else ()
        held = "orchestrations" if name == "event_orchestrations" else name
        try:
            async for entry in self._api.pages(
                sender, f"/{name}", held, query, timeout, size=PAGE, at_most=MOST_PAGES, absent=absent
            ):
                yield entry
        except RestError as error:
            raise InspectionError(str(error)) from None

    async def _get(
        self, sender: Sender, path: str, query: Mapping[str, str], timeout: float, *, may_be_hidden: bool = False
    ) -> Json:
        """The answer's object; an empty one where there is no such thing, if that ``may_be_hidden``.

        Raises `InspectionError` if there is no answer, or none that can be read.
        """
        try:
            return await self._api.ask(sender, path, query, timeout, absent=_HIDDEN if may_be_hidden else ())
        except RestError as error:
            raise InspectionError(str(error)) from None

    def _reason(self, status: int, body: bytes) -> str:
        said = json_object(body)
        error = said.get("error") if said is not None else None
        message = error.get("message") if isinstance(error, dict) else None
        text = message.encode() if isinstance(message, str) else b""
        return f"HTTP {status} {self._reasons.read(status, text)}" if text else f"HTTP {status}"


def _has_key(service: Json, key: str) -> bool:
    return any(integration.get("integration_key") == key for integration in objects(service, "integrations"))


def _told(incident: Json) -> str:
    service = incident.get("service")
    where = f" on service {_text(service.get('summary'))}" if isinstance(service, dict) else ""
    number, status, url = (_text(incident.get(name)) for name in ("incident_number", "status", "html_url"))
    return f"incident {number}{where} is {status}: {url}"


def _name(entry: Json) -> str:
    return _text(entry.get("summary") or entry.get("name"))


def _text(value: Any) -> str:
    return shorten(one_line(str(value)), _NAME_LIMIT)


def _moment(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
