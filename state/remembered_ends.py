"""Ends of threats that came before the task had an alert they end (design sections 17, rule 7, and 19).

While a key's home moves, the end of a problem can reach the new home before the problem itself, which comes by another
partition; and of events that are posted over HTTP one can overtake another. So a task remembers ends for a while. An
alert that is handed over, forwarded or opened later, and whose last occurrence is not after the end, is over.
Pure: times are event times, in seconds since the epoch; the caller says when ends are forgotten.
"""

from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REMEMBERED_SECONDS = 900.0
"""How many seconds, by event time, an end is remembered."""

MOST = 10_000
"""How many ends are remembered. Beyond that, the one that was remembered longest ago is forgotten first."""


def session(session_id: str) -> str:
    """The subject that stands for a session. It begins with NUL, as no dedup key does."""
    return f"\0{session_id}"


def is_session(subject: str) -> bool:
    """Whether the subject stands for a session; else it is a dedup key."""
    return subject.startswith("\0")


@dataclass(frozen=True, slots=True)
class End:
    """The end of a subject's threat, ``at`` an event time. ``key`` is the record key that decides the subject's home,
    None if that is not known."""

    subject: str
    at: float
    key: bytes | None = None


class RememberedEnds:
    """The latest end of each subject: of a dedup key, or of a `session`, which can have several alerts."""

    def __init__(self, at_most: int = MOST) -> None:
        self._ends: OrderedDict[str, End] = OrderedDict()
        self._at_most = at_most

    def __len__(self) -> int:
        return len(self._ends)

    def remember(self, end: End) -> None:
        """Remember this end, unless a later end of its subject is remembered already."""
        known = self._ends.pop(end.subject, end)
        self._ends[end.subject] = end if end.at >= known.at else known
        while len(self._ends) > self._at_most:
            self._ends.popitem(last=False)

    def all(self) -> list[End]:
        """All remembered ends."""
        return list(self._ends.values())

    def forget(self, subject: str) -> None:
        """Forget the end of this subject: another task remembers it from now on."""
        self._ends.pop(subject, None)

    def latest(self, *subjects: str | None) -> float | None:
        """The event time of the latest end of these subjects; None if none is remembered."""
        ends = self._ends
        return max((ends[each].at for each in subjects if each is not None and each in ends), default=None)

    def forget_before(self, time: float) -> Iterator[None]:
        """Forget the ends before this event time; yields after each end."""
        for end in list(self._ends.values()):
            if end.at < time and self._ends.get(end.subject) is end:
                del self._ends[end.subject]
            yield

    def to_json(self) -> Mapping[str, Any]:
        """The ends as a checkpoint holds them."""
        return {
            end.subject: (end.at, None if end.key is None else b64encode(end.key).decode())
            for end in self._ends.values()
        }

    def restore(self, ends: Mapping[str, Any]) -> None:
        """Remember the ends that a checkpoint held.

        Raises `ValueError`, `TypeError` or `IndexError` if they are malformed.
        """
        for subject, found in ends.items():
            ended_at, key = found[:2]  # a later release may write more
            self.remember(End(subject, float(ended_at), None if key is None else b64decode(key, validate=True)))
