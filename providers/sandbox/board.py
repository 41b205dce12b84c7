"""What the sandbox's page shows: the newest incidents with their steps, and the latest requests.

However many incidents there are, the board keeps a bounded number of them, and a bounded number of steps of each.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from providers.sandbox.incidents import Incident, IncidentEntry
from providers.sandbox.journal import JournalEntry

INCIDENTS = 200
"""How many incidents are on the board: the newest."""

STEPS = 60
"""How many steps of an incident are kept: its first, and the latest."""

REQUESTS = 24
"""How many requests are on the board: the latest."""


@dataclass(slots=True)
class Card:
    """One incident on the board. ``changed`` is the board's revision at its last change, ``left_out`` how many of its
    steps were dropped."""

    incident: Incident
    changed: int = 0
    steps: list[IncidentEntry] = field(default_factory=list)
    left_out: int = 0

    def add(self, step: IncidentEntry) -> None:
        """Add a step. Beyond `STEPS` the oldest step after the first is dropped, and counted in ``left_out``."""
        self.steps.append(step)
        if len(self.steps) > STEPS:
            del self.steps[1]
            self.left_out += 1


class Board:
    """The newest incidents and the latest requests. ``revision`` grows with every change of an incident.

    ``era`` counts the calls of `clear`: what was seen in an earlier era is gone.
    """

    def __init__(self, *, incidents: int = INCIDENTS, requests: int = REQUESTS) -> None:
        self._most = incidents
        self._cards: dict[str, Card] = {}
        self._requests: deque[JournalEntry] = deque(maxlen=requests)
        self.revision = 0
        self.era = 0

    @property
    def requests(self) -> Sequence[JournalEntry]:
        """The latest requests, the newest last."""
        return tuple(self._requests)

    def watch(self, incident: Incident, step: IncidentEntry) -> None:
        """Add a step of an incident. A step of an incident that is no longer on the board is ignored."""
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

    def received(self, entry: JournalEntry) -> None:
        """Add a request that has arrived; its answer will be set in its entry."""
        self._requests.append(entry)

    def cards(self, *, since: int = 0) -> list[Card]:
        """The incidents that have changed after the revision ``since``, in the order of their opening."""
        return [card for card in self._cards.values() if card.changed > since]

    def card(self, id: str) -> Card | None:
        """The card of the incident with this id; None if it is not on the board."""
        return self._cards.get(id)

    def clear(self) -> None:
        """Forget everything."""
        self._cards.clear()
        self._requests.clear()
        self.era += 1
