"""OpsGenie's Alert API v2 and heartbeats."""

import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from providers.sandbox.call import Call, CallMoment, Received, Reply, event_id_in, occurrences_in, text
from providers.sandbox.incidents import Incident, Incidents
from providers.sandbox.keys import Keys
from providers.sandbox.opsgenie_rules import RULES, TAG_COUNT

ACTIONS = (
    *("create", "close", "acknowledge", "unacknowledge", "note", "priority", "tags"),
    *("get", "find", "request_status", "ping", "heartbeat", "heartbeats", "unknown"),
)
"""What a call can be; ``unknown`` is one that could not be read. ``find`` and ``heartbeats`` are the cloud API's."""

COUNT_LIMIT = 100
STATUSES_KEPT = 10_000
"""How many request statuses are remembered: the latest."""

ACCOUNT = ""
_BY_METHOD = {
    ("POST", "close"): "close",
    ("POST", "acknowledge"): "acknowledge",
    ("POST", "unacknowledge"): "unacknowledge",
    ("POST", "notes"): "note",
    ("POST", "tags"): "tags",
    ("PUT", "priority"): "priority",
}
_SUBPATHS = frozenset(name for _, name in _BY_METHOD)
_MISSING = "Alert does not exist"
_SHOWN = ("description", "actions", "details", "entity", "source")


class OpsGenie:
    """The alerts by alias, in one account that all keys belong to. `keys` decides which keys are known.

    ``heartbeats`` are the names that exist; ``pings`` counts the pings of any name. ``processing`` seconds after a
    request was accepted its status can be asked for.
    """

    name = "opsgenie"

    def __init__(
        self, keys: Keys, incidents: Incidents, *, heartbeats: Iterable[str] = (), processing: float = 0.0
    ) -> None:
        self.keys = keys
        self._incidents = incidents
        self._configured_heartbeats = frozenset(heartbeats)
        self._processing = processing
        self.reset()

    def reset(self) -> None:
        """Forget all revocations, calls, pings and request statuses."""
        self.keys.reset()
        self.heartbeats = set(self._configured_heartbeats)
        self.pings: Counter[str] = Counter()
        self._statuses: dict[str, dict[str, Any]] = {}

    def read(self, received: Received) -> Call | None:
        """The request as a call, if it is to ``/v2/alerts…`` or ``/v2/heartbeats…`` below any prefix; else None."""
        return self._read_v2(received)

    def _read_v2(self, received: Received) -> Call | None:
        _, found, rest = received.path.partition("/v2/")
        segments = rest.split("/")
        if not found or segments[0] not in ("alerts", "heartbeats"):
            return None
        call = Call(method=received.method, path=received.address, provider=self.name, action="unknown")
        scheme, _, key = received.headers.get("Authorization", "").partition(" ")
        if scheme == "GenieKey" and key.strip():
            call.key = key.strip()
        action, target = _action(received.method, segments)
        call.refusal = self._refused_action(action, target)
        if action is None or call.refusal is not None:
            return call
        call.action = action
        call.target = target
        if action == "create":
            self._read_body(call, received)
            if call.body is not None:
                call.dedup_key = text(call.body.get("alias"))
                call.event_id = event_id_in(call.body.get("details"))
        elif action == "request_status":
            call.dedup_key = self._alias_of(target or "")
        elif action in RULES or action == "get":
            call.target_type = parse_qs(received.query).get("identifierType", ["id"])[-1]
            if call.target_type == "alias":
                call.dedup_key = target
            if action != "get":
                self._read_body(call, received)
        return call

    def _refused_action(self, action: str | None, target: str | None) -> Reply | None:
        """What is answered where there is no such call."""
        if action is not None:
            return None
        return failure(404, "No such path") if target is None else failure(405, "Method Not Allowed")

    def answer(self, call: Call, now: CallMoment) -> Reply:
        """The documented answer. An accepted call has taken effect, as far as it could."""
        if call.key is not None and self.keys.is_malformed(call.key):
            return failure(422, "Key format is not valid!")
        if call.key is None or not self.keys.knows(call.key):
            return unknown_key()
        if not self.keys.admit(call.key, now.monotonic):
            return throttled()
        if call.refusal is not None:
            return call.refusal
        match call.action:
            case "request_status":
                status = self._status(call.target or "", now)
                return status if isinstance(status, Reply) else _found(status)
            case "get":
                return self._get(call)
            case "ping":
                self.pings[call.target or ""] += 1
                return _accepted("PONG - Heartbeat received", str(uuid.uuid4()))
            case "heartbeat":
                return self._heartbeat(call.target or "")
        errors = RULES[call.action](call.body)
        if errors:
            return failure(422, "Request body is not processable. Please check the errors.", errors)
        return self._process(call, call.key, now)

    def _process(self, call: Call, key: str, now: CallMoment) -> Reply:
        """Let what was accepted take effect, unless it is to fail, and remember what has become of it."""
        request_id = str(uuid.uuid4())
        incident, problem = self._take_effect(call, key, now)
        self._remember(request_id, call, incident, problem, now)
        return _accepted("Request will be processed", request_id)

    def _read_body(self, call: Call, received: Received) -> None:
        """Read the body of a call. It may be absent; then it counts as an empty object."""
        if received.body is None:
            call.refusal = failure(413, "Request body is too large")
            return
        if received.body:
            content_type = received.headers.get("Content-Type", "")
            if content_type.partition(";")[0].strip().lower() != "application/json":
                call.refusal = failure(415, "Content type should be application/json")
                return
        try:
            body = orjson.loads(received.body or b"{}")
        except orjson.JSONDecodeError:
            body = None
        if isinstance(body, dict):
            call.body = body
        else:
            call.refusal = failure(400, "Json is not valid")

    def _find(self, call: Call) -> Incident | None:
        """The alert that a call is about: the open alert of an alias, or any alert by its id."""
        target = call.target or ""
        if call.target_type == "alias":
            return self._incidents.find_open(self.name, ACCOUNT, target)
        return self._incidents.get(self.name, target) if call.target_type == "id" else None

    def _take_effect(self, call: Call, key: str, now: CallMoment) -> tuple[Incident | None, str | None]:
        """The alert that it is about, and why it failed."""
        if call.fails_with is not None:
            return None, call.fails_with
        return (self._create(call, key, now), None) if call.action == "create" else self._act(call, now)

    def _create(self, call: Call, key: str, now: CallMoment) -> Incident:
        body = call.body
        alias = call.dedup_key = call.dedup_key or str(uuid.uuid4())
        incident, opened = self._incidents.trigger(
            self.name,
            ACCOUNT,
            key=key,
            dedup_key=alias,
            title=body["message"],
            severity=body.get("priority") or "P3",
            event_id=call.event_id,
            body=body,
            now=now,
            occurrences=occurrences_in(body.get("details")),
        )
        if opened:
            incident.tags += body.get("tags") or []
            if body.get("note"):
                self._incidents.note(incident, body["note"], now=now)
        return incident

    def _act(self, call: Call, now: CallMoment) -> tuple[Incident | None, str | None]:
        """Apply an action. The second value is why it failed, None if it did not."""
        incident = self._find(call)
        if incident is None:
            return None, _MISSING
        if not incident.open:
            return incident, "Alert is already closed"
        body = call.body
        note = body.get("note")
        if note and call.action == "note":
            self._incidents.note(incident, note, now=now)
        elif note:  # the step of the action shows the note in the timeline
            incident.notes.append(note)
        match call.action:
            case "close":
                self._incidents.end(ACCOUNT, incident, by="client", now=now, detail=note or "")
            case "acknowledge":
                self._incidents.acknowledge(incident, by="client", now=now, detail=note or "")
            case "unacknowledge":
                self._incidents.unacknowledge(incident, now=now)
            case "priority":
                self._incidents.set_severity(incident, body["priority"], now=now)
            case "tags":
                more = [tag for tag in dict.fromkeys(body["tags"]) if tag not in incident.tags]
                self._incidents.tag(incident, [*incident.tags, *more][:TAG_COUNT], now=now)
        return incident, None

    def _remember(
        self, request_id: str, call: Call, incident: Incident | None, problem: str | None, now: CallMoment
    ) -> None:
        self._statuses[request_id] = {
            "success": problem is None,
            "isSuccess": problem is None,
            "action": call.action.capitalize(),
            "processedAt": now.wall,
            "status": problem or f"{call.action.capitalize()} done",
            "alertId": "" if incident is None else incident.id,
            "alias": call.dedup_key or ("" if incident is None else incident.dedup_key),
        }
        if len(self._statuses) > STATUSES_KEPT:
            del self._statuses[next(iter(self._statuses))]

    def _alias_of(self, request_id: str) -> str | None:
        """Which alert a request was about."""
        status = self._statuses.get(request_id)
        return None if status is None else status["alias"]

    def _status(self, request_id: str, now: CallMoment) -> dict[str, Any] | Reply:
        """What has become of a request; what is answered where that cannot be said, or not yet."""
        status = self._statuses.get(request_id)
        if status is None:
            return failure(404, "Request not found")
        processed = datetime.fromtimestamp(status["processedAt"] + self._processing, UTC)
        if now.wall < processed.timestamp():
            later = failure(404, "Request not processed yet")
            return Reply(404, later.body, headers={"X-Opsgenie-Errortype": "RequestNotProcessed"})
        return {**status, "processedAt": processed.isoformat()}

    def _heartbeat(self, name: str) -> Reply:
        if name not in self.heartbeats:
            return failure(404, f"Heartbeat with name [{name}] does not exist")
        return _found({"name": name, "enabled": True, "expired": not self.pings[name]})

    def _get(self, call: Call) -> Reply:
        incident = self._find(call)
        return failure(404, _MISSING) if incident is None else _found(alert_json(incident))


def _action(method: str, segments: list[str]) -> tuple[str | None, str | None]:
    """The action of a request, and the decoded name that it is about. The action is None if the path does not exist or
    the method does not fit it."""
    match segments:
        case ["alerts"]:
            return ("create" if method == "POST" else None), ""
        case ["alerts", "requests", request_id] if request_id not in _SUBPATHS:
            return ("request_status" if method == "GET" else None), request_id
        case ["alerts", target]:
            return ("get" if method == "GET" else None), unquote(target)
        case ["alerts", target, subpath] if subpath in _SUBPATHS:
            return _BY_METHOD.get((method, subpath)), unquote(target)
        case ["heartbeats", name]:
            return ("heartbeat" if method == "GET" else None), unquote(name)
        case ["heartbeats", name, "ping"]:
            return ("ping" if method in ("GET", "POST", "PUT", "PATCH") else None), unquote(name)
    return None, None


def alert_json(incident: Incident) -> dict[str, Any]:
    opened_with = incident.opened_with or {}
    return {
        "id": incident.id,
        "tinyId": str(incident.number),
        "alias": incident.dedup_key,
        "message": incident.title,
        "status": "open" if incident.open else "closed",
        "acknowledged": incident.status == "acknowledged",
        "count": min(incident.triggers, COUNT_LIMIT),
        "priority": incident.severity,
        "tags": incident.tags,
        "responders": [_by_id(responder) for responder in opened_with.get("responders") or ()],
        **{name: opened_with[name] for name in _SHOWN if name in opened_with},
    }


def _by_id(responder: dict[str, str]) -> dict[str, str]:
    """A recipient as an alert shows it: by id, which is made up if the recipient was given by name."""
    name = responder.get("name") or responder.get("username") or ""
    return {"type": responder["type"], "id": responder.get("id") or str(uuid.uuid5(uuid.NAMESPACE_URL, name))}


def _accepted(result: str, request_id: str) -> Reply:
    return Reply.json(202, {"result": result, "took": 0.001, "requestId": request_id})


def _found(data: dict[str, Any]) -> Reply:
    return Reply.json(200, {"data": data, "took": 0.001, "requestId": str(uuid.uuid4())})


def failure(status: int, message: str, errors: dict[str, str] | None = None) -> Reply:
    body: dict[str, Any] = {"message": message, "took": 0.001, "requestId": str(uuid.uuid4())}
    return Reply.json(status, body if errors is None else {**body, "errors": errors})


def unknown_key() -> Reply:
    """The answer to a key that no integration has."""
    return failure(401, "Could not authenticate")


def throttled() -> Reply:
    """The answer to a key that calls too often."""
    reply = failure(429, "You are making too many requests!")
    limits = {"X-RateLimit-State": "THROTTLED", "X-RateLimit-Reason": "INTEGRATION", "X-RateLimit-Period-In-Sec": "60"}
    return Reply(429, reply.body, headers=limits)
