"""The silences that a member knows, and which of them an event falls under."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from consumer.silences.silence import Silence, SilencedEvent

_EXACT: Final = ("session_id", "tenant_id", "guard", "agent_id")
"""The fields by whose exact text silences are looked up, the most telling first. An event has fields of the same
names."""

_ENDS: Final = 64
"""How many ends that a silence has had are remembered at most: the last ones."""

_Ending = tuple[float, str]
"""When a silence ends, and its id."""


@dataclass(slots=True)
class _End:
    """An end that a silence has had. ``is_of_today``: since its id stands for what it does today. ``turned``: when the
    id came to stand for something else than it did when the silence had had this end (None: it has not)."""

    turned: float | None = None
    is_of_today: bool = True


class KnownSilences:
    """All silences of the topic, by their ids, and looked up by what they match and by when they end: few of very many
    are asked, however many are over."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._by_id: dict[str, Silence] = {}
        self._by_term: dict[tuple[str, str], list[_Ending]] = {}  # each list in the order of their ends
        self._others: list[_Ending] = []
        # For what a silence has held: when its record of today was written (if there is none: was deleted), and which
        # ends it has had.
        self._written: dict[str, float] = {}
        self._ends: dict[str, dict[float, _End]] = {}
        for silence in silences:
            self.put(silence)

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> Mapping[str, Silence]:
        """Every silence by its id, the over ones too."""
        return self._by_id

    def get(self, silence_id: str) -> Silence | None:
        """The silence of this id, None if no record of it was read."""
        return self._by_id.get(silence_id)

    def put(self, silence: Silence, written: float = -inf) -> None:
        """The record of a silence was read. A later one of the same id takes its place.

        ``written`` is when that record was written, in seconds since the epoch: what the silence held and holds no
        longer, it has held until then (-inf: not known; that ends at once).
        """
        before = self._remove(silence.id)
        if before is not None and not silence.is_of_same_events(before):
            self._turns(silence.id, written)
        self._by_id[silence.id] = silence
        self._written[silence.id] = written
        ends = self._ends.setdefault(silence.id, {})
        ends.setdefault(silence.expires_at, _End()).is_of_today = True
        if len(ends) > _ENDS:
            del ends[next(iter(ends))]
        place = _place(silence)
        insort(self._others if place is None else self._by_term.setdefault(place, []), _ending(silence))

    def drop(self, silence_id: str, written: float = -inf) -> None:
        """The record of a silence was deleted from the topic at this time, in seconds since the epoch (-inf: not
        known): it holds nothing any longer."""
        if self._remove(silence_id) is not None:
            self._turns(silence_id, written)
        self._written[silence_id] = written

    def end_of(self, silence_id: str, until: float, provider: str, decided: float = -inf) -> float:
        """When a silence ends for what it holds at this provider, and was to hold ``until`` then. The last event of
        that was ``decided`` at this time, in seconds since the epoch: what has the same id now may hold it, with the
        same end.

        It can have been ended early or prolonged. If its id now stands for something else (other events, another
        provider, another time), or for nothing, it has ended when that was written, and ``until`` at the latest. One of
        which nothing was read holds until the end that it had.
        """
        silence = self._by_id.get(silence_id)
        if silence is None:
            return min(until, self._written.get(silence_id, inf))
        end = self._ends[silence_id].get(until)
        if end is not None and end.turned is not None and (not end.is_of_today or decided < end.turned):
            return min(until, end.turned)
        if not silence.is_for(provider) or silence.starts_at > until:
            return min(until, self._written[silence_id])
        return silence.expires_at

    def of(self, event: SilencedEvent, provider: str, at: float) -> tuple[Silence, ...]:
        """The silences under which an event falls whose record was written then, in seconds since the epoch; the
        earliest end first."""
        if not self._by_id:
            return ()
        asked = [self._others]
        for name in _EXACT if self._by_term else ():
            value = getattr(event, name)
            if value is not None and (named := self._by_term.get((name, value))) is not None:
                asked.append(named)
        found: list[_Ending] = []
        for some in asked:
            for index in range(bisect_left(some, (at,)), len(some)):  # those before that are over
                one = self._by_id[some[index][1]]
                if one.is_for(provider) and one.silences(event, at):
                    found.append(some[index])
        return tuple(self._by_id[silence_id] for _, silence_id in sorted(found))

    def _remove(self, silence_id: str) -> Silence | None:
        silence = self._by_id.pop(silence_id, None)
        if silence is None:
            return None
        place = _place(silence)
        found = self._others if place is None else self._by_term[place]
        del found[bisect_left(found, _ending(silence))]
        if place is not None and not found:
            del self._by_term[place]
        return silence

    def _turns(self, silence_id: str, written: float) -> None:
        """The id stands for something else from then on."""
        for end in self._ends[silence_id].values():
            if end.is_of_today:
                end.turned, end.is_of_today = written, False


def _ending(silence: Silence) -> _Ending:
    return silence.expires_at, silence.id


def _place(silence: Silence) -> tuple[str, str] | None:
    """By which term a silence is looked up; None if it has none that is exact."""
    for name in _EXACT:
        text = silence.match.terms.get(name)
        if text is not None and "*" not in text:
            return name, text
    return None
