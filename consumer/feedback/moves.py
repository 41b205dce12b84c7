"""Records of the feedback topic by which the home of a key moves (design section 17, "Homes move").

When keys have their home elsewhere, a task hands their alerts over, says in a mark that it has moved, and forwards
records that still come for them. The last header of such a record has its facts. The header before names its kind,
under the same name as a command's kind: so a release that does not know the kind ignores the record, and no header of a
forwarded event can pass for a command's. Anybody who may write to the topic chooses its bytes: decoding returns a
value, or raises `MalformedFeedback` if the bytes mean none.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from consumer.dlq.dead_letter import Headers
from consumer.feedback.records import KIND, MalformedFeedback
from consumer.kafka.partitioning import Scheme
from state.alert import Alert
from state.records import CorruptState, decode_alert, encode_alert
from state.violation import Record

MOVE: Final = "alerting.move"

_VERSION: Final = 1
_PARTITIONS: Final = 2**31
_OFFSETS: Final = 2**63
_MAX_KEY_BYTES: Final = 4 * 512

Encoded = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value and headers of a record."""


class MoveKind(Enum):
    """The kind of a record about homes."""

    HAND_OVER = "hand_over"
    FORWARDED = "forwarded"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class MovingTask:
    """The task that wrote a record: its provider and partition, and the scheme by which it saw homes then.

    ``group`` is the task's consumer group, as other services may share the feedback topic. ``input`` is the topic whose
    partitions are meant (empty: not said): another one than now if a repartition stage has come or gone since.
    ``feedback`` says, in a mark, how far the task had taken the feedback topic, by partition. Records between there and
    the mark it has not applied.
    """

    provider: str
    partition: int
    scheme: Scheme
    feedback: Mapping[int, int] = field(default_factory=dict)
    group: str = ""
    input: str = ""


@dataclass(frozen=True, slots=True)
class HandOver:
    """A task hands over what it knows of a dedup key, or of a session (`state.remembered_ends`), to the ``home``:
    either an ``alert``, or the event time of the latest end. ``key`` is the record key that decides the home."""

    sender: MovingTask
    home: int
    dedup_key: str
    alert: Alert | None
    ended_at: float | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A ``record`` of the sender's partition that the ``home`` is to decide. ``key`` is the key that decides the home.
    ``is_replay``: the record is a dead letter that is decided again."""

    sender: MovingTask
    home: int
    record: Record
    key: bytes | None = None
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """A mark: the sender has decided its input up to the end at which it learnt of the move, and has handed over
    everything that has its home elsewhere.

    ``before`` is the scheme that the sender had moved to before; None if its checkpoint does not say, or there was
    none.
    """

    sender: MovingTask
    before: Scheme | None = None


Move = HandOver | Forwarded | Moved


def encode_move(move: Move) -> Encoded:
    """The record of a move: key, value and headers."""
    sender = move.sender
    facts: dict[str, Any] = {
        "v": _VERSION,
        "provider": sender.provider,
        "from": sender.partition,
        "scheme": _scheme_to_json(sender.scheme),
        "group": sender.group,
        "input": sender.input,
    }
    if sender.feedback:
        facts["feedback"] = {str(partition): offset for partition, offset in sender.feedback.items()}
    match move:
        case HandOver(alert=alert):
            facts["home"] = move.home
            if move.key is not None:
                facts["key"] = b64encode(move.key).decode()
            if move.ended_at is not None:
                facts["ended_at"] = move.ended_at
            value = None if alert is None else encode_alert(alert)
            return move.dedup_key.encode(), value, _headers((), MoveKind.HAND_OVER, facts)
        case Forwarded(record=record):
            facts["home"] = move.home
            facts["place"] = (record.topic, record.partition, record.offset, record.timestamp)
            if move.key is not None:
                facts["key"] = b64encode(move.key).decode()
            if move.is_replay:
                facts["replay"] = True
            return record.key, record.value, _headers(record.headers, MoveKind.FORWARDED, facts)
        case Moved(before=before):
            if before is not None:
                facts["before"] = _scheme_to_json(before)
            return sender.provider.encode(), None, _headers((), MoveKind.MOVED, facts)


def is_move(headers: Headers) -> bool:
    """Whether a record of the feedback topic is about the home of a key."""
    return len(headers) > 1 and headers[-1][0] == MOVE and headers[-2][0] == KIND


def decode_move(key: bytes | None, value: bytes | None, headers: Headers) -> Move:
    """The move of a record for which `is_move` is true. Raises `MalformedFeedback` if it cannot be read."""
    try:
        kind = MoveKind((headers[-2][1] or b"").decode())
        facts = orjson.loads(headers[-1][1] or b"")
        if facts["v"] != _VERSION:
            raise ValueError(f"version {facts['v']!r} is not {_VERSION}")
        sender = _sender(facts)
        match kind:
            case MoveKind.MOVED:
                before = facts.get("before")
                return Moved(sender, None if before is None else _scheme(before))
            case MoveKind.FORWARDED:
                topic, partition, offset, timestamp = facts["place"]
                place = (_text(topic), _number(partition, _PARTITIONS), _number(offset, _OFFSETS))
                record = Record(*place, _number(timestamp, _OFFSETS, least=-1), key, value, tuple(headers[:-2]))
                is_replay = facts.get("replay", False) is True
                return Forwarded(sender, _number(facts["home"], _PARTITIONS), record, _key(facts), is_replay)
            case MoveKind.HAND_OVER:
                return _hand_over(key, value, sender, facts)
    except (ValueError, KeyError, TypeError, AttributeError, CorruptState) as error:
        raise MalformedFeedback(f"unreadable {MOVE}: {type(error).__name__}") from None


def _hand_over(key: bytes | None, value: bytes | None, sender: MovingTask, facts: dict[str, Any]) -> HandOver:
    if not key or len(key) > _MAX_KEY_BYTES:
        raise ValueError("the key is no dedup key")
    ended_at = facts.get("ended_at")
    return HandOver(
        sender,
        _number(facts["home"], _PARTITIONS),
        key.decode(),
        None if value is None else decode_alert(key, value),
        None if ended_at is None else float(ended_at),
        _key(facts),
    )


def _key(facts: dict[str, Any]) -> bytes | None:
    key = facts.get("key")
    return None if key is None else b64decode(_text(key), validate=True)


def _headers(original: Headers, kind: MoveKind, facts: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return [*original, (KIND, kind.value.encode()), (MOVE, orjson.dumps(facts))]


def _scheme_to_json(scheme: Scheme) -> tuple[int, int]:
    return scheme.partitions, scheme.turn


def _scheme(json: Any) -> Scheme:
    partitions, turn = json
    return Scheme(_number(partitions, _PARTITIONS, least=1), _number(turn, _PARTITIONS))


def _sender(facts: dict[str, Any]) -> MovingTask:
    feedback = {
        _number(int(partition), _PARTITIONS): _number(offset, _OFFSETS)
        for partition, offset in facts.get("feedback", {}).items()
    }
    provider, partition, scheme = (
        _text(facts["provider"]),
        _number(facts["from"], _PARTITIONS),
        _scheme(facts["scheme"]),
    )
    return MovingTask(
        provider, partition, scheme, feedback, _text(facts.get("group", "")), _text(facts.get("input", ""))
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _number(value: Any, bound: int, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < bound:
        raise ValueError("no such number")
    return value
