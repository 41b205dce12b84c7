"""Alerts and checkpoints as records of the state topic (design section 3).

The key of an alert's record is its dedup key, the value is JSON (None: a tombstone, the alert is gone). The key of the
checkpoint is `CHECKPOINT_KEY`, which no dedup key can be. Input records are kept in base64, as they can be any bytes.

A record of a later release, or a damaged one, may be unreadable. It stays as it is, and a new alert of its dedup key is
written beside it, under the same key with the prefix `BESIDE` (`state.joined`).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson

from state.alert import SOURCES, Alert, Ending, Former, Heard, Held, LastStep, Notified, Owed, Source, Status, source
from state.anchors import DIGEST_BYTES, Anchor, Anchors
from state.counts import Counts
from state.held import is_silenced, owed_of_held
from state.shared import shared
from state.stand_in import silenced_stand_in
from state.violation import Record, Severity

CHECKPOINT_KEY = b"\0checkpoint"
"""The key of the record that holds a task's position."""

BESIDE_PREFIX = "\0beside:"
BESIDE = BESIDE_PREFIX.encode()
"""The prefix of a dedup key in the record key of an alert that is written beside an unreadable record of that key."""

_VERSION = 1


class CorruptState(Exception):
    """A record of the state topic cannot be read. The message names its key and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class InputPlace:
    """How far a task has decided an input topic: the offset of the next record, and anchors (`state.anchors`).

    ``hands`` is how often the topic has changed hands between a pipeline and its repartition stage (None: not counted).
    """

    offset: int
    anchors: Anchors = ()
    hands: int | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a task has decided its input: ``offset`` is that of the next record, in partition ``partition``.

    ``feedback`` has the next offset of each partition of the feedback topic that the task has taken records from.
    ``anchors`` are decided records by which a task recognises its input log. ``proof`` is the group offset that was
    last proved. ``obeyed`` is a group offset that somebody else had set and that this task has gone to, while the group
    may still have it. ``group`` is the consumer group that the task belongs to. ``homes`` is what the task knows of
    where keys have their homes, as JSON (`consumer.tasks.homes`). ``hands`` is how often the input has changed hands
    (None: not counted). ``inputs`` are the task's places in the input topics that it has had before
    (`consumer.input.inputs`). The first release wrote none of these.
    """

    topic: str
    partition: int
    offset: int
    feedback: Mapping[int, int] = field(default_factory=dict)
    anchors: Anchors = ()
    proof: int | None = None
    obeyed: int | None = None
    group: str | None = None
    homes: Mapping[str, Any] | None = None
    hands: int | None = None
    inputs: Mapping[str, InputPlace] = field(default_factory=dict)


def encode_key(dedup_key: str, *, beside: bool = False) -> bytes:
    """The record key of an alert. ``beside``: of an alert that is written beside an unreadable record of its key."""
    return BESIDE + dedup_key.encode() if beside else dedup_key.encode()


def encode_alert(alert: Alert) -> bytes:
    """The record value of an alert, with the trigger that it owes."""
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
    if alert.last_notified is not None:
        told = alert.last_notified
        value["told"] = (
            int(told.severity), told.at, told.date, told.offset, told.occurrences, told.left, told.sent_at,
        )  # fmt: skip
    if alert.is_at_provider:
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
    if alert.integration is not None:
        value["integration"] = alert.integration
    if alert.former or alert.orphans:  # each owner finds out anew which of them are orphans
        value["former"] = [_former_to_json(one) for one in (*alert.former, *alert.orphans)]
    if alert.key is not None:
        value["key"] = _to_text(alert.key)
    if alert.ended_by is not None:
        value["ended_by"] = alert.ended_by.value
    if (found := alert.source) is not None:
        value["source"] = (found.guard, found.tenant, found.topic, found.partition)
    if alert.begun is not None:
        value["begun"] = alert.begun
    if (heard := alert.heard) is not None:
        value["heard"] = (heard.at, heard.incident, heard.sent_resolve, heard.repeated, heard.acknowledged)
    if (last := alert.last_step) is not None:
        value["last_step"] = (last.at, last.occurrences)
    if (held := alert.held) is not None:
        value["held"] = _held_to_json(held)
        if is_silenced(alert):
            # To a release that does not know of silences it owes a page that says what is known.
            owed = owed_of_held(held, silenced_stand_in(alert), held.decided)
            value["owed"] = {**_owed_to_json(owed), _STANDS_IN: True}
    return orjson.dumps(value)


def decode_alert(key: bytes, value: bytes) -> Alert:
    """The alert of a state record. Raises `CorruptState` if it cannot be read."""
    try:
        json = orjson.loads(value)
        get = json.get
        if json["v"] != _VERSION:
            raise ValueError(f"version {json['v']!r} is not {_VERSION}")
        session, told, owed, route, overflow = get("session"), get("told"), get("owed"), get("route"), get("overflow")
        integration, former, origin, begun = get("integration"), get("former"), get("source"), get("begun")
        heard, last_step, held = get("heard"), get("last_step"), get("held")
        if held is not None and owed is not None and _STANDS_IN in owed:
            owed = None
        occurrences, first_seen, last_seen, decided = (
            json["occurrences"], json["first_seen"], json["last_seen"], json["decided"]
        )  # fmt: skip
        has, unsettled, acknowledging = get("has", False), get("unsettled", False), get("acknowledging", False)
        # One expression for speed: a restore evaluates this up to a million times.
        if (
            occurrences.__class__ is not int
            or first_seen.__class__ not in _NUMBERS
            or last_seen.__class__ not in _NUMBERS
            or decided.__class__ not in _NUMBERS
            or (begun is not None and begun.__class__ not in _NUMBERS)
            or has.__class__ is not bool
            or unsettled.__class__ is not bool
            or acknowledging.__class__ is not bool
        ):
            raise TypeError("a count, a time or a flag is of another type")
        return Alert(
            key.decode(),
            _STATUS[json["status"]],
            None if session is None else _text(session),
            occurrences,
            first_seen,
            last_seen,
            decided,
            _SEVERITY[json["highest"]],
            None if route is None else _text(route),
            None if told is None else _told_from_json(told),
            has,
            unsettled,
            None if owed is None else _owed_from_json(owed),
            acknowledging,
            _whole(get("failed", 0)),
            None if overflow is None else _SEVERITY[overflow],
            None if integration is None else shared(_text(integration)),  # a million alerts may have the same
            () if former is None else tuple(map(_former_from_json, former)),
            (),
            _from_text(get("key")),
            _ENDINGS.get(get("ended_by")),  # None for one that only a later release knows
            None if origin is None else _known_source(*origin[:4]),  # a later release may write more
            decided if begun == decided else begun,  # equal after one occurrence: one object for both
            None if heard is None else _heard_from_json(heard),
            None if last_step is None else _last_step_from_json(last_step),
            None if held is None else _held_from_json(held),
        )
    except _MALFORMED as error:
        raise CorruptState(f"state record {key!r}: {error!r}") from error


def encode_position(position: Position, counts: Mapping[str, Counts] | None = None) -> bytes:
    """The value of the checkpoint's record.

    ``counts`` are the counts of alerts whose own records are older, by dedup key. (A release that does not know this
    field takes the counts of the older records.)
    """
    value: dict[str, Any] = {
        "v": _VERSION,
        "topic": position.topic,
        "partition": position.partition,
        "position": position.offset,
    }
    if position.group is not None:
        value["group"] = position.group
    if position.feedback:
        value["feedback"] = {str(partition): offset for partition, offset in position.feedback.items()}
    if position.anchors:
        value["anchors"] = _anchors_to_json(position.anchors)
    if position.proof is not None:
        value["proof"] = position.proof
    if position.obeyed is not None:
        value["obeyed"] = position.obeyed
    if position.homes is not None:
        value["homes"] = position.homes
    if position.hands is not None:
        value["hands"] = position.hands
    if position.inputs:
        value["inputs"] = {topic: _place_to_json(place) for topic, place in position.inputs.items()}
    if counts:
        value["counts"] = {dedup_key: _counts_to_json(found) for dedup_key, found in counts.items()}
    return orjson.dumps(value)


def decode_position(value: bytes) -> Position:
    """The position of a checkpoint. Raises `CorruptState` if it cannot be read."""
    try:
        json = orjson.loads(value)
        if json["v"] != _VERSION:
            raise ValueError(f"version {json['v']!r} is not {_VERSION}")
        group, proof, obeyed = json.get("group"), json.get("proof"), json.get("obeyed")
        return Position(
            _text(json["topic"]),
            _whole(json["partition"]),
            _whole(json["position"]),
            {int(partition): _whole(offset) for partition, offset in json.get("feedback", {}).items()},
            _anchors_from_json(json),
            None if proof is None else _whole(proof),
            None if obeyed is None else _whole(obeyed),
            None if group is None else _text(group),
            _mapping_or_none(json.get("homes")),
            _hands_from_json(json),
            {topic: _place_from_json(place) for topic, place in json.get("inputs", {}).items()},
        )
    except _MALFORMED as error:
        raise CorruptState(f"checkpoint record: {error!r}") from error


def decode_counts(value: bytes) -> dict[str, Counts]:
    """The counts that a checkpoint holds of alerts whose own records are older, by dedup key.

    Raises `CorruptState` if they cannot be read.
    """
    try:
        return {key: _counts_from_json(found) for key, found in orjson.loads(value).get("counts", {}).items()}
    except _MALFORMED as error:
        raise CorruptState(f"checkpoint record: {error!r}") from error


def _place_to_json(place: InputPlace) -> dict[str, Any]:
    value: dict[str, Any] = {"position": place.offset}
    if place.anchors:
        value["anchors"] = _anchors_to_json(place.anchors)
    if place.hands is not None:
        value["hands"] = place.hands
    return value


def _place_from_json(json: dict[str, Any]) -> InputPlace:
    return InputPlace(_whole(json["position"]), _anchors_from_json(json), _hands_from_json(json))


def _hands_from_json(json: dict[str, Any]) -> int | None:
    hands = json.get("hands")
    return None if hands is None else _whole(hands)


def _anchors_to_json(anchors: Anchors) -> list[Any]:
    return [(one.offset, one.timestamp, one.digest.hex()) for one in anchors]


def _anchors_from_json(json: dict[str, Any]) -> Anchors:
    return tuple(map(_anchor_from_json, json.get("anchors", ())))


def _anchor_from_json(json: list[Any]) -> Anchor:
    offset, timestamp, digest = json[:3]  # a later release may write more
    if len(digest) != 2 * DIGEST_BYTES:
        raise ValueError(f"{digest!r} is no digest of {DIGEST_BYTES} bytes")
    return Anchor(_whole(offset), _whole(timestamp), bytes.fromhex(digest))


def _counts_from_json(json: list[Any]) -> Counts:
    found = Counts(*json[: len(_COUNTS)])  # a later release may write more
    for number in (found.occurrences, found.owed_first_offset, found.owed_last_offset, found.owed_occurrences):
        _whole(number)
    for time in (found.first_seen, found.last_seen, found.decided, _whole(found.owed_attempts)):
        _number(time)
    for maybe in (found.owed_first_attempt, found.owed_last_attempt):
        _number_or_none(maybe)
    _whole_or_none(found.owed_last_status)
    _text_or_none(found.owed_last_error)
    return replace(found, highest=_SEVERITY[found.highest])


def _former_to_json(former: Former) -> list[Any]:
    json = [former.integration, former.route]
    return [*json, True] if former.until_over else json


def _former_from_json(json: list[Any]) -> Former:
    integration, route, *more = json  # a later release may write more
    return Former(None if integration is None else _text(integration), _text(route), bool(more and more[0] is True))


def _told_from_json(json: list[Any]) -> Notified:
    offset = json[3] if len(json) > 3 else None  # an earlier release wrote less
    occurrences = json[4] if len(json) > 4 else None
    left = json[5] if len(json) > 5 else None
    sent_at = json[6] if len(json) > 6 else None
    return Notified(
        _SEVERITY[json[0]],
        _number(json[1]),
        _number_or_none(json[2]),
        _whole_or_none(offset),
        _whole_or_none(occurrences),
        _number_or_none(left),
        _number_or_none(sent_at),
    )


def _heard_from_json(json: list[Any]) -> Heard:
    at, incident, sent_resolve = json[:3]  # a later release may say more
    repeated = json[3] if len(json) > 3 else None  # an earlier release wrote less
    acknowledged = json[4] if len(json) > 4 else None
    return Heard(
        _number_or_none(at),
        _text_or_none(incident),
        _flag(sent_resolve),
        _whole_or_none(repeated),
        _number_or_none(acknowledged),
    )


def _last_step_from_json(json: list[Any]) -> LastStep:
    at, occurrences = json[:2]  # a later release may say more
    return LastStep(_number(at), _whole(occurrences))


def _held_to_json(held: Held) -> tuple[Any, ...]:
    origin = held.source
    return (
        held.silences, int(held.severity), held.time, (origin.guard, origin.tenant, origin.topic, origin.partition),
        held.offset, held.first_offset, held.last_offset, held.first_seen, held.last_seen, held.decided, held.last_at,
        held.occurrences, held.not_silenced,
    )  # fmt: skip


def _held_from_json(json: list[Any]) -> Held:
    silences, severity, time, origin, offset, first, last, first_seen, last_seen, decided, last_at, count = json[:12]
    not_silenced = json[12] if len(json) > 12 else None  # an earlier release wrote less
    return Held(
        tuple((_text(silence_id), _number(until)) for silence_id, until in silences),
        _SEVERITY[severity],
        _number(time),
        _known_source(*origin[:4]),
        _whole(offset),
        _whole(first),
        _whole(last),
        _number(first_seen),
        _number(last_seen),
        _number(decided),
        _number(last_at),
        _whole(count),
        _number_or_none(not_silenced),
    )  # a later release may write more


@lru_cache(maxsize=SOURCES)  # nearly all alerts have one of a few sources
def _known_source(guard: Any, tenant: Any, topic: Any, partition: Any) -> Source:
    return source(_text_or_none(guard), _text_or_none(tenant), _text(topic), _whole(partition))


def _owed_to_json(owed: Owed) -> dict[str, Any]:
    record = owed.record
    value = {
        "severity": int(owed.severity),
        "since": owed.since,
        "first_offset": owed.first_offset,
        "last_offset": owed.last_offset,
        "occurrences": owed.occurrences,
        "attempts": owed.attempts,
        "first_attempt": owed.first_attempt,
        "last_attempt": owed.last_attempt,
        "repeat": owed.repeat,
        "holds": owed.pins_offset,
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
    known = {name: found for name in _OWED_FACTS if (found := getattr(owed, name)) is not None}
    return {**value, **known} if known else value


def _owed_from_json(json: dict[str, Any]) -> Owed:
    record = json["record"]
    first_offset = _whole(json["first_offset"])
    holds = json.get("holds", first_offset)  # releases without replays wrote none: the first offset was held
    return Owed(
        Record(
            _text(record["topic"]),
            _whole(record["partition"]),
            _whole(record["offset"]),
            _whole(record["timestamp"]),
            _from_text(record["key"]),
            _from_text(record["value"]),
            tuple((b64decode(name, validate=True).decode(), _from_text(value)) for name, value in record["headers"]),
        ),
        _SEVERITY[json["severity"]],
        _number(json["since"]),
        first_offset,
        _whole(json["last_offset"]),
        _whole(json["occurrences"]),
        _whole(json["attempts"]),
        _number_or_none(json["first_attempt"]),
        _number_or_none(json["last_attempt"]),
        _flag(json["repeat"]),
        None if holds is None else _whole(holds),
        _shared(json.get("guard")),
        _shared(json.get("tenant")),
        _whole_or_none(json.get("last_status")),
        _shared(json.get("last_error")),
    )


# Each value's type is checked here: a wrong one makes the record unreadable now, instead of failing at the next event.


def _whole(value: Any) -> int:
    if value.__class__ is not int:
        raise TypeError(f"{value.__class__.__name__} is no whole number")
    return value


def _number(value: Any) -> float:
    if value.__class__ not in _NUMBERS:
        raise TypeError(f"{value.__class__.__name__} is no number")
    return value


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)


def _text(value: Any) -> str:
    if value.__class__ is not str:
        raise TypeError(f"{value.__class__.__name__} is no text")
    return value


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _shared(value: Any) -> str | None:
    return None if value is None else shared(_text(value))  # very many alerts have the same


def _mapping_or_none(value: Any) -> Mapping[str, Any] | None:
    if value is not None and value.__class__ is not dict:
        raise TypeError(f"{value.__class__.__name__} is no object")
    return value


def _flag(value: Any) -> bool:
    if value.__class__ is not bool:
        raise TypeError(f"{value.__class__.__name__} is neither true nor false")
    return value


def _to_text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _from_text(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


_NUMBERS = (float, int)  # compared by class, so bool is none of them
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)
_STANDS_IN = "stands_in"
"""Marks the trigger that a silenced alert seems to owe. Releases that do not know of silences send it; for this release
the alert owes nothing."""

_OWED_FACTS = ("guard", "tenant", "last_status", "last_error")
_COUNTS = tuple(each.name for each in fields(Counts))
_counts_to_json = attrgetter(*_COUNTS)
_ENDINGS = {ending.value: ending for ending in Ending}
_STATUS = {status.value: status for status in Status}
_SEVERITY = {int(severity): severity for severity in Severity}
