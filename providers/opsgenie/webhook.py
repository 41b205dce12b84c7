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
"""The least number that counts as nanoseconds (in 1973): a smaller one is in milliseconds, as ``createdAt`` is."""


def read(body: bytes) -> Said | Nothing | Malformed:
    """Read the body of a webhook. Returns what has happened, or that it tells nothing of interest, or that it is
    malformed."""
    try:
        found = orjson.loads(body)
        action, alert, source = found["action"], found.get("alert") or {}, found.get("source") or {}
        if (what := _ACTIONS.get(action.lower())) is None:
            return Nothing("unknown_type")
        id, alias = alert["alertId"], alert.get("alias")
        if not isinstance(id, str) or not isinstance(alias, str | None):
            raise TypeError
        at, opened = _seconds(alert["updatedAt"]), alert.get("createdAt")
        opened = None if opened is None else _seconds(opened)
        kind, by = source.get("type"), alert.get("username") or source.get("name")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return Malformed(f"no action on an alert: {type(error).__name__}")
    by_integration = isinstance(kind, str) and kind.lower() in _PROGRAMS
    return Said(alias or None, Happened(what, at, id, by_integration, opened), by if isinstance(by, str) else "")


def _seconds(time: Any) -> float:
    if not isinstance(time, int) or isinstance(time, bool) or time <= 0:
        raise ValueError("no time")
    return time / (_NANOSECONDS if time >= _LEAST_NANOSECONDS else 1000)
