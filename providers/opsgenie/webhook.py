"""OpsGenie's outgoing webhooks, which Jira Service Management's are like: what they say. They are not signed.

Source: https://support.atlassian.com/opsgenie/docs/opsgenie-edge-connector-alert-action-data/ and "Integrate with
webhooks" there. ``updatedAt`` is in nanoseconds. Pure.
"""

from typing import Any, Final

import orjson

from providers.webhook import Malformed, Nothing, Said
from state.provider_feedback import Happened, What

_ACTIONS: Final = {
    "acknowledge": What.ACKNOWLEDGED,
    "unacknowledge": What.UNACKNOWLEDGED,
    "close": What.RESOLVED,
    "assignownership": What.REASSIGNED,
    "takeownership": What.REASSIGNED,
    "escalate": What.REASSIGNED,
    "escalatenext": What.REASSIGNED,
    "addnote": What.ANNOTATED,
    "updatepriority": What.PRIORITY_CHANGED,
}
_PROGRAMS = frozenset({"api", "integration"})
_NANOSECONDS = 10**9
_LEAST_NANOSECONDS = 10**17
"""1973 in nanoseconds: a smaller number is in milliseconds, as ``createdAt`` is."""


def read(body: bytes) -> Said | Nothing | Malformed:
    """What the body says."""
    try:
        found = orjson.loads(body)
        action, alert, source = found["action"], found.get("alert") or {}, found.get("source") or {}
        if (what := _ACTIONS.get(action.lower())) is None:
            return Nothing("unknown_type")
        id, alias = alert["alertId"], alert.get("alias")
        if not isinstance(id, str) or not isinstance(alias, str | None):
            raise TypeError
        at = _seconds(alert["updatedAt"])
        kind, by = source.get("type"), alert.get("username") or source.get("name")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return Malformed(f"no action on an alert: {type(error).__name__}")
    by_integration = isinstance(kind, str) and kind.lower() in _PROGRAMS
    return Said(alias or None, Happened(what, at, id, by_integration), by if isinstance(by, str) else "")


def _seconds(updated_at: Any) -> float:
    if not isinstance(updated_at, int) or isinstance(updated_at, bool) or updated_at <= 0:
        raise ValueError("no time")
    return updated_at / (_NANOSECONDS if updated_at >= _LEAST_NANOSECONDS else 1000)
