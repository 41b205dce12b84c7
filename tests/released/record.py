"""What this release writes into a state topic: an alert of every kind, what it owes, and a checkpoint.

At a release, `python -m tests.released.record > tests/data/state-VERSION.jsonl` keeps it, and a copy of what reads it
goes beside `tests/released/v0_1`; from then on every later release is tested with both.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from state.acknowledging import acknowledge, acknowledge_answered
from state.alert import Alert, Former, Owed
from state.answers import attempted, overflowed, trigger_accepted, trigger_attempted
from state.counts import counts_of
from state.departures import departed
from state.occurrences import Occurrence, occurred
from state.over import over
from state.policy import Policy
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_key, encode_position
from state.silenced import silenced
from state.violation import Record, Severity

NOW = 1_764_115_200.25
POLICY = Policy(window_seconds=300, renotify_seconds=3600, quiet_seconds=1800, forget_seconds=86400)


def alerts() -> Iterator[Alert]:
    """An alert of every kind, each as a life has brought it there."""
    fresh = _occurs("owed", None)
    yield fresh
    yield _occurs("owed-twice", replace(fresh, dedup_key="guard:owed-twice"), Severity.CRITICAL)
    yield trigger_attempted(_occurs("tried", None), "by_guard:secret_leak", True, NOW + 3)
    yield overflowed(_occurs("overflow", None)) or fresh
    told = _told("open")
    yield told
    yield _occurs("raised", _told("raised"), Severity.CRITICAL)
    yield acknowledge(_told("taken"))
    yield attempted(acknowledge(_told("taken-and-refused")))
    yield acknowledge_answered(acknowledge(_told("acknowledged")), accepted=True)
    yield over(_told("resolving")) or told
    yield over(_occurs("told-first", None)) or told
    ending = over(_told("back"))
    assert ending is not None
    back = _occurs("back", ending)
    yield back
    assert back.owed is not None
    yield replace(trigger_accepted(back, back.owed, "default", NOW, NOW + 9), dedup_key="guard:again")
    yield replace(departed(_told("left"), Former("0a1b2c3d", "default")), integration="4e5f6071")
    moved = replace(departed(_occurs("moved", None), Former("0a1b2c3d", "default")), integration="4e5f6071")
    assert moved.owed is not None
    yield trigger_accepted(moved, moved.owed, "by_guard:x", NOW, NOW + 9)
    yield _occurs("large", None, size=5000)
    yield _silenced("silenced", None)
    yield _silenced("told-and-silenced", _told("told-and-silenced"))
    yield _silenced("resolving-and-silenced", over(_told("resolving-and-silenced")))


def _silenced(name: str, alert: Alert | None) -> Alert:
    record = Record("clawdstrike.events", 3, 49, int(NOW * 1000), b"s1", b"{}")
    occurrence = Occurrence(Severity.HIGH, NOW, record, guard="secret_leak", tenant="acme")
    return silenced(alert, f"guard:{name}", name, occurrence, {"release-7": NOW + 3600}, NOW + 7, "4e5f6071")


def records() -> Mapping[bytes, bytes]:
    """By key, as they stand in the topic."""
    found = {encode_key(alert.dedup_key): encode_alert(alert) for alert in alerts()}
    large = next(alert for alert in alerts() if alert.dedup_key == "guard:large")
    counts = {"guard:large": counts_of(_occurs("large", large))}
    position = Position("clawdstrike.events", 3, 51, {0: 17, 2: 5}, group="clawdstrike-alerting.pagerduty")
    return {**found, CHECKPOINT_KEY: encode_position(position, counts)}


def _occurs(name: str, alert: Alert | None, severity: Severity = Severity.HIGH, *, size: int = 20) -> Alert:
    offset = 41 if alert is None else 47
    record = Record("clawdstrike.events", 3, offset, int(NOW * 1000), b"s1", b"{" * size, (("trace", b"\xff\0"),))
    now = NOW if alert is None else NOW + 5
    return occurred(alert, f"guard:{name}", name, Occurrence(severity, now, record), now, POLICY)[0]


def _told(name: str) -> Alert:
    alert = _occurs(name, None)
    owed = alert.owed
    assert isinstance(owed, Owed)
    return trigger_accepted(alert, owed, "default", NOW + 1.0, NOW + 2.5)


if __name__ == "__main__":
    for key, value in records().items():
        print(json.dumps({"key": b64encode(key).decode(), "value": b64encode(value).decode()}))
