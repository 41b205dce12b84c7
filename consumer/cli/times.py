"""Moments as they are written on the command line."""

import argparse
from datetime import datetime

from consumer.config.durations import seconds


def given_time(text: str) -> str:
    """The text, if it is a moment. Raises `argparse.ArgumentTypeError`."""
    moment_of(text, 0.0)
    return text


def moment_of(text: str, now: float) -> float:
    """A moment in seconds since the epoch: RFC 3339, or how long before ``now``.

    Raises `argparse.ArgumentTypeError`.
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
