"""PagerDuty's Events API v2: enqueueing events and change events."""

import re
import uuid
from datetime import datetime
from typing import Any

import orjson

from providers.sandbox.call import Call, CallMoment, Received, Reply, event_id_in, occurrences_in, text
from providers.sandbox.incidents import Incidents
from providers.sandbox.keys import Keys
from providers.sandbox.pagerduty_rest import Rest
from providers.sandbox.webhooks import Webhooks

ACTIONS = ("trigger", "acknowledge", "resolve", "change", "look", "unknown")
"""What a call can be; ``look`` is one of the REST API, ``unknown`` one that could not be read."""

KEY_LENGTH = 32
DEDUP_KEY_LIMIT = 255
SUMMARY_LIMIT = 1024
SIZE_LIMIT = 512 * 1024
SEVERITIES = ("critical", "error", "warning", "info")

_ENQUEUE = "/v2/enqueue"
_CHANGE = "/v2/change/enqueue"
# Lenient after the seconds: any fraction, an offset with or without a colon, and the `+00:00Z` of the official client.
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?)?(Z|[+-]\d{2}(:?\d{2})?Z?)?")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")

THROTTLED = Reply.json(
    429,
    {
        "status": "throttle exceeded",
        "message": "Requests for this service are arriving too quickly. Please retry later.",
    },
)
UNKNOWN_KEY = Reply(400, b"Invalid routing key", "text/plain")


class PagerDuty:
    """The life of incidents by (routing key, dedup key). Keys of 32 characters are known unless `keys` says no.

    Each key is the integration of a service (`services`), which may be disabled, in maintenance, or suppress events:
    then an event is accepted, and does nothing.
    """

    name = "pagerduty"

    def __init__(
        self, keys: Keys, incidents: Incidents, webhooks: Webhooks, rest_tokens: frozenset[str] | None = None
    ) -> None:
        self.keys = keys
        self._incidents = incidents
        self._rest = Rest(incidents, webhooks, rest_tokens)
        self.services = self._rest.services

    def read(self, received: Received) -> Call | None:
        """The call that a request to ``/v2/enqueue`` or ``/v2/change/enqueue``, below any prefix, is, or a look-up."""
        path = received.path
        change = path.endswith(_CHANGE)
        if not change and not path.endswith(_ENQUEUE):
            return self._rest.read(received, self.name)
        call = Call(method=received.method, path=received.address, provider=self.name, action="unknown")
        if received.method != "POST":
            call.refusal = Reply.json(405, {"status": "method not allowed", "message": "Use POST"}, {"Allow": "POST"})
            return call
        if received.body is None or len(received.body) > SIZE_LIMIT:
            call.refusal = Reply.json(413, {"status": "invalid event", "message": "Event exceeds 512 KB"})
            return call
        try:
            body = orjson.loads(received.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            call.refusal = _unrecognized()
            return call
        call.body = body
        call.key = text(body.get("routing_key"))
        payload = body.get("payload")
        if isinstance(payload, dict):
            call.event_id = event_id_in(payload.get("custom_details"))
        if change:
            call.action = "change"
            return call
        action = body.get("event_action")
        if action in ("trigger", "acknowledge", "resolve"):
            call.action = action
        call.dedup_key = text(body.get("dedup_key"))
        return call

    def answer(self, call: Call, now: CallMoment) -> Reply:
        """The documented answer. An accepted event has taken effect."""
        if call.refusal is not None:
            return call.refusal
        if call.action == "look":
            return self._rest.answer(call, now)
        key = call.key
        if key is not None and len(key) == KEY_LENGTH:
            if not self.keys.knows(key):
                return UNKNOWN_KEY
            if not self.keys.admit(key, now.monotonic):
                return THROTTLED
        body: dict[str, Any] = call.body
        errors = _change_errors(body) if call.action == "change" else _event_errors(body)
        if errors or key is None:
            return Reply.json(400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors})
        if call.action == "change":
            return Reply.json(202, {"status": "success", "message": "Change event processed"})
        dedup_key = call.dedup_key or uuid.uuid4().hex
        call.dedup_key = dedup_key
        if not self.services.of(key).swallows(call.action, now.wall):
            self._apply(call, key, dedup_key, now)
        return Reply.json(202, {"status": "success", "message": "Event processed", "dedup_key": dedup_key})

    def reset(self) -> None:
        """No key is revoked, no call was counted, every service works."""
        self.keys.reset()
        self.services.clear()

    def _apply(self, call: Call, key: str, dedup_key: str, now: CallMoment) -> None:
        if call.action == "trigger":
            payload = call.body["payload"]
            incident, opened = self._incidents.trigger(
                self.name,
                key,
                key=key,
                dedup_key=dedup_key,
                title=payload["summary"],
                severity=payload["severity"],
                event_id=call.event_id,
                body=call.body,
                now=now,
                occurrences=occurrences_in(payload.get("custom_details")),
            )
            if not opened:
                self._incidents.set_severity(incident, payload["severity"], now=now)
            return
        found = self._incidents.find_open(self.name, key, dedup_key)
        if found is None:
            return
        if call.action == "acknowledge":
            self._incidents.acknowledge(found, by="client", now=now)
        else:
            self._incidents.end(key, found, by="client", now=now)


def _unrecognized() -> Reply:
    return Reply.json(
        400,
        {
            "status": "Unrecognized object",
            "message": "Event object format is unrecognized",
            "errors": ["JSON parse error"],
        },
    )


def _event_errors(body: dict[str, Any]) -> list[str]:
    errors = _key_errors(body)
    action = body.get("event_action")
    if not action:
        errors.append("'event_action' is missing or blank")
    elif action not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' is invalid (must be one of: 'trigger', 'acknowledge', 'resolve')")
    dedup_key = body.get("dedup_key")
    if dedup_key is None or dedup_key == "":
        if action in ("acknowledge", "resolve"):
            errors.append("'dedup_key' is missing or blank")
    elif not isinstance(dedup_key, str):
        errors.append("'dedup_key' must be a string")
    elif len(dedup_key) > DEDUP_KEY_LIMIT:
        errors.append(f"Length of 'dedup_key' is incorrect (should be at most {DEDUP_KEY_LIMIT} characters)")
    if action == "trigger":
        errors += _payload_errors(body, required=("summary", "source", "severity"))
        errors += _attachment_errors(body)
        errors += [f"'{name}' must be a string" for name in ("client", "client_url") if not _is_text(body, name)]
    return errors


def _change_errors(body: dict[str, Any]) -> list[str]:
    errors = _key_errors(body)
    if not errors and body["routing_key"].startswith("R"):
        errors.append("'routing_key' belongs to an event rule set, which takes no change events")
    return errors + _payload_errors(body, required=("summary",)) + _attachment_errors(body)


def _key_errors(body: dict[str, Any]) -> list[str]:
    key = body.get("routing_key")
    if key is None or key == "":
        return ["'routing_key' is missing or blank"]
    if not isinstance(key, str) or len(key) != KEY_LENGTH:
        return [f"Length of 'routing_key' is incorrect (should be {KEY_LENGTH} characters)"]
    return []


def _payload_errors(body: dict[str, Any], *, required: tuple[str, ...]) -> list[str]:
    payload = body.get("payload")
    if payload is None or payload == {}:
        return ["'payload' is missing or blank"]
    if not isinstance(payload, dict):
        return ["'payload' must be an object"]
    errors = [f"'payload.{name}' is missing or blank" for name in required if payload.get(name) in (None, "")]
    errors += [
        f"'payload.{name}' must be a string"
        for name in ("summary", "source", "component", "group", "class")
        if not _is_text(payload, name) and not (name in required and payload[name] is None)
    ]
    summary = payload.get("summary")
    if isinstance(summary, str) and len(summary) > SUMMARY_LIMIT:
        errors.append(f"Length of 'payload.summary' is incorrect (should be at most {SUMMARY_LIMIT} characters)")
    severity = payload.get("severity")
    if "severity" in required and severity not in (None, "") and severity not in SEVERITIES:
        errors.append("'payload.severity' is invalid (must be one of: 'critical', 'error', 'warning', 'info')")
    if "timestamp" in payload and not _is_timestamp(payload["timestamp"]):
        errors.append("'payload.timestamp' is invalid (must be ISO 8601)")
    if "custom_details" in payload and not isinstance(payload["custom_details"], dict):
        errors.append("'payload.custom_details' must be an object")
    return errors


def _attachment_errors(body: dict[str, Any]) -> list[str]:
    errors: list[str] = []
    for name, address, texts in (("links", "href", ("text",)), ("images", "src", ("href", "alt"))):
        items = body.get(name, [])
        if not isinstance(items, list):
            errors.append(f"'{name}' must be a list")
            continue
        for index, item in enumerate(items):
            at = f"{name}[{index}]"
            if not isinstance(item, dict):
                errors.append(f"'{at}' must be an object")
                continue
            url = item.get(address)
            if not url:
                errors.append(f"'{at}.{address}' is missing or blank")
            elif not isinstance(url, str) or not _URL.fullmatch(url):
                errors.append(f"'{at}.{address}' is not a URL")
            elif name == "images" and not url.startswith("https://"):
                errors.append(f"'{at}.{address}' must be served by https")
            errors += [f"'{at}.{text}' must be a string" for text in texts if not _is_text(item, text)]
    return errors


def _is_text(values: dict[str, Any], name: str) -> bool:
    return name not in values or isinstance(values[name], str)


def _is_timestamp(value: Any) -> bool:
    if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19] if value[16:17] == ":" else value[:10])
    except ValueError:
        return False
    return True
