"""Times as people read them, the same at every provider (design section 8)."""

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_MICROSECONDS = 7
"""How many characters of a fraction are kept, with its point."""


def utc(moment: float) -> str:
    """A time in seconds since the epoch as RFC 3339 in UTC, e.g. ``2026-05-20T14:00:00.250Z``."""
    try:
        written = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return "unknown"  # no date of the calendar: better an unknown time than a lost page
    return written.replace("+00:00", "Z")


def normalized(text: str) -> str | None:
    """An event's timestamp in a form that every reader of ISO 8601 accepts: at most microseconds, capital letters.

    None if it is no time of the calendar: an optional field is not worth a rejected page.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, zone = found.groups()
    written = f"{day}T{time}{(fraction or '')[:_MICROSECONDS]}{zone.upper()}"
    try:
        datetime.fromisoformat(written)
    except ValueError:
        return None
    return written
