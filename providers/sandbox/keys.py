"""The secret keys that a provider accepts, and how often each may call."""

from collections import deque
from collections.abc import Iterable

WINDOW = 60.0
"""The rolling window in which calls are counted, in seconds."""


class Keys:
    """Which keys are known: those of the set ``known``, or all (None), except the revoked ones.

    ``calls_a_minute`` bounds each key's calls in any rolling minute. A refused call counts only with ``count_refused``:
    some rate limiters count the calls that they refuse, so that a client which does not wait is never let in again.
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
        """Whether the key was revoked as ``malformed``: as one that does not even look like a key."""
        return self._revoked.get(key, False)

    def revoke(self, key: str, *, malformed: bool = False) -> None:
        """From now on no integration has this key. ``malformed``: the key does not even look like one; OpsGenie has an
        answer of its own to that."""
        self._revoked[key] = malformed

    def restore(self, key: str) -> None:
        """Undo `revoke`."""
        self._revoked.pop(key, None)

    def admit(self, key: str, monotonic: float) -> bool:
        """Count a call of this key. Returns whether it is within the rate."""
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
        """Forget all revocations and calls."""
        self._revoked.clear()
        self._calls.clear()
