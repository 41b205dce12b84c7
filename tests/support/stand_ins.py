"""Servers that stand in for providers: each takes what its provider documents, and nothing else.

What is not of the documented form is answered as the provider would, and kept in ``wrong``, which a test wants to be
empty. What is, changes the alerts that are open there.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class Alert:
    """What a provider has of an alert: how often it was told, and what it was told last."""

    told: int = 0
    acknowledged: bool = False
    last: Mapping[str, Any] = field(default_factory=dict)


class Wrong(Exception):
    """The request is not of the documented form."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class StandIn:
    """A provider. ``origin`` is the beginning of the addresses that are replaced by that of the server."""

    origin: str
    keys: Mapping[str, str] = {}
    """Environment variables with the secrets of this provider."""

    def __init__(self) -> None:
        self.url = ""
        self.open: dict[str, Alert] = {}
        self.closed: list[str] = []
        self.wrong: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.pings = 0
        self.outage: int | None = None
        """A status that everything is answered with, while it is set."""

    @abstractmethod
    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        """Take a request. Raises `Wrong`."""

    async def handle(self, request: web.Request) -> web.Response:
        if self.outage is not None:
            return web.Response(status=self.outage, text="down for maintenance")
        try:
            body: dict[str, Any] = {}
            if request.method != "GET":
                need(request.content_type == "application/json", 415, f"content type {request.content_type}")
                body = orjson.loads(await request.read())
                need(isinstance(body, dict), 400, "no object")
            answer = self.take(request, body)
        except Wrong as error:
            self.wrong.append(f"{error.status}: {error}")
            return web.Response(status=error.status, text=str(error))
        self.requests.append(body)
        return answer

    def opened(self, key: str, body: Mapping[str, Any]) -> None:
        alert = self.open.setdefault(key, Alert())
        alert.told += 1
        alert.last = body

    def acknowledged(self, key: str) -> None:
        if key in self.open:
            self.open[key].acknowledged = True

    def resolved(self, key: str) -> None:
        if self.open.pop(key, None) is not None:
            self.closed.append(key)


@asynccontextmanager
async def standing_in(stand_in: StandIn) -> AsyncIterator[StandIn]:
    """The stand-in on a free port of loopback; its ``url`` says which."""
    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield stand_in
    finally:
        await runner.cleanup()


def need(condition: bool, status: int, why: str) -> None:
    """Raises `Wrong` unless the condition holds."""
    if not condition:
        raise Wrong(status, why)


def fields(body: Mapping[str, Any], required: Mapping[str, type], optional: Mapping[str, type] | None = None) -> None:
    """Raises `Wrong` unless the body has all of the required fields, and no others than the optional ones."""
    known = {**required, **(optional or {})}
    for name in required:
        need(name in body, 422, f"{name} is required")
    for name, value in body.items():
        need(name in known, 422, f"{name} is no field")
        need(type(value) is known[name], 422, f"{name} is a {type(value).__name__}")
        need(not isinstance(value, str) or value != "", 422, f"{name} is empty")


class IncidentIo(StandIn):
    """incident.io, Alert Events V2: https://docs.incident.io/api-reference/alert-events-v2/createhttp"""

    origin = "https://api.incident.io"
    keys = {"INCIDENT_IO_TOKEN": "incident-io-token-1", "INCIDENT_IO_SOURCE": "01GW2G3V0S59R238FAHPDS1R66"}

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        need(request.method == "POST", 405, request.method)
        need(request.path == f"/v2/alert_events/http/{self.keys['INCIDENT_IO_SOURCE']}", 404, request.path)
        need(request.headers.get("Authorization") == f"Bearer {self.keys['INCIDENT_IO_TOKEN']}", 401, "token")
        fields(
            body,
            {"title": str, "status": str, "deduplication_key": str},
            {"description": str, "metadata": dict, "source_url": str},
        )
        key = body["deduplication_key"]
        need(body["status"] in ("firing", "resolved"), 422, f"status {body['status']}")
        if body["status"] == "firing":
            self.opened(key, body)
        else:
            self.resolved(key)
        said = {"status": "success", "message": "Event accepted for processing", "deduplication_key": key}
        return web.json_response(said, status=202)


class ILert(StandIn):
    """ilert, Events: https://api.ilert.com/api-docs, POST /events. An alert key is trimmed, and compared without regard
    to case."""

    origin = "https://api.ilert.com"
    keys = {"ILERT_INTEGRATION_KEY": "il1api0001integration", "ILERT_DLP_KEY": "il1api0002integration"}

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        need((request.method, request.path) == ("POST", "/api/events"), 404, request.path)
        fields(
            body,
            {"integrationKey": str, "eventType": str, "summary": str, "alertKey": str},
            {"details": str, "priority": str, "labels": dict, "links": list, "images": list},
        )
        need(body["integrationKey"] in self.keys.values(), 404, "integrationKey")
        need(body.get("priority", "HIGH") in ("HIGH", "LOW"), 400, f"priority {body.get('priority')}")
        labels = body.get("labels", {})
        need(all(isinstance(value, str) for value in labels.values()), 400, f"labels {labels}")
        key = body["alertKey"].strip().casefold()
        match body["eventType"]:
            case "ALERT":
                self.opened(key, body)
            case "ACCEPT":
                self.acknowledged(key)
            case "RESOLVE":
                self.resolved(key)
            case other:
                raise Wrong(400, f"eventType {other}")
        return web.json_response({"alertKey": body["alertKey"]}, status=202)


class GoAlert(StandIn):
    """GoAlert, the Generic API: its page /docs ("Generic API"), in https://github.com/target/goalert. Of JSON it takes
    summary, details, action, dedup and meta; it answers 200 with the alert to who accepts JSON, 204 to others."""

    origin = "https://goalert.example.com"
    keys = {"GOALERT_TOKEN": "8f2c4d50-goalert-token"}

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        need((request.method, request.path) == ("POST", "/api/v2/generic/incoming"), 404, request.path)
        need(dict(request.query) == {"token": self.keys["GOALERT_TOKEN"]}, 401, "token")
        fields(body, {"summary": str, "dedup": str}, {"details": str, "action": str, "meta": dict})
        need(len(body["summary"]) <= 1024, 400, "summary is too long")
        need(len(body["dedup"]) <= 512, 400, "dedup is too long")
        need(body.get("action", "close") == "close", 400, f"action {body.get('action')}")
        if "action" in body:
            self.resolved(body["dedup"])
        else:
            self.opened(body["dedup"], body)
        if request.headers.get("Accept") == "application/json":
            return web.json_response({"Summary": body["summary"]}, status=200)
        return web.Response(status=204)


class SplunkOnCall(StandIn):
    """Splunk On-Call, the REST endpoint:
    https://help.splunk.com/splunk-observability-cloud/splunk-on-call/integrations-with-splunk-on-call/rest-endpoint-integration-for-splunk-on-call
    Fields beside the documented ones are taken, and shown."""

    origin = "https://alert.victorops.com"
    keys = {
        "SPLUNK_API_KEY": "558e7ebc-1f12-api-key",
        "SPLUNK_ROUTING_KEY": "splunk-routing-0001",
        "SPLUNK_ONCALL_ROUTING_KEY": "splunk-routing-0002",
    }

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        base = f"/integrations/generic/20131114/alert/{self.keys['SPLUNK_API_KEY']}"
        routes = (self.keys["SPLUNK_ROUTING_KEY"], self.keys["SPLUNK_ONCALL_ROUTING_KEY"])
        need(request.path in [f"{base}/{route}" for route in routes], 404, request.path)
        need(request.method == "POST", 405, request.method)
        fields(
            {name: value for name, value in body.items() if name != "occurrences"},
            {"message_type": str, "entity_id": str},
            {"entity_display_name": str, "state_message": str, "state_start_time": int, "monitoring_tool": str},
        )
        need(type(body.get("occurrences", 1)) is int, 400, "a number was written as text")
        need(len(body.get("state_message", "")) <= 20480, 400, "state_message is too long")
        match body["message_type"]:
            case "CRITICAL" | "WARNING" | "INFO":
                self.opened(body["entity_id"], body)
            case "ACKNOWLEDGEMENT":
                self.acknowledged(body["entity_id"])
            case "RECOVERY":
                self.resolved(body["entity_id"])
            case other:
                raise Wrong(400, f"message_type {other}")
        return web.json_response({"result": "success", "entity_id": body["entity_id"]}, status=200)


class BetterStack(StandIn):
    """Better Stack, an incoming webhook with the rules that the example asks for:
    https://betterstack.com/docs/uptime/incoming-webhooks; and a heartbeat: https://betterstack.com/docs/uptime/cron-and-heartbeat-monitor"""

    origin = "https://uptime.betterstack.com"
    keys = {"BETTER_STACK_TOKEN": "bsWEBHOOKtoken0001", "BETTER_STACK_HEARTBEAT": "bsHEARTBEATtoken01"}

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        if request.path == f"/api/v1/heartbeat/{self.keys['BETTER_STACK_HEARTBEAT']}":
            self.pings += 1
            return web.Response(status=200)
        need(request.path == f"/api/v1/incoming-webhook/{self.keys['BETTER_STACK_TOKEN']}", 404, request.path)
        need(request.method == "POST", 405, request.method)
        need(type(body.get("dedup_key")) is str, 422, "no alert ID")
        key: str = body["dedup_key"]
        match body.get("status"):
            case "firing":
                fields(
                    body,
                    {"status": str, "dedup_key": str, "title": str, "severity": str, "event": dict},
                    {"reason": str},
                )
                self.opened(key, body)
            case "acknowledged":
                self.acknowledged(key)
            case "resolved":
                self.resolved(key)
            case other:
                raise Wrong(422, f"no rule fits status {other}")
        return web.Response(status=201)


class Slack(StandIn):
    """Slack, an incoming webhook: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks; what
    blocks may be: https://docs.slack.dev/reference/block-kit/blocks; how text is escaped:
    https://docs.slack.dev/messaging/formatting-message-text. It answers with texts."""

    origin = "https://hooks.slack.com"
    keys = {"SLACK_WEBHOOK": "T00000001/B00000001/abcdefghABCDEFGH", "SLACK_ACME_WEBHOOK": "T00000001/B00000002/acme"}

    def take(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        need(request.path in [f"/services/{key}" for key in self.keys.values()], 404, f"no_service {request.path}")
        need(request.method == "POST", 405, request.method)
        fields(body, {"text": str}, {"blocks": list})
        self._is_escaped(body["text"])
        blocks = body.get("blocks", [])
        need(len(blocks) <= 50, 400, "invalid_blocks: too many")
        for block in blocks:
            match block:
                case {"type": "section", "text": text, **rest} if not rest:
                    self._is_text(text, 3000)
                case {"type": "context", "elements": [*elements], **rest} if not rest and 1 <= len(elements) <= 10:
                    for element in elements:
                        self._is_text(element, 3000)
                case _:
                    raise Wrong(400, f"invalid_blocks: {block}")
        self.opened(str(len(self.requests)), body)  # a message is a message
        return web.Response(status=200, text="ok")

    def _is_text(self, text: Any, limit: int) -> None:
        need(isinstance(text, dict) and set(text) == {"type", "text"}, 400, f"invalid_blocks: {text}")
        need(text["type"] in ("plain_text", "mrkdwn"), 400, f"invalid_blocks: {text}")
        need(isinstance(text["text"], str) and 1 <= len(text["text"]) <= limit, 400, "invalid_blocks: length")
        if text["type"] == "mrkdwn":
            self._is_escaped(text["text"])

    def _is_escaped(self, text: str) -> None:
        need("<" not in text and ">" not in text, 400, f"markup in {text}")


STAND_INS: Mapping[str, type[StandIn]] = {
    "incident-io": IncidentIo,
    "ilert": ILert,
    "goalert": GoAlert,
    "splunk-on-call": SplunkOnCall,
    "better-stack": BetterStack,
    "slack": Slack,
}
"""By the name that the provider has in its example, ``deploy/examples/http-<name>.yaml``."""

ENVIRON: Mapping[str, str] = {name: value for kind in STAND_INS.values() for name, value in kind.keys.items()}
"""The environment of all examples."""
