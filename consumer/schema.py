"""What an event must be, and what is wrong with a value that is none (design section 4).

Everything here is off the hot path but `validated`, which sees the events that concern somebody.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NotRequired

import orjson
from msgspec import Struct
from msgspec.json import Decoder
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

# Typed dictionaries: validated they take 2.6 µs, the same as models 4.9 µs. Where the engine has an enumeration that
# decides nothing here (category, outcome, type of the resource), any text is taken: a page must not be lost over a
# word that a newer engine has added. `severity` decides.

_strict = with_config(ConfigDict(strict=True))  # no coercion: "true" is no bool, 1 is no text


@_strict
class _Agent(TypedDict):
    id: str
    name: NotRequired[str | None]
    version: NotRequired[str | None]
    type: NotRequired[str | None]


@_strict
class _Session(TypedDict):
    id: str
    user_id: NotRequired[str | None]
    tenant_id: NotRequired[str | None]
    environment: NotRequired[str | None]


@_strict
class _Indicator(TypedDict):
    type: str
    value: str


@_strict
class _Threat(TypedDict):
    indicator: NotRequired[_Indicator | None]
    tactic: NotRequired[str | None]
    technique: NotRequired[str | None]


@_strict
class _Decision(TypedDict):
    allowed: bool
    guard: str
    severity: Literal["info", "low", "medium", "high", "critical"]
    reason: str
    policy_hash: NotRequired[str | None]
    ruleset: NotRequired[str | None]


@_strict
class _Resource(TypedDict):
    type: str
    name: str
    path: NotRequired[str | None]
    host: NotRequired[str | None]
    port: NotRequired[int | None]


@_strict
class Event(TypedDict):
    schema_version: NotRequired[str | None]
    event_id: Annotated[str, Field(min_length=1)]
    event_type: str
    event_category: NotRequired[str | None]
    timestamp: str  # its form: see epoch_seconds
    ingested_at: NotRequired[str | None]
    agent: _Agent
    session: _Session
    outcome: NotRequired[str | None]
    action: NotRequired[str | None]
    threat: NotRequired[_Threat | None]
    decision: _Decision
    resource: _Resource
    metadata: NotRequired[dict[str, Any] | None]
    labels: NotRequired[dict[str, str] | None]


@_strict
class _GateDecision(TypedDict):
    allowed: bool
    guard: str
    severity: str


@_strict
class _Gate(TypedDict):
    event_type: str
    decision: _GateDecision


class GateDecision(Struct, gc=False):
    """What the gate reads of an event's decision."""

    allowed: bool
    guard: str
    severity: str


class Gate(Struct, gc=False):
    """What the gate reads of an event. Of fields that are there twice the last counts, as in a parsed event."""

    event_type: str
    decision: GateDecision


read_gate: Final = Decoder(Gate).decode
"""Reads these fields and passes over the rest of the JSON. Raises MsgspecError, UnicodeDecodeError or RecursionError
where it cannot."""

_EVENT: Final = TypeAdapter(Event)
_GATE: Final = TypeAdapter(_Gate)

ErrorClass = Literal["empty", "not_utf8", "not_json", "too_large", "missing_field", "wrong_type", "invalid_value"]


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that is no event of ours: it goes to the dead-letter topic (stage ``decode``).

    ``path`` is the offending field, e.g. ``decision.severity``, or empty if it is the whole. All texts are bounded and
    without control characters, so they can be logged. ``event_id`` is what stands in its place, if it is text.
    """

    path: str
    reason: str
    error_class: ErrorClass
    event_id: str | None = None


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:)([0-5]\d|60)(\.\d{1,9})?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def epoch_seconds(text: str) -> float:
    """An RFC 3339 time, up to nanoseconds, as seconds since the epoch. Raises ValueError for anything else.

    A leap second is the last moment of its minute: event times must not run backwards behind it.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    date, minute, second, fraction, sign, hours, minutes = match.groups()
    if second == "60":
        second, fraction = "59", ".999999"
    time = datetime.fromisoformat(f"{date}T{minute}{second}+00:00").timestamp()
    if fraction:
        time += float(fraction)
    if sign:  # subtracted here, not parsed with the rest: at either end of the calendar that would overflow
        offset = int(hours) * 3600 + int(minutes) * 60
        time = time - offset if sign == "+" else time + offset
    return time


_MAX_ECHO = 80  # characters of the input in any of our texts


def validated(event: Any) -> tuple[Event, float] | Poison:
    """The event with its known fields only, and its time."""
    try:
        valid = _EVENT.validator.validate_python(event)
    except ValidationError as error:
        return _invalid(event, error)
    try:
        return valid, epoch_seconds(valid["timestamp"])
    except ValueError:
        reason = f"not an RFC 3339 time: {_echo(valid['timestamp'])}"
        return Poison("timestamp", reason, "invalid_value", _event_id(event))


def gate_poison(event: Any) -> Poison:
    """What an event failed the gate with. The gate itself only knows that it failed: this is not the hot path."""
    try:
        _GATE.validator.validate_python(event)
    except ValidationError as error:
        return _invalid(event, error)
    severity = event["decision"]["severity"]
    reason = f"a denial of unknown severity: {_echo(severity)}"
    return Poison("decision.severity", reason, "invalid_value", _event_id(event))


def _invalid(event: Any, error: ValidationError) -> Poison:
    first = error.errors(include_url=False, include_context=False)[0]
    kind, reason = first["type"], first["msg"]
    error_class: ErrorClass
    if kind == "missing":
        error_class = "missing_field"
    elif kind.endswith("_type"):
        error_class = "wrong_type"
    else:
        error_class = "invalid_value"
    if error_class != "missing_field":
        reason = f"{reason}: {_echo(first['input'])}"
    path = ".".join(str(step) for step in first["loc"])  # a step can be the name of a label, so it is input
    return Poison(_printable(path), reason, error_class, _event_id(event))


def unparsable(value: bytes, error: orjson.JSONDecodeError) -> Poison:
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
    """The value as JSON would have it, if it is a single one; else only what it is."""
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
    """At most _MAX_ECHO characters, those that do not print escaped."""
    escaped = repr(text[:_MAX_ECHO])[1:-1]
    return escaped if len(escaped) <= _MAX_ECHO and len(text) <= _MAX_ECHO else escaped[: _MAX_ECHO - 1] + "…"
