"""What an HTTP status means for a notification (design section 9), for all providers alike.

A provider decides first what is its own: the statuses it documents as success, and answers that mean something else
than their status says. The rest of the table is here.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from providers.answer import Accepted, Rejected, Throttled, Unavailable
from providers.masking import Mask
from providers.text import one_line, shorten

THROTTLED: Final = 429

OUTAGE_STATUSES: Final = frozenset({408, 425})
"""The 4xx that say "later", not "never"."""

UNKNOWN_STATUSES: Final = frozenset({408, 504})
"""Somebody stopped waiting for the request; it may still land."""

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds. No provider can silence anything for longer, whatever it asks for."""

REASON_LIMIT: Final = 500
"""Characters of a provider's text that are kept as the reason of an answer."""

_SECONDS = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*", re.ASCII)


def accepted(headers: Mapping[str, str]) -> Accepted:
    """The provider has it, at the time of its own clock."""
    return Accepted(http_date(header(headers, "Date")))


def classify_status(
    status: int, headers: Mapping[str, str], reason: str, now: float
) -> Rejected | Throttled | Unavailable:
    """What a status means that is not the documented success.

    ``now`` is seconds since the epoch, for a ``Retry-After`` that is a date when the answer has none of its own.
    """
    if status == THROTTLED:
        return Throttled(reason, retry_after(headers, now))
    if 400 <= status < 500 and status not in OUTAGE_STATUSES:
        return Rejected(status, reason)
    if 200 <= status < 300:
        reason = f"HTTP {status} is not a documented answer"
    return Unavailable(status, reason, retry_after(headers, now), unknown=status in UNKNOWN_STATUSES)


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header by its name in any case, whether or not the mapping itself cares about case."""
    value = headers.get(name)
    if value is not None:
        return value
    folded = name.lower()
    return next((value for given, value in headers.items() if given.lower() == folded), None)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the provider asks to wait, between 0 and `MAX_RETRY_AFTER`; None if it does not ask.

    A date (RFC 9110, section 10.2.3) counts from the answer's own ``Date``, so that clocks need not agree.
    """
    text = header(headers, "Retry-After")
    if text is None:
        return None
    seconds = seconds_of(text)
    if seconds is not None:
        return seconds
    moment = http_date(text)
    if moment is None:
        return None
    answered = http_date(header(headers, "Date"))
    return _bounded(moment - (now if answered is None else answered))


def seconds_of(text: str | None) -> float | None:
    """A header that is a number of seconds, between 0 and `MAX_RETRY_AFTER`; None if it is none."""
    found = None if text is None else _SECONDS.fullmatch(text)
    return None if found is None else _bounded(float(found[1]))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


@lru_cache(maxsize=16)  # many answers a second carry the same date
def http_date(text: str | None) -> float | None:
    """A date of HTTP in seconds since the epoch; None if it is none."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


class Reasons:
    """Reads a provider's own error text out of an answer: one line, bounded, without any of the secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._mask = Mask(secrets)

    def read(self, status: int, body: bytes) -> str:
        """The reason of an answer, never empty; that of an answer without text is its status."""
        return self.of(error_text(body)) or f"HTTP {status}"

    def of(self, text: str) -> str:
        """A text of the provider as a reason."""
        return shorten(self._mask(one_line(text)), REASON_LIMIT)


def error_text(body: bytes) -> str:
    """What an error's body says: ``message`` and ``errors`` of a JSON object, else the body as text."""
    said = json_object(body)
    if said is None:
        return body.decode("utf-8", "replace")
    parts = [said[name] for name in ("message", "error") if isinstance(said.get(name), str)]
    parts.extend(error_list(said))
    return "; ".join(parts) if parts else body.decode("utf-8", "replace")


def error_list(said: Mapping[str, Any]) -> list[str]:
    """``errors`` of an answer: PagerDuty sends a list of texts, OpsGenie texts by the name of the field."""
    match said.get("errors"):
        case str(text):
            return [text]
        case list(texts):
            return [text for text in texts if isinstance(text, str)]
        case dict(by_field):
            return [f"{field}: {text}" for field, text in by_field.items()]
        case _:
            return []


def json_object(body: bytes) -> dict[str, Any] | None:
    """The body if it is a JSON object, else None."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None
