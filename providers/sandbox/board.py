"""What a person can look at: the newest incidents with what happened to them, and the latest requests.

However many incidents there are, this holds a fixed number of them, and a fixed number of steps of each.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from providers.sandbox.incidents import Incident, Step
from providers.sandbox.journal import Entry

INCIDENTS = 200
"""So many incidents are on the board, the newest."""

STEPS = 60
"""So many steps of one are kept: its first, and the latest."""

REQUESTS = 24
"""So many requests are on the board, the latest."""


@dataclass(slots=True)
class Card:
    """One incident on the board. ``changed`` is the board's revision by which it has last changed."""

    incident: Incident
    changed: int = 0
    steps: list[Step] = field(default_factory=list)
    left_out: int = 0

    def add(self, step: Step) -> None:
        """It has happened. Of very many steps those behind the first are left out, and counted."""
        self.steps.append(step)
        if len(self.steps) > STEPS:
            del self.steps[1]
            self.left_out += 1


class Board:
    """The newest incidents and the latest requests. ``revision`` grows with every change of an incident.

    ``era`` counts how often everything was forgotten: what was seen in an earlier one is gone.
    """

    def __init__(self, *, incidents: int = INCIDENTS, requests: int = REQUESTS) -> None:
        self._most = incidents
        self._cards: dict[str, Card] = {}
        self._requests: deque[Entry] = deque(maxlen=requests)
        self.revision = 0
        self.era = 0

    @property
    def requests(self) -> Sequence[Entry]:
        """The latest requests, the newest last."""
        return tuple(self._requests)

    def watch(self, incident: Incident, step: Step) -> None:
        """Something has happened to an incident. To one that is too old for the board, nothing has."""
        card = self._cards.get(incident.id)
        if card is None:
            if step.what != "opened":
                return
            card = self._cards[incident.id] = Card(incident)
            if len(self._cards) > self._most:
                del self._cards[next(iter(self._cards))]
        card.add(step)
        self.revision += 1
        card.changed = self.revision

    def received(self, entry: Entry) -> None:
        """A request has arrived; how it is answered will stand in its entry."""
        self._requests.append(entry)

    def cards(self, *, since: int = 0) -> list[Card]:
        """Those that have changed behind that revision, in the order of their opening."""
        return [card for card in self._cards.values() if card.changed > since]

    def card(self, id: str) -> Card | None:
        """That of an incident, while it is on the board."""
        return self._cards.get(id)

    def clear(self) -> None:
        """Forget everything."""
        self._cards.clear()
        self._requests.clear()
        self.era += 1
