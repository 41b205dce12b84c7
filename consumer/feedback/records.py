"""Records of the feedback topic: what operators command, what has happened at the provider (design section 20), and
dead letters to be decided again (design section 6).

The record key of a command is the alert's dedup key, the value is JSON that says when, by whom, and what was seen then.
That of what has happened at the provider is alike: when by its clock, by whom, and to which incident (opened when?). A
replay is the dead letter byte for byte (key, value, all headers) with two headers behind them, so that nothing in it
can pass for ours. Anybody who may write to the topic chooses its bytes: decoding gives a value, or raises
`MalformedFeedback` if the bytes mean none.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import orjson
from msgspec.structs import replace

from consumer.dlq.dead_letter import DeadLetter, Headers, decode
from state.alert import Alert
from state.occurrences import EARLIEST
from state.provider_feedback import Happened, What
from state.seen import News, Seen, last_seen, news, with_silenced
from state.violation import HEADER_OVERHEAD, Record, Severity

KIND: Final = "alerting.kind"
PROVIDER: Final = "alerting.provider"
REPLAY: Final = "alerting.replay"

HISTORY_BYTES: Final = 4096
"""How many bytes of the headers of its earlier dead letters a replayed record keeps, the latest first. State records
have room for that."""

_HISTORY: Final = "alerting.topic"
_VERSION: Final = 1
_MAX_KEY_BYTES: Final = 4 * 512
_MAX_NAME: Final = 200


class MalformedFeedback(ValueError):
    """A record of the feedback topic cannot be read. The message is one line that says why."""


class FeedbackKind(Enum):
    """The kind of a record of the feedback topic."""

    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """An operator acknowledges or resolves an alert; ``at`` is in seconds since the epoch.

    ``seen`` are the alerts of the key as the operator saw them; there may be one in each of several partitions. It is
    empty if that is not known, as with a command of release 0.1.
    """

    kind: FeedbackKind
    provider: str
    dedup_key: str
    at: float
    by: str
    seen: Sequence[Seen] = ()


@dataclass(frozen=True, slots=True)
class Replay:
    """A dead letter that is to be decided again.

    ``record`` is the original record at its original place, with the headers of its latest dead letters as its history;
    ``original`` is the same without these headers. ``replay_id`` identifies the dead letter in the dead-letter topic.
    """

    provider: str
    record: Record
    original: Record
    replay_id: str


@dataclass(frozen=True, slots=True)
class FromProvider:
    """Something has happened to an alert's incident at the provider; ``by`` is who did it, for people."""

    provider: str
    dedup_key: str
    it: Happened
    by: str = ""


Feedback = OperatorCommand | FromProvider | Replay


def unmeant(kind: FeedbackKind, at: float, seen: Collection[Seen], alert: Alert) -> News | None:
    """Why a command does not apply to the alert as it is now; None if it applies. A command neither acknowledges nor
    ends what has come after the operator saw the alert."""
    known = None
    if seen:
        if (found := news(alert, seen)) is not None or kind is FeedbackKind.ACKNOWLEDGE:
            return found
        known = last_seen(alert, seen)
    if kind is FeedbackKind.ACKNOWLEDGE:
        return News.CAME_BACK if at < alert.first_seen else None
    # What the operator saw occurred before the command, whatever the clocks say that dated the two.
    last = with_silenced(alert).last_seen
    return News.OCCURRED if last > (at if known is None else max(at, known)) else None


def encode_command(command: OperatorCommand) -> tuple[bytes, bytes, list[tuple[str, bytes | None]]]:
    """Key, value and headers of a command."""
    facts: dict[str, Any] = {"v": _VERSION, "at": command.at, "by": command.by}
    if command.seen:
        facts["seen"] = [_seen_to_json(one) for one in command.seen]
    value = orjson.dumps(facts)
    headers: list[tuple[str, bytes | None]] = [
        (PROVIDER, command.provider.encode()),
        (KIND, command.kind.value.encode()),
    ]
    return command.dedup_key.encode(), value, headers


def encode_from_provider(found: FromProvider) -> tuple[bytes, bytes, list[tuple[str, bytes | None]]]:
    """Key, value and headers of what has happened at the provider."""
    it = found.it
    facts: dict[str, Any] = {"v": _VERSION, "at": it.at, "by": found.by[:_MAX_NAME]}
    if it.incident is not None:
        facts["incident"] = it.incident
    if it.by_integration:
        facts["by_integration"] = True
    if it.opened is not None:
        facts["opened"] = it.opened
    headers: list[tuple[str, bytes | None]] = [
        (PROVIDER, found.provider.encode()),
        (KIND, it.what.value.encode()),
    ]
    return found.dedup_key.encode(), orjson.dumps(facts), headers


def replay_headers(headers: Headers, replay_id: str) -> list[tuple[str, bytes | None]]:
    """The headers of a dead letter's replay; key and value are the dead letter's own."""
    return [*headers, (KIND, FeedbackKind.REPLAY.value.encode()), (REPLAY, replay_id.encode())]


def replay_id_of(headers: Headers) -> str | None:
    """The id of the dead letter that a record of the feedback topic replays; None if it is no replay."""
    if len(headers) < 2 or headers[-1][0] != REPLAY or headers[-2] != (KIND, FeedbackKind.REPLAY.value.encode()):
        return None
    return (headers[-1][1] or b"").decode(errors="replace")


def decode_feedback(key: bytes | None, value: bytes | None, headers: Headers, timestamp: int) -> Feedback:
    """The command or replay in a record of the feedback topic; ``timestamp`` is the record's, in milliseconds.

    Raises `MalformedFeedback` if it cannot be read.
    """
    replay_id = replay_id_of(headers)
    if replay_id is not None:
        return _replay(key, value, headers, replay_id, timestamp)
    kind = _kind(_last(headers, KIND))
    if key is None or not key or len(key) > _MAX_KEY_BYTES:
        raise MalformedFeedback("the key is no dedup key")
    named = _last(headers, PROVIDER)
    try:
        dedup_key, provider = key.decode(), named.decode()
        facts = orjson.loads(value or b"")
        at, by = float(facts["at"]), facts["by"]
        incident, by_integration = facts.get("incident"), facts.get("by_integration", False)
        opened = facts.get("opened")
        opened = None if opened is None else float(opened)
        seen = tuple(_seen_from_json(one) for one in facts.get("seen") or ())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedFeedback(f"unreadable command: {type(error).__name__}") from None
    if not isinstance(by, str):
        raise MalformedFeedback("unreadable command: by is no text")
    if not isinstance(incident, str | None) or not isinstance(by_integration, bool):
        raise MalformedFeedback("unreadable feedback: incident is no text, or by_integration no flag")
    if isinstance(kind, What):
        happened = Happened(kind, at, None if incident is None else incident[:_MAX_NAME], by_integration, opened)
        return FromProvider(provider, dedup_key, happened, by[:_MAX_NAME])
    if timestamp >= EARLIEST * 1000:
        at = min(at, timestamp / 1000)  # with a clock ahead, a command must not end what comes after it
    return OperatorCommand(kind, provider, dedup_key, at, by[:_MAX_NAME], seen)


def _seen_to_json(seen: Seen) -> dict[str, Any]:
    return {
        "begun": seen.begun,
        "first_seen": seen.first_seen,
        "last_seen": seen.last_seen,
        "occurrences": seen.occurrences,
        "highest": int(seen.highest),
    }


def _seen_from_json(json: dict[str, Any]) -> Seen:
    begun = json["begun"]
    return Seen(
        None if begun is None else float(begun),
        float(json["first_seen"]),
        float(json["last_seen"]),
        int(json["occurrences"]),
        Severity(json["highest"]),
    )


def _kind(text: bytes) -> FeedbackKind | What:
    kinds: tuple[FeedbackKind | What, ...] = (FeedbackKind.ACKNOWLEDGE, FeedbackKind.RESOLVE, *What)
    for kind in kinds:
        if text == kind.value.encode():
            return kind
    raise MalformedFeedback(f"unknown {KIND}: {text[:40]!r}")


def _last(headers: Headers, name: str) -> bytes:
    found = next((value for header, value in reversed(headers) if header == name), None)
    if found is None:
        raise MalformedFeedback(f"no header {name}")
    return found


def _replay(key: bytes | None, value: bytes | None, headers: Headers, replay_id: str, timestamp: int) -> Replay:
    letter_headers = headers[:-2]
    try:
        letter = decode(key, value, letter_headers)
    except ValueError as error:
        raise MalformedFeedback(str(error)) from None
    if letter.cut is not None:
        raise MalformedFeedback("a dead letter that was cut is only a part of its event, and cannot be decided again")
    record = letter.record
    if not 0 <= record.partition < 2**31 or not 0 <= record.offset < 2**63:
        raise MalformedFeedback("a dead letter of no place")
    if not 0 <= record.timestamp < 2**63:
        # The timestamp was left out for want of room, or is none: only this is known, that it is not later than now.
        record = replace(record, timestamp=timestamp)
    original, history = _split(letter_headers)
    return Replay(
        provider=letter.provider,
        record=replace(record, headers=(*original, *_latest(history), (REPLAY, replay_id.encode()))),
        original=replace(record, headers=tuple(original)),
        replay_id=replay_id,
    )


def _split(headers: Headers) -> tuple[Headers, Headers]:
    """The headers of the original record, and those of its dead letters."""
    begin = next(index for index, (name, _) in enumerate(headers) if name == _HISTORY)
    return headers[:begin], headers[begin:]


def _latest(history: Headers) -> Headers:
    """The headers of the latest dead letters: as many whole ones as fit into `HISTORY_BYTES`."""
    size = 0
    begin = len(history)
    for index in reversed(range(len(history))):
        name, value = history[index]
        size += HEADER_OVERHEAD + len(name.encode()) + len(value or b"")
        if size > HISTORY_BYTES:
            break
        if name == _HISTORY:
            begin = index
    return history[begin:]


def history_of(letter: DeadLetter) -> Sequence[str]:
    """The ids of the dead letters that this one was before, as far as its headers tell, the oldest first."""
    return [(value or b"").decode(errors="replace") for name, value in letter.record.headers if name == REPLAY]
