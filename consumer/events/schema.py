"""The schema of an event, and what is wrong with a value that does not fit it (design section 4).

No type is converted: "true" is no bool, and 1 is no text. Where the engine has an enumeration on which nothing depends
here (category, outcome, type of the resource), any text is accepted: a page must not be lost because a newer engine has
added a word. ``severity`` is checked, since decisions depend on it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from msgspec import Meta, MsgspecError, Struct, ValidationError, convert
from msgspec.json import Decoder


class GateDecision(Struct, gc=False):
    """The fields of an event's decision that the gate reads."""

    allowed: bool
    guard: str
    severity: str


class Gate(Struct, gc=False):
    """The fields of an event that the gate reads. Of a field that occurs twice the last value counts."""

    event_type: str
    decision: GateDecision


class CategoryGate(Gate, gc=False):
    """What the gate reads where allowed events of some categories are told, too. Any value is taken for a category."""

    event_category: Any = None


class Agent(Struct, gc=False, kw_only=True):
    """The agent that has tried the action."""

    id: str
    name: str | None = None
    version: str | None = None
    type: str | None = None


class Session(Struct, gc=False, kw_only=True):
    """The session in which the agent has tried the action."""

    id: str
    user_id: str | None = None
    tenant_id: str | None = None
    environment: str | None = None


class Indicator(Struct, gc=False):
    """What the engine has recognised as a threat."""

    type: str
    value: str


class Threat(Struct, gc=False, kw_only=True):
    """The kind of threat that the engine has recognised."""

    indicator: Indicator | None = None
    tactic: str | None = None
    technique: str | None = None


class Decision(Struct, gc=False, kw_only=True):
    """What the engine's guard has decided."""

    allowed: bool
    guard: str
    severity: Literal["info", "low", "medium", "high", "critical", "error", "warning"]
    reason: str
    policy_hash: str | None = None
    ruleset: str | None = None


class Resource(Struct, gc=False, kw_only=True):
    """The resource that the action was about."""

    type: str
    name: str
    path: str | None = None
    host: str | None = None
    port: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class Event(Struct, gc=False, kw_only=True):
    """A security event of the engine."""

    schema_version: str | None = None
    event_id: Annotated[str, Meta(min_length=1)]
    event_type: str
    event_category: str | None = None
    timestamp: str  # its form: see epoch_seconds
    ingested_at: str | None = None
    agent: Agent
    session: Session
    outcome: str | None = None
    action: str | None = None
    threat: Threat | None = None
    decision: Decision
    resource: Resource
    metadata: dict[str, Any] | None = None
    labels: dict[str, str] | None = None

    def told(self, name: str) -> str | None:
        """What the metadata say under this name, if that is a text."""
        value = None if self.metadata is None else self.metadata.get(name)
        return value if isinstance(value, str) else None


_GATE: Final = Decoder(Gate)
_CATEGORY_GATE: Final = Decoder(CategoryGate)
_EVENT: Final = Decoder(Event)
_T = TypeVar("_T")
UNREADABLE: Final = (MsgspecError, UnicodeDecodeError, RecursionError)
"""All errors that decoding can raise, whatever the bytes."""

ErrorClass = Literal["empty", "not_utf8", "not_json", "too_large", "missing_field", "wrong_type", "invalid_value"]


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that is no valid event: it goes to the dead-letter topic (stage ``decode``).

    ``path`` is the wrong field, e.g. ``decision.severity``; empty if the whole value is wrong. ``event_id`` is the
    value of that field, if it is text. All texts are limited in length and have no control characters, so they can be
    logged.
    """

    path: str
    reason: str
    error_class: ErrorClass
    event_id: str | None = None


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)(\.\d{1,9})?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def epoch_seconds(text: str) -> float:
    """An RFC 3339 time, up to nanoseconds, as seconds since the epoch. Raises `ValueError` for anything else.

    A leap second counts as the last moment of its minute, so that event times do not run backwards after it.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    minute, second, fraction, sign, hours, minutes = match.groups()
    if second == "60":
        second, fraction = "59", ".999999"
    time = _beginning(minute) + int(second)
    if fraction:
        time += float(fraction)
    if sign:  # subtracted here, since parsing it with the rest would overflow at either end of the calendar
        offset = int(hours) * 3600 + int(minutes) * 60
        time = time - offset if sign == "+" else time + offset
    return time


@lru_cache(maxsize=64)  # most events are of the same few minutes
def _beginning(minute: str) -> float:
    """When a minute begins, in seconds since the epoch. Raises `ValueError` for a day that is none."""
    return datetime.fromisoformat(f"{minute}+00:00").timestamp()


_MAX_ECHO = 80  # characters of the input in any of our texts


def read_gate(value: bytes) -> Gate | Poison:
    """The fields that the gate reads, and nothing else of the JSON; what is wrong, if they cannot be read."""
    try:
        return _GATE.decode(value)
    except UNREADABLE:
        return parsed(value, Gate)


def read_category_gate(value: bytes) -> CategoryGate | Poison:
    """As `read_gate`, with the category."""
    try:
        return _CATEGORY_GATE.decode(value)
    except UNREADABLE:
        return parsed(value, CategoryGate)


def unknown_severity(value: bytes) -> Poison:
    """The poison for a denial whose severity is unknown."""
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _unparsable(value, error)
    reason = f"a denial of unknown severity: {_echo(event['decision']['severity'])}"
    return Poison("decision.severity", reason, "invalid_value", _event_id(event))


def read_event(value: bytes) -> tuple[Event, float] | Poison:
    """The event with its known fields only, and its time."""
    event: Event | Poison | None = _read_at_once(value)
    if event is None:
        event = parsed(value, Event)
    if isinstance(event, Poison):
        return event
    try:
        return event, epoch_seconds(event.timestamp)
    except ValueError:
        reason = f"not an RFC 3339 time: {_echo(event.timestamp)}"
        return Poison("timestamp", reason, "invalid_value", _printable(event.event_id))


def _read_at_once(value: bytes) -> Event | None:
    """Decode without parsing the unknown fields; None if that fails, or if it would not be safe.

    Unknown fields must be UTF-8 all the same. An escape in them (``\\u``) may be half of a character, so a value with
    escapes is parsed in full.
    """
    if b"\\" in value and b"\\u" in value:  # one byte is searched for far faster than two
        return None
    try:
        if not value.isascii():
            value.decode()
        return _EVENT.decode(value)
    except UNREADABLE:
        return None


def parsed(value: bytes, wanted: type[_T]) -> _T | Poison:
    """Parse all fields; the poison says what is wrong and where. This is not the hot path."""
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return _unparsable(value, error)
    try:
        return convert(event, wanted)
    except ValidationError as error:
        return _invalid(event, str(error))


_STEP = re.compile(r"\w+|\[\.\.\.\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def _invalid(event: Any, error: str) -> Poison:
    """The poison for an event that does not fit the schema. ``error`` is msgspec's text: what is wrong, and unless the
    whole value is wrong, `` - at `$.path` ``, where ``[...]`` stands for some key of a mapping."""
    what, _, where = error.rpartition(" - at `$") if error.endswith("`") and " - at `$" in error else (error, "", "")
    steps, found = _found(event, _STEP.findall(where))
    missing = _MISSING.fullmatch(what)
    error_class: ErrorClass
    if missing is not None:
        steps, error_class, reason = [*steps, missing[1]], "missing_field", "Field required"
    else:
        is_expected = what.startswith("Expected ")
        error_class = "wrong_type" if is_expected and ", got " in what else "invalid_value"
        said = what.replace("`", "") if is_expected else "not one of the values that are known"
        reason = f"{said}: {_echo(found)}"
    return Poison(_printable(".".join(steps)), reason, error_class, _event_id(event))


def _found(event: Any, steps: Sequence[str]) -> tuple[list[str], Any]:
    """The path to the wrong value, with the real key of a mapping in place of ``[...]``, and the value itself."""
    way: list[str] = []
    for step in steps:
        name = step if step != "[...]" else next(key for key, value in event.items() if not isinstance(value, str))
        way.append(name)
        event = event[name]
    return way, event


def _unparsable(value: bytes, error: orjson.JSONDecodeError) -> Poison:
    """Why the value is no JSON, in the order in which a person would look: empty, not UTF-8, not JSON."""
    if not value.strip():
        return Poison("", "the value is empty", "empty")
    try:
        value.decode()
    except UnicodeDecodeError as undecodable:
        return Poison("", f"not UTF-8: {undecodable.reason} at byte {undecodable.start}", "not_utf8")
    return Poison("", f"not JSON: {error.msg} at character {error.pos}", "not_json")


def _event_id(event: Any) -> str | None:
    event_id = event.get("event_id") if isinstance(event, dict) else None
    return _printable(event_id) if isinstance(event_id, str) and event_id else None


def _echo(value: object) -> str:
    """The value as JSON writes it; of an object or an array only that it is one."""
    match value:
        case str():
            return f"'{_printable(value)}'"
        case dict():
            return "an object"
        case list():
            return "an array"
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case _:
            return str(value)


def _printable(text: str) -> str:
    """At most _MAX_ECHO characters of the text; characters that cannot be printed are escaped."""
    escaped = repr(text[:_MAX_ECHO])[1:-1]
    return escaped if len(escaped) <= _MAX_ECHO and len(text) <= _MAX_ECHO else escaped[: _MAX_ECHO - 1] + "…"
