"""The silences that a member knows, and which of them an event falls under."""

from collections.abc import Iterable, Mapping
from typing import Final

from consumer.silences.silence import Silence, SilencedEvent

_EXACT: Final = ("session_id", "tenant_id", "guard", "agent_id")
"""Fields by whose exact text silences are looked up, the most telling first. An event has them by the same names."""


class KnownSilences:
    """All silences of the topic, by their ids, and looked up by what they match: few of very many are asked."""

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._by_id: dict[str, Silence] = {}
        self._places: dict[str, tuple[str, str] | None] = {}
        self._by_term: dict[tuple[str, str], dict[str, Silence]] = {}
        self._others: dict[str, Silence] = {}
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

    def put(self, silence: Silence) -> None:
        """The record of a silence was read. A later one of the same id takes its place."""
        self.drop(silence.id)
        self._by_id[silence.id] = silence
        place = _place(silence)
        self._places[silence.id] = place
        (self._others if place is None else self._by_term.setdefault(place, {}))[silence.id] = silence

    def drop(self, silence_id: str) -> None:
        """The record of a silence was deleted from the topic."""
        if self._by_id.pop(silence_id, None) is None:
            return
        place = self._places.pop(silence_id)
        if place is None:
            del self._others[silence_id]
            return
        del self._by_term[place][silence_id]
        if not self._by_term[place]:
            del self._by_term[place]

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
        found = [one for some in asked for one in some.values() if one.silences(event, at)]
        return tuple(sorted((one for one in found if one.is_for(provider)), key=lambda one: (one.expires_at, one.id)))


def _place(silence: Silence) -> tuple[str, str] | None:
    """By which term a silence is looked up; None if it has none that is exact."""
    for name in _EXACT:
        text = silence.match.terms.get(name)
        if text is not None and "*" not in text:
            return name, text
    return None
