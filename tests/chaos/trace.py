"""What is known of one dedup key, written out."""

from collections.abc import Sequence

from providers.sandbox import Sandbox
from tests.chaos.happened import Rendering
from tests.chaos.keying import dedup_key, session_of
from tests.chaos.reader import Reader


def trace(reader: Reader, sandbox: Sandbox, provider: str, key: str, renderings: Sequence[Rendering] = ()) -> str:
    """Everything that is known about one dedup key, for whoever looks for a cause."""
    lines = [f"{provider} {key}", "events:"]
    lines += [
        f"  {event.partition}/{event.offset} {event.sent:.3f} {event.guard or 'END'} {event.event_id}"
        for event in reader.events
        if event.session == session_of(key, provider)
        if event.guard is None or dedup_key(provider, event, renderings) == key
    ]
    lines.append("state:")
    for alert in reader.history[provider].get(key, []):
        if alert is None:
            lines.append("  gone")
            continue
        owed = alert.owed
        owes = "nothing" if owed is None else f"{owed.first_offset}…{owed.last_offset} x{owed.attempts} {owed.repeat=}"
        lines.append(
            f"  {alert.status.value} {alert.occurrences} decided {alert.decided:.3f} has={alert.is_at_provider} "
            f"unsettled={alert.unsettled} told={alert.last_notified} owes {owes}"
        )
    lines.append("requests:")
    lines += [
        f"  {entry.number} {entry.at:.3f} {entry.action} {entry.event_id} {entry.fault or ''} applied={entry.applied} "
        f"{entry.status}"
        for entry in sandbox.requests(provider, dedup_key=key)
    ]
    lines.append("incidents:")
    lines += [
        f"  {one.number} {one.opened_at:.3f}…{one.resolved_at} {one.status} {one.extra or ''}"
        for one in sandbox.incidents(provider, dedup_key=key)
    ]
    return "\n".join(lines)
