"""What an HTTP status means for a notification (design section 9), the same for all providers.

A provider first decides its own cases: the statuses that it documents as success, and answers whose status does not say
what they mean. This module decides all others.
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
"""The 4xx statuses that mean "later" instead of "never"."""

UNKNOWN_STATUSES: Final = frozenset({408, 504})
"""The statuses that say that somebody stopped waiting for the request, which may still arrive at the provider."""

MAX_RETRY_AFTER: Final = 3600.0
"""The longest ``Retry-After`` in seconds; a longer one is cut to this."""

REASON_LIMIT: Final = 500
"""How many characters of a provider's text are kept as the reason of an answer."""

_SECONDS = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*", re.ASCII)


def accepted(headers: Mapping[str, str]) -> Accepted:
    """The answer of a provider that has accepted the request, with the time by its own clock."""
    return Accepted(http_date(header(headers, "Date")))


def classify_status(
    status: int, headers: Mapping[str, str], reason: str, now: float
) -> Rejected | Throttled | Unavailable:
    """What a status means that is not the documented success.

    ``now`` is in seconds since the epoch. It is used if ``Retry-After`` is a date and the answer has no ``Date``.
    """
    if status == THROTTLED:
        return Throttled(reason, retry_after(headers, now))
    if 400 <= status < 500 and status not in OUTAGE_STATUSES:
        return Rejected(status, reason)
    if 200 <= status < 300:
        reason = f"HTTP {status} is not a documented answer"
    return Unavailable(status, reason, retry_after(headers, now), unknown=status in UNKNOWN_STATUSES)


def header(headers: Mapping[str, str], name: str) -> str | None:
    """The header with this name, in upper or lower case, also if the mapping distinguishes these; None without one."""
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
    """The number of seconds that a header names, cut to 0 and `MAX_RETRY_AFTER`; None if it is not a number."""
    found = None if text is None else _SECONDS.fullmatch(text)
    return None if found is None else _bounded(float(found[1]))


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


@lru_cache(maxsize=16)  # many answers a second carry the same date
def http_date(text: str | None) -> float | None:
    """An HTTP date in seconds since the epoch; None if the text is not a date."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


class Reasons:
    """Reads a provider's own error text from an answer: one line, bounded, without any of the secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._mask = Mask(secrets)

    def read(self, status: int, body: bytes) -> str:
        """The reason of an answer, never empty: without a text it is the status."""
        return self.of(error_text(body)) or f"HTTP {status}"

    def of(self, text: str) -> str:
        """A text of the provider as a reason."""
        return shorten(self._mask(one_line(text)), REASON_LIMIT)


def error_text(body: bytes) -> str:
    """The text of an error's body: ``message``, ``error`` and ``errors`` of a JSON object, else the body as text."""
    said = json_object(body)
    if said is None:
        return body.decode("utf-8", "replace")
    parts = [said[name] for name in ("message", "error") if isinstance(said.get(name), str)]
    parts.extend(error_list(said))
    return "; ".join(parts) if parts else body.decode("utf-8", "replace")


def error_list(said: Mapping[str, Any]) -> list[str]:
    """The texts in ``errors`` of an answer: PagerDuty sends a list of texts, OpsGenie a text for each field."""
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
