"""Ends of threats that found nothing here yet (design section 17, rule 7).

The end of a problem can come before the problem itself: while the key's home moves, by another partition. For a while a
task remembers when it was, and what is handed over, forwarded or opened later, and occurred before it, is over.
Pure: times are event times, in seconds since the epoch; the caller says when ends are forgotten.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping

MOST = 10_000
"""Ends that are remembered; what is more is forgotten, the one first that was told of first."""


def session(session_id: str) -> str:
    """A session as a subject: no dedup key begins like this."""
    return f"\0{session_id}"


class RememberedEnds:
    """The latest end of each subject: a dedup key, or a `session`, of which there can be several alerts."""

    def __init__(self, at_most: int = MOST) -> None:
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._at_most = at_most

    def __len__(self) -> int:
        return len(self._ends)

    def remember(self, subject: str, ended_at: float) -> None:
        """It was said to be over at ``ended_at``. An end that is told of late moves none back."""
        known = self._ends.pop(subject, ended_at)
        self._ends[subject] = max(known, ended_at)
        while len(self._ends) > self._at_most:
            self._ends.popitem(last=False)

    def latest(self, *subjects: str | None) -> float | None:
        """When the latest of their ends was; None if none is remembered."""
        return max((self._ends[each] for each in subjects if each is not None and each in self._ends), default=None)

    def forget_before(self, time: float) -> Iterator[None]:
        """Forget those that were before it; yields after each that is looked at."""
        for subject, ended_at in list(self._ends.items()):
            if ended_at < time and self._ends.get(subject) == ended_at:
                del self._ends[subject]
            yield

    def to_json(self) -> Mapping[str, float]:
        """What a checkpoint holds of it."""
        return dict(self._ends)

    def restore(self, ends: Mapping[str, float]) -> None:
        """Take what a checkpoint held."""
        for subject, ended_at in ends.items():
            self.remember(subject, ended_at)
