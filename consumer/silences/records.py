"""Records of the silences topic: the key is the silence's id, the value JSON (design section 22).

Anybody who may write to the topic chooses its bytes: decoding gives a value, or raises `MalformedSilence` if the bytes
mean none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from consumer.events.schema import epoch_seconds
from consumer.silences.silence import InvalidSilence, Match, Silence, SilenceStatus, shown
from state.violation import SEVERITY_BY_LABEL

LARGEST_BYTES: Final = 64 * 1024
"""The most bytes of a record; a larger one is none of ours."""

_TIMES = ("created_at", "starts_at", "expires_at")
_TEXTS = ("id", "scope", "reason", "created_by")
_KNOWN = frozenset((*_TIMES, *_TEXTS, "match", "status", "include_critical"))


class MalformedSilence(ValueError):
    """A record, or a line of an import, is no silence: one line that says why."""


def encode(silence: Silence) -> tuple[bytes, bytes]:
    """Key and value of a silence's record."""
    return silence.id.encode(), orjson.dumps(to_json(silence))


def decode(key: bytes | None, value: bytes | None) -> Silence | None:
    """What a record of the topic says; None if it deletes the silence of its key.

    Raises `MalformedSilence` if the record is no record of a silence.
    """
    if not key:
        raise MalformedSilence("the record has no key")
    if value is None:
        return None
    if len(value) > LARGEST_BYTES:
        raise MalformedSilence(f"{len(value)} bytes are more than {LARGEST_BYTES}")
    try:
        silence = from_json(orjson.loads(value))
    except orjson.JSONDecodeError:
        raise MalformedSilence("the value is no JSON") from None
    if silence.id.encode() != key:
        raise MalformedSilence("the key is not the id")
    return silence


def to_json(silence: Silence) -> dict[str, Any]:
    """A silence in JSON, as it is stored, shown and exported."""
    match: dict[str, str] = dict(silence.match.terms)
    if silence.match.severity is not None:
        match["severity"] = silence.match.severity.label
    facts: dict[str, Any] = {
        "id": silence.id,
        "scope": silence.scope,
        "match": match,
        "reason": silence.reason,
        "created_by": silence.created_by,
        **{name: _text_of_time(getattr(silence, name)) for name in _TIMES},
        "status": silence.status.value,
    }
    if silence.include_critical:
        facts["include_critical"] = True
    return facts


def from_json(facts: object) -> Silence:
    """The silence that the JSON says.

    Raises `MalformedSilence` if a field is missing, is not known, or is not what it must be.
    """
    if not isinstance(facts, Mapping):
        raise MalformedSilence("no silence: not an object")
    if missing := [name for name in (*_TEXTS, "match", *_TIMES) if name not in facts]:
        raise MalformedSilence(f"{missing[0]}: is missing")
    if unknown := sorted(str(name) for name in facts if name not in _KNOWN):
        raise MalformedSilence(f"{shown(unknown[0])}: is no field of a silence")
    for name in _TEXTS:
        if not isinstance(facts[name], str):
            raise MalformedSilence(f"{name}: must be text")
    critical = facts.get("include_critical", False)
    if not isinstance(critical, bool):
        raise MalformedSilence("include_critical: must be true or false")
    try:
        status = SilenceStatus(facts.get("status", SilenceStatus.ACTIVE.value))
    except ValueError:
        raise MalformedSilence(f"status: must be one of {', '.join(one.value for one in SilenceStatus)}") from None
    try:
        return Silence(
            id=facts["id"],
            scope=facts["scope"],
            match=_match_of(facts["match"]),
            reason=facts["reason"],
            created_by=facts["created_by"],
            created_at=_time_of("created_at", facts["created_at"]),
            starts_at=_time_of("starts_at", facts["starts_at"]),
            expires_at=_time_of("expires_at", facts["expires_at"]),
            status=status,
            include_critical=critical,
        )
    except InvalidSilence as error:
        raise MalformedSilence(str(error)) from None


def _match_of(facts: object) -> Match:
    if not isinstance(facts, Mapping):
        raise MalformedSilence("match: must be an object")
    terms, severity = dict(facts), None
    for name, text in terms.items():
        if not isinstance(text, str):
            raise MalformedSilence(f"match.{shown(name)}: must be text")
    if (label := terms.pop("severity", None)) is not None:
        if label not in SEVERITY_BY_LABEL:
            raise MalformedSilence(f"match.severity: must be one of {', '.join(SEVERITY_BY_LABEL)}")
        severity = SEVERITY_BY_LABEL[label]
    return Match(terms, severity)


def _time_of(name: str, value: object) -> float:
    try:
        at = epoch_seconds(value) if isinstance(value, str) else -1.0
    except ValueError:
        at = -1.0
    if at < 0:
        raise MalformedSilence(f"{name}: must be an RFC 3339 time, from 1970 on")
    return at


def _text_of_time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
