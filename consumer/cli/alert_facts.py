"""The facts that ``alerts list`` and ``show`` print about an alert, as plain values."""

from dataclasses import dataclass
from typing import Any

from consumer.cli.alerts_found import Found
from consumer.cli.last_event import LastEvent, names_of, place_of
from consumer.cli.terminal import moment
from providers.retry import Backoff
from state.alert import Alert, Owed
from state.due import Due, due
from state.held import untold


@dataclass(frozen=True, slots=True)
class Outlook:
    """How the owed trigger of an alert will be sent: through which ``route``, and with which ``backoff``. ``now`` is
    wall-clock time in seconds since the epoch."""

    route: str
    backoff: Backoff
    now: float


def facts(found: Found) -> dict[str, Any]:
    """The facts that are printed for every alert."""
    alert, owes = found.alert, due(found.alert)
    guard, tenant = names_of(alert) or (None, None)
    return {
        "dedup_key": alert.dedup_key,
        "provider": found.provider,
        "partition": found.partition,
        "status": alert.status.value,
        "severity": alert.highest.label,
        "guard": guard,
        "tenant": tenant,
        "occurrences": alert.occurrences,
        "first_seen": moment(alert.first_seen),
        "last_seen": moment(alert.last_seen),
        "route": alert.route,
        "owes": None if owes is None else owes.value,
        "silenced": silenced(alert),
        "orphaned_at": [str(one) for one in found.orphans] or None,
    }


def details(alert: Alert, event: LastEvent | None = None, outlook: Outlook | None = None) -> dict[str, Any]:
    """Further facts, for ``show``, which prints one alert. Without an ``event``, only the event's place is given."""
    told, owes = alert.last_notified, due(alert)
    details: dict[str, Any] = {"session_id": alert.session_id, "decided": moment(alert.decided)}
    if alert.integration is not None:
        details["integration"] = alert.integration
    if alert.former:
        details["has_left"] = [str(one) for one in alert.former]
    if alert.ended_by is not None:
        details["ended_by"] = alert.ended_by.value
    details["event"] = _event(event or LastEvent(place_of(alert), None))
    if told is not None:
        details["told"] = {"severity": told.severity.label, "at": moment(told.at)}
    if alert.owed is not None and owes is Due.TRIGGER:
        details["owed"] = _owed(alert.owed, outlook)
    elif owes is not None and alert.failed:
        details["failed_attempts"] = alert.failed
    return details


def silenced(alert: Alert) -> dict[str, Any] | None:
    """By which silences the alert is kept from being told, until when, and how many of its events; None if by none."""
    held = untold(alert)
    if held is None:
        return None
    until = max(until for _, until in held.silences)
    return {
        "by": [silence_id for silence_id, _ in held.silences],
        "until": moment(until),
        "occurrences": held.occurrences,
    }


def names_it_says(event: LastEvent) -> dict[str, str | None]:
    """The guard and the tenant from the event itself: the alert may have kept neither, or have shortened them."""
    says = event.says
    return {} if says is None else {"guard": says.guard, "tenant": says.tenant_id}


def _event(event: LastEvent) -> dict[str, Any]:
    says, place = event.says, event.place
    said = {} if says is None else {"id": says.event_id, "reason": says.reason, "agent": says.agent_id}
    stands = {} if place is None else {"topic": place.topic, "partition": place.partition, "offset": place.offset}
    return {**said, **stands, **({} if event.note is None else {"note": event.note})}


def _owed(owed: Owed, outlook: Outlook | None) -> dict[str, Any]:
    return {
        "severity": owed.severity.label,
        "since": moment(owed.since),
        "occurrences": owed.occurrences,
        "first_offset": owed.first_offset,
        "last_offset": owed.last_offset,
        "route": None if outlook is None else outlook.route,
        "attempts": owed.attempts,
        "first_attempt": moment(owed.first_attempt),
        "last_attempt": moment(owed.last_attempt),
        "last_error": last_error(owed),
        "next_attempt": None if outlook is None else next_attempt(owed, outlook.backoff, outlook.now),
    }


def last_error(owed: Owed) -> str | None:
    """Why the last attempt has failed, after the provider's status: ``503 down``."""
    status, error = owed.last_status, owed.last_error
    if error is None or status is None or error.startswith(f"HTTP {status}"):
        return error
    return f"{status} {error}"


def next_attempt(owed: Owed, backoff: Backoff, now: float) -> str:
    """About when the next attempt will be made, as the backoff says. The state holds neither the condition of a route
    nor what else waits for it."""
    last = owed.last_attempt
    if not owed.attempts or last is None:
        return "at its turn: not tried yet"
    latest = last + backoff.longest(owed.attempts)
    if latest > now:
        return f"by {moment(latest)}, or when its route works again"
    return "when its route works again, or at its turn"
