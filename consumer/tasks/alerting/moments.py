"""Moments before which something must not happen, of very many keys."""

from collections import deque
from collections.abc import Iterator

from state.pieces import Pieces


class Moments:
    """A moment of the monotonic clock for some dedup keys; 0 for all others. Later moments are set later."""

    def __init__(self) -> None:
        self._moments: Pieces[str, float] = Pieces()
        self._order: deque[tuple[float, str]] = deque()  # has outdated entries, which are skipped

    def get(self, dedup_key: str) -> float:
        """The moment of this key."""
        return self._moments.get(dedup_key) or 0.0

    def set(self, dedup_key: str, moment: float) -> None:
        """Set the moment of this key. Moments are forgotten in the order in which they are set."""
        self._moments[dedup_key] = moment
        self._order.append((moment, dedup_key))

    def drop(self, dedup_key: str) -> None:
        """Forget the moment of this key."""
        self._moments.pop(dedup_key)

    def forgotten_before(self, now: float) -> Iterator[None]:
        """Forget the moments before ``now``, one with each step: there can be a million."""
        while self._order and self._order[0][0] <= now:
            moment, dedup_key = self._order.popleft()
            if self._moments.get(dedup_key) == moment:
                self._moments.pop(dedup_key)
            yield
