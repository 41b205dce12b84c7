"""How the release 0.1.0 (commit 724951b) reads the state: copied, for a release must read what the next one writes."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import orjson

from state.violation import Record, Severity

_VERSION = 1


class Status(Enum):
    """What an alert is."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVING = "resolving"


@dataclass(frozen=True, slots=True)
class Owed:
    """A trigger that was not accepted yet."""

    record: Record
    severity: Severity
    since: float
    first_offset: int
    last_offset: int
    occurrences: int = 1
    attempts: int = 0
    first_attempt: float | None = None
    last_attempt: float | None = None
    repeat: bool = False
    holds: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider was told last."""

    severity: Severity
    at: float
    date: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """What was known about a dedup key."""

    dedup_key: str
    status: Status
    session_id: str | None
    occurrences: int
    first_seen: float
    last_seen: float
    decided: float
    highest: Severity
    route: str | None = None
    told: Told | None = None
    has: bool = False
    unsettled: bool = False
    owed: Owed | None = None
    acknowledging: bool = False


class CorruptState(Exception):
    """A record of the state topic is not one of ours."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a task had decided its input."""

    topic: str
    partition: int
    offset: int
    feedback: Mapping[int, int] = field(default_factory=dict)


def decode_alert(key: bytes, value: bytes) -> Alert:
    """The alert of a state record. Raises `CorruptState`."""
    try:
        json = orjson.loads(value)
        get = json.get
        if json["v"] != _VERSION:
            raise ValueError(f"version {json['v']!r} is not {_VERSION}")
        told, owed = get("told"), get("owed")
        return Alert(
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
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptState(f"state record {key!r}: {error!r}") from error


def decode_position(value: bytes) -> Position:
    """The position of a checkpoint. Raises `CorruptState`."""
    try:
        json = orjson.loads(value)
        feedback = {int(partition): int(offset) for partition, offset in json.get("feedback", {}).items()}
        return Position(json["topic"], json["partition"], json["position"], feedback)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptState(f"checkpoint record: {error!r}") from error


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


def _from_text(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


_STATUS = {status.value: status for status in Status}
_SEVERITY = {int(severity): severity for severity in Severity}
