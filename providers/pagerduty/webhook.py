"""PagerDuty's Webhooks v3: whose they are, and what they say.

Source: https://developer.pagerduty.com/docs/webhooks-overview, and "Verifying webhook signatures" and "Webhook payload"
there. Pure.
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from providers.webhook import Malformed, Nothing, Said
from state.provider_feedback import Happened, What

SIGNATURE: Final = "X-PagerDuty-Signature"
WEBHOOK_ID: Final = "X-Webhook-Id"

_VERSION = "v1="
_MOST_SIGNATURES = 16
"""How many signatures of a header are looked at. PagerDuty sends one for each secret that is in use."""

_TYPES: Final = {
    "incident.acknowledged": What.ACKNOWLEDGED,
    "incident.unacknowledged": What.UNACKNOWLEDGED,
    "incident.resolved": What.RESOLVED,
    "incident.reopened": What.REOPENED,
    "incident.reassigned": What.REASSIGNED,
    "incident.delegated": What.REASSIGNED,
    "incident.escalated": What.REASSIGNED,
    "incident.annotated": What.ANNOTATED,
    "incident.priority_updated": What.PRIORITY_CHANGED,
}
_PING = "pagey.ping"
_MERGE = "merge_resolve_reason"
_INTEGRATION = "inbound_integration_reference"


def sign(body: bytes, secret: str) -> str:
    """The signature of a body, as it stands in the header."""
    return _VERSION + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed(body: bytes, header: str | None, secrets: Iterable[str]) -> bool:
    """Whether any signature of the header is of this body, with any of the secrets. How long it takes tells nothing."""
    given = (header or "").split(",", _MOST_SIGNATURES)[:_MOST_SIGNATURES]
    expected = [sign(body, secret).encode() for secret in secrets]
    # All of them, whichever it is. What is no ASCII is no signature either, and is compared like one.
    fits = [
        hmac.compare_digest(one.strip().encode(errors="surrogatepass"), right) for one in given for right in expected
    ]
    return any(fits)


def read(body: bytes) -> Said | Nothing | Malformed:
    """Read the body of a webhook. Returns what has happened, or that it tells nothing of interest, or that it is
    malformed."""
    try:
        event = orjson.loads(body)["event"]
        kind = event["event_type"]
        if not isinstance(kind, str):
            raise TypeError
        if kind == _PING:
            return Nothing("ping")
        if (what := _TYPES.get(kind)) is None:
            return Nothing("unknown_type")
        data = event["data"]
        if what is What.RESOLVED and (data.get("resolve_reason") or {}).get("type") == _MERGE:
            return Nothing("merge")
        # What is not about the incident itself, such as a note, has it inside.
        incident = data if data.get("type") in ("incident", "incident_reference") else data.get("incident") or data
        id, dedup_key, agent = incident["id"], incident.get("incident_key"), event.get("agent") or {}
        by_integration, by = agent.get("type") == _INTEGRATION, _text(agent.get("summary"))
        if not isinstance(id, str) or not isinstance(dedup_key, str | None):
            raise TypeError
        at, opened = _seconds(event["occurred_at"]), incident.get("created_at")
        opened = None if opened is None else _seconds(opened)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return Malformed(f"no event of Webhooks v3: {type(error).__name__}")
    return Said(dedup_key or None, Happened(what, at, id, by_integration, opened), by)


def _seconds(time: Any) -> float:
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.timestamp()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
