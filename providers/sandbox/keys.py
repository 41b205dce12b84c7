"""The secret keys that a provider accepts, and how often each may call."""

from collections import deque
from collections.abc import Iterable

WINDOW = 60.0
"""Seconds of the rolling window that the rate is counted in."""


class Keys:
    """Which keys are known: those of a given set, or every one that is not revoked.

    ``calls_a_minute`` bounds each key's calls in any rolling minute; one that is turned away counts only with
    ``count_refused``: some limiters count what they refuse, so that whoever does not wait is never let in again.
    """

    def __init__(
        self,
        known: Iterable[str] | None = None,
        calls_a_minute: int | None = None,
        *,
        count_refused: bool = False,
    ) -> None:
        self._known = None if known is None else frozenset(known)
        self._calls_a_minute = calls_a_minute
        self._count_refused = count_refused
        self._revoked: dict[str, bool] = {}
        self._calls: dict[str, deque[float]] = {}

    def knows(self, key: str) -> bool:
        """Whether an integration has this key."""
        return key not in self._revoked and (self._known is None or key in self._known)

    def is_malformed(self, key: str) -> bool:
        """Whether it was revoked as one that cannot be a key at all."""
        return self._revoked.get(key, False)

    def revoke(self, key: str, *, malformed: bool = False) -> None:
        """From now on no integration has this key; ``malformed``: it does not even look like one (OpsGenie says so)."""
        self._revoked[key] = malformed

    def restore(self, key: str) -> None:
        """Undo `revoke`."""
        self._revoked.pop(key, None)

    def admit(self, key: str, monotonic: float) -> bool:
        """Count a call of this key, unless the last minute is full."""
        if self._calls_a_minute is None:
            return True
        calls = self._calls.setdefault(key, deque())
        while calls and calls[0] <= monotonic - WINDOW:
            calls.popleft()
        admitted = len(calls) < self._calls_a_minute
        if admitted or self._count_refused:
            calls.append(monotonic)
        return admitted

    def reset(self) -> None:
        """Nothing is revoked, nothing was called."""
        self._revoked.clear()
        self._calls.clear()
