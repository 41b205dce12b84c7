"""Times as they are written on the command line."""

import argparse
from datetime import datetime

from consumer.config.durations import seconds


def given_time(text: str) -> str:
    """The text unchanged, if it is a time. Raises `argparse.ArgumentTypeError` if it is not."""
    moment_of(text, 0.0)
    return text


def moment_of(text: str, now: float) -> float:
    """A time in seconds since the epoch, from RFC 3339, or from how long before ``now`` it was.

    Raises `argparse.ArgumentTypeError` for any other text.
    """
    try:
        return now - seconds(text)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise argparse.ArgumentTypeError("must be RFC 3339, or how long ago: 90s, 15m, 2h, 7d")
    return parsed.timestamp()
