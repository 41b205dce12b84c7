"""Alerts and checkpoints as records of the state topic (design section 3).

The key of an alert's record is its dedup key, the value is JSON (None: a tombstone, the alert is gone); the key of the
checkpoint is `CHECKPOINT_KEY`, which no dedup key can be. Original records stand in base64, since they are any bytes.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from operator import attrgetter
from typing import Any

import orjson

from state.alert import Alert, Owed, Status, Told
from state.counts import Counts
from state.violation import Record, Severity

CHECKPOINT_KEY = b"\0checkpoint"
"""The key of the record that holds a task's position."""

_VERSION = 1


class CorruptState(Exception):
    """A record of the state topic is not one of ours: names the key and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a task has decided its input: ``offset`` is that of the next record, in partition ``partition``.

    ``feedback`` has the same of every partition of the feedback topic that something has been taken from.
    """

    topic: str
    partition: int
    offset: int
    feedback: Mapping[int, int] = field(default_factory=dict)


def encode_key(dedup_key: str) -> bytes:
    """The record key of an alert."""
    return dedup_key.encode()


def encode_alert(alert: Alert) -> bytes:
    """The record value of an alert, everything it owes included."""
    value: dict[str, Any] = {
        "v": _VERSION,
        "status": alert.status.value,
        "occurrences": alert.occurrences,
        "first_seen": alert.first_seen,
        "last_seen": alert.last_seen,
        "decided": alert.decided,
        "highest": int(alert.highest),
    }
    if alert.session_id is not None:
        value["session"] = alert.session_id
    if alert.route is not None:
        value["route"] = alert.route
    if alert.told is not None:
        value["told"] = (int(alert.told.severity), alert.told.at, alert.told.date)
    if alert.has:
        value["has"] = True
    if alert.unsettled:
        value["unsettled"] = True
    if alert.owed is not None:
        value["owed"] = _owed_to_json(alert.owed)
    if alert.acknowledging:
        value["acknowledging"] = True
    if alert.failed:
        value["failed"] = alert.failed
    if alert.overflow is not None:
        value["overflow"] = int(alert.overflow)
    if alert.key is not None:
        value["key"] = _to_text(alert.key)
    return orjson.dumps(value)


def decode_alert(key: bytes, value: bytes) -> Alert:
    """The alert of a state record. Raises `CorruptState`."""
    try:
        json = orjson.loads(value)
        get = json.get
        if json["v"] != _VERSION:
            raise ValueError(f"version {json['v']!r} is not {_VERSION}")
        told, owed, overflow = get("told"), get("owed"), get("overflow")
        return _alert(
            key.decode(),
            _STATUS[json["status"]],
            get("session"),
            json["occurrences"],
            json["first_seen"],
            json["last_seen"],
            json["decided"],
            _SEVERITY[json["highest"]],
            get("route"),
            Told(_SEVERITY[told[0]], told[1], told[2]) if told else None,
            get("has", False),
            get("unsettled", False),
            _owed_from_json(owed) if owed else None,
            get("acknowledging", False),
            get("failed", 0),
            _SEVERITY[overflow] if overflow is not None else None,
            _from_text(get("key")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptState(f"state record {key!r}: {error!r}") from error


def _alert(*values: object) -> Alert:
    alert: Any = _Draft(*values)
    alert.__class__ = Alert
    return alert  # type: ignore[no-any-return]


def encode_position(position: Position, counts: Mapping[str, Counts] | None = None) -> bytes:
    """The value of the checkpoint's record.

    ``counts`` are those of alerts whose own records are older, by dedup key. (A release that does not know them reads
    the counts that the records have.)
    """
    value: dict[str, Any] = {
        "v": _VERSION,
        "topic": position.topic,
        "partition": position.partition,
        "position": position.offset,
    }
    if position.feedback:
        value["feedback"] = {str(partition): offset for partition, offset in position.feedback.items()}
    if counts:
        value["counts"] = {dedup_key: _counts_to_json(found) for dedup_key, found in counts.items()}
    return orjson.dumps(value)


def decode_position(value: bytes) -> Position:
    """The position of a checkpoint. Raises `CorruptState`."""
    try:
        json = orjson.loads(value)
        feedback = {int(partition): int(offset) for partition, offset in json.get("feedback", {}).items()}
        return Position(json["topic"], json["partition"], json["position"], feedback)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptState(f"checkpoint record: {error!r}") from error


def decode_counts(value: bytes) -> dict[str, Counts]:
    """The counts that a checkpoint holds of alerts whose own records are older, by dedup key. Raises `CorruptState`."""
    try:
        return {key: _counts_from_json(found) for key, found in orjson.loads(value).get("counts", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptState(f"checkpoint record: {error!r}") from error


def _counts_from_json(json: list[Any]) -> Counts:
    numbers = json[: len(_COUNTS)]  # a later release may say more
    return replace(Counts(*numbers), highest=_SEVERITY[numbers[_COUNTS.index("highest")]])


def _owed_to_json(owed: Owed) -> dict[str, Any]:
    record = owed.record
    return {
        "severity": int(owed.severity),
        "since": owed.since,
        "first_offset": owed.first_offset,
        "last_offset": owed.last_offset,
        "occurrences": owed.occurrences,
        "attempts": owed.attempts,
        "first_attempt": owed.first_attempt,
        "last_attempt": owed.last_attempt,
        "repeat": owed.repeat,
        "holds": owed.holds,
        "record": {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key": _to_text(record.key),
            "value": _to_text(record.value),
            "headers": [(_to_text(name.encode()), _to_text(value)) for name, value in record.headers],
        },
    }


def _owed_from_json(json: dict[str, Any]) -> Owed:
    record = json["record"]
    return Owed(
        Record(
            record["topic"],
            record["partition"],
            record["offset"],
            record["timestamp"],
            _from_text(record["key"]),
            _from_text(record["value"]),
            tuple((b64decode(name, validate=True).decode(), _from_text(value)) for name, value in record["headers"]),
        ),
        _SEVERITY[json["severity"]],
        json["since"],
        json["first_offset"],
        json["last_offset"],
        json["occurrences"],
        json["attempts"],
        json["first_attempt"],
        json["last_attempt"],
        json["repeat"],
        json.get("holds", json["first_offset"]),  # before there were replays, the first one held
    )


def _to_text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _from_text(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


_Draft: Any = make_dataclass("_Draft", [each.name for each in fields(Alert)], slots=True)
"""An alert while it is made. A frozen dataclass sets its fields by a call for each: a million took 3 s of a restore."""

_COUNTS = tuple(each.name for each in fields(Counts))
_counts_to_json = attrgetter(*_COUNTS)
_STATUS = {status.value: status for status in Status}
_SEVERITY = {int(severity): severity for severity in Severity}
