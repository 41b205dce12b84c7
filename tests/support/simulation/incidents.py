"""The incidents that are open at the provider."""

from collections.abc import Iterable

from state.violation import Severity

Here = tuple[str, str]
"""Where an incident is: a place (`Routing.place`) and a dedup key."""


class Incidents:
    """``open`` has the severity of each open incident; ``taken`` has those that somebody has acknowledged."""

    def __init__(self) -> None:
        self.open: dict[Here, Severity] = {}
        self.taken: set[Here] = set()

    def trigger(self, here: Here, severity: Severity) -> None:
        """Open an incident, or raise the severity of the one that is open."""
        self.open[here] = max(self.open.get(here, severity), severity)

    def close(self, here: Here) -> None:
        """It is open no more, if it was."""
        self.open.pop(here, None)
        self.taken.discard(here)

    def one(self, number: int) -> Here | None:
        """One that is open, or None if none is."""
        found = sorted(self.open)
        return found[number % len(found)] if found else None

    def severity(self, key: str, places: Iterable[str]) -> Severity | None:
        """The highest severity of the incidents of a key in these places; None if none is open."""
        return max((self.open[one, key] for one in places if (one, key) in self.open), default=None)
