"""Jira Service Management and Compass: OpsGenie's API for integrations below another base, and the cloud API.

https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v2/ (alerts, heartbeats). An account of its own, beside
OpsGenie's: an alert that is open at the one is not open at the other.
"""

import re
import uuid
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from providers.sandbox.call import Call, CallMoment, Received, Reply
from providers.sandbox.incidents import Incidents
from providers.sandbox.keys import Keys
from providers.sandbox.opsgenie import OpsGenie, alert_json, failure
from providers.sandbox.opsgenie_rules import RULES

JSM_BASE = "/jsm/ops/integration"
"""Below this prefix is the API for integrations, with what is documented for them."""

INTEGRATION_ACTIONS = frozenset({"create", "close", "acknowledge", "note"})
PingMethod = Literal["GET", "POST"]

_CLOUD = re.compile(r".*?(?:/jsm/ops/api/[^/]+|/compass/cloud/[^/]+/ops)/v1/(?P<rest>.+)", re.DOTALL)
_BY_METHOD = {("PATCH", "priority"): "priority", ("POST", "tags"): "tags"}


@dataclass(slots=True, kw_only=True)
class CloudCall(Call):
    """A call of the cloud API; its ``key`` is ``email:token``."""


class Jsm(OpsGenie):
    """The life of alerts by alias, and by id. ``full`` lets everything of OpsGenie's work below the base for
    integrations; ``ping_by`` is the one method that a ping may have."""

    name = "jsm"

    def __init__(
        self,
        keys: Keys,
        users: Keys,
        incidents: Incidents,
        *,
        heartbeats: Iterable[str] = (),
        full: bool = False,
        ping_by: PingMethod = "GET",
        processing: float = 0.0,
    ) -> None:
        self.users = users
        self._full = full
        self._ping_by = ping_by
        super().__init__(keys, incidents, heartbeats=heartbeats, processing=processing)

    def reset(self) -> None:
        """Back to the state of the start."""
        self.users.reset()
        super().reset()

    def read(self, received: Received) -> Call | None:
        """The call that a request below one of the bases is."""
        cloud = _CLOUD.fullmatch(received.path)
        if cloud is not None:
            return self._read_cloud(received, cloud["rest"].split("/"))
        return self._read_v2(received) if JSM_BASE in received.path else None

    def answer(self, call: Call, now: CallMoment) -> Reply:
        """The documented answer; what was accepted has taken effect, as far as it could."""
        return self._answer_cloud(call, now) if isinstance(call, CloudCall) else super().answer(call, now)

    def _refused_action(self, action: str | None, target: str | None) -> Reply | None:
        if action is None or not (self._full or action in INTEGRATION_ACTIONS):
            return failure(404, "No such path")
        return None

    # the cloud API

    def _read_cloud(self, received: Received, segments: list[str]) -> CloudCall:
        call = CloudCall(method=received.method, path=received.address, provider=self.name, action="unknown")
        call.key = _user(received.headers.get("Authorization", ""))
        query = {name: values[-1] for name, values in parse_qs(received.query).items()}
        match received.method, segments:
            case "GET", ["alerts", "alias"]:
                call.action, call.target, call.target_type = "find", query.get("alias", ""), "alias"
                call.dedup_key = call.target
            case "GET", ["alerts", "requests", request_id]:
                call.action, call.target = "request_status", unquote(request_id)
                call.dedup_key = self._alias_of(call.target)
            case "GET", ["alerts", id]:
                call.action, call.target, call.target_type = "get", unquote(id), "id"
            case method, ["alerts", id, what] if (method, what) in _BY_METHOD:
                call.action, call.target, call.target_type = _BY_METHOD[method, what], unquote(id), "id"
                self._read_body(call, received)
                incident = self._find(call)
                call.dedup_key = None if incident is None else incident.dedup_key
            case "GET", ["teams", _, "heartbeats"]:
                call.action = "heartbeats"
            case ("GET" | "POST") as method, ["teams", _, "heartbeats", "ping"]:
                call.action, call.target = "ping", query.get("name", "")
                if method != self._ping_by:
                    call.refusal = failure(405, "Method Not Allowed")
            case _:
                call.refusal = failure(404, "No such path")
        return call

    def _answer_cloud(self, call: CloudCall, now: CallMoment) -> Reply:
        if call.key is None or not self.users.knows(call.key):
            return Reply.json(401, {"code": 401, "message": "Unauthorized"})
        if not self.users.admit(call.key, now.monotonic):
            return Reply.json(429, {"code": 429, "message": "Rate limit exceeded"}, {"Retry-After": "60"})
        if call.refusal is not None:
            return call.refusal
        match call.action:
            case "find" | "get":
                incident = self._find(call)
                return failure(404, "Alert not found") if incident is None else Reply.json(200, alert_json(incident))
            case "request_status":
                status = self._status(call.target or "", now)
                return status if isinstance(status, Reply) else Reply.json(200, status)
            case "heartbeats":
                beats: list[dict[str, Any]] = [{"name": name, "enabled": True} for name in sorted(self.heartbeats)]
                return Reply.json(200, {"values": beats, "links": {}})
            case "ping":
                self.pings[call.target or ""] += 1
                return Reply.json(202, {"result": "PONG - Heartbeat received", "requestId": str(uuid.uuid4())})
        errors = RULES[call.action](call.body)
        if errors:
            return failure(422, "Request body is not processable. Please check the errors.", errors)
        return self._process(call, call.key, now)


def _user(authorization: str) -> str | None:
    scheme, _, credentials = authorization.partition(" ")
    if scheme != "Basic":
        return None
    try:
        user = b64decode(credentials, validate=True).decode()
    except (NoBase64, UnicodeDecodeError):
        return None
    return user if ":" in user else None
