"""Ends of threats that found nothing here yet (design section 17, rule 7).

The end of a problem can come before the problem itself: while the key's home moves, by another partition. For a while a
task remembers when it was, and what is handed over, forwarded or opened later, and occurred before it, is over.
Pure: times are event times, in seconds since the epoch; the caller says when ends are forgotten.
"""

from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 10_000
"""Ends that are remembered; what is more is forgotten, the one first that was told of first."""


def session(session_id: str) -> str:
    """A session as a subject: no dedup key begins like this."""
    return f"\0{session_id}"


@dataclass(frozen=True, slots=True)
class End:
    """A subject was said to be over ``at`` an event time. ``key`` is the record key by which it has its home."""

    subject: str
    at: float
    key: bytes | None = None


class RememberedEnds:
    """The latest end of each subject: a dedup key, or a `session`, of which there can be several alerts."""

    def __init__(self, at_most: int = MOST) -> None:
        self._ends: OrderedDict[str, End] = OrderedDict()
        self._at_most = at_most

    def __len__(self) -> int:
        return len(self._ends)

    def remember(self, end: End) -> None:
        """It was told of this end. One that is told of late moves none back."""
        known = self._ends.pop(end.subject, end)
        self._ends[end.subject] = end if end.at >= known.at else known
        while len(self._ends) > self._at_most:
            self._ends.popitem(last=False)

    def all(self) -> list[End]:
        """All that are remembered."""
        return list(self._ends.values())

    def forget(self, subject: str) -> None:
        """It is remembered elsewhere from now on."""
        self._ends.pop(subject, None)

    def latest(self, *subjects: str | None) -> float | None:
        """When the latest of their ends was; None if none is remembered."""
        ends = self._ends
        return max((ends[each].at for each in subjects if each is not None and each in ends), default=None)

    def forget_before(self, time: float) -> Iterator[None]:
        """Forget those that were before it; yields after each that is looked at."""
        for end in list(self._ends.values()):
            if end.at < time and self._ends.get(end.subject) is end:
                del self._ends[end.subject]
            yield

    def to_json(self) -> Mapping[str, Any]:
        """What a checkpoint holds of it."""
        return {
            end.subject: (end.at, None if end.key is None else b64encode(end.key).decode())
            for end in self._ends.values()
        }

    def restore(self, ends: Mapping[str, Any]) -> None:
        """Take what a checkpoint held. Raises ValueError, TypeError or IndexError if it is none of that."""
        for subject, found in ends.items():
            ended_at, key = found[:2]  # a later release may say more
            self.remember(End(subject, float(ended_at), None if key is None else b64decode(key, validate=True)))
