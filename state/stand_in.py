"""A record that stands in for one that cannot be read: it says what the alert knows (design sections 20 and 22)."""

from datetime import UTC, datetime

import orjson

from state.alert import Alert, Source
from state.occurrences import ELSEWHERE
from state.violation import Record, Severity


def stand_in(alert: Alert, event_id: str, severity: Severity, source: Source | None, topic: str, reason: str) -> Record:
    """A record with an event that says what is known of the alert. It stands nowhere, and cannot be replayed.

    ``source`` names the guard and the tenant (None: neither is known); ``reason`` is what the page says.
    """
    event = {
        "event_id": event_id,
        "event_type": "policy_violation",
        "timestamp": datetime.fromtimestamp(alert.last_seen, UTC).isoformat(),
        "agent": {"id": "unknown"},
        "session": {"id": alert.session_id or "unknown", "tenant_id": None if source is None else source.tenant},
        "decision": {
            "allowed": False,
            "guard": (None if source is None else source.guard) or "unknown",
            "severity": severity.label,
            "reason": reason,
        },
        "resource": {"type": "unknown", "name": alert.dedup_key},
    }
    return Record(topic, 0, ELSEWHERE, int(alert.last_seen * 1000), alert.key, orjson.dumps(event))


_SILENCED = "This problem was silenced; its event is not in the topic any more"


def silenced_stand_in(alert: Alert) -> Record:
    """What stands in for the record of the worst silenced event of the alert, which has one."""
    held = alert.held
    assert held is not None
    return stand_in(alert, f"silenced-{alert.dedup_key}", held.severity, held.source, held.source.topic, _SILENCED)
