"""The secret keys that a provider accepts, and how often each may call."""

from collections import deque
from collections.abc import Iterable

WINDOW = 60.0
"""Seconds of the rolling window that the rate is counted in."""


class Keys:
    """Which keys are known: those of a given set, or every one that is not revoked.

    ``calls_a_minute`` bounds each key's calls in any rolling minute; a call that is turned away does not count.
    """

    def __init__(self, known: Iterable[str] | None = None, calls_a_minute: int | None = None) -> None:
        self._known = None if known is None else frozenset(known)
        self._calls_a_minute = calls_a_minute
        self._revoked: set[str] = set()
        self._calls: dict[str, deque[float]] = {}

    def knows(self, key: str) -> bool:
        """Whether an integration has this key."""
        return key not in self._revoked and (self._known is None or key in self._known)

    def revoke(self, key: str) -> None:
        """From now on no integration has this key."""
        self._revoked.add(key)

    def restore(self, key: str) -> None:
        """Undo `revoke`."""
        self._revoked.discard(key)

    def admit(self, key: str, monotonic: float) -> bool:
        """Count a call of this key, unless the last minute is full."""
        if self._calls_a_minute is None:
            return True
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= monotonic - WINDOW:
            calls.popleft()
        if len(calls) >= self._calls_a_minute:
            return False
        calls.append(monotonic)
        return True

    def reset(self) -> None:
        """Nothing is revoked, nothing was called."""
        self._revoked.clear()
        self._calls.clear()
