"""Steps of what comes in: events, ends of sessions, and silences."""

from collections.abc import Callable, Mapping

from tests.support.simulation.events import Events
from tests.support.simulation.member import Member
from tests.support.simulation.silences import Silences
from tests.support.walks import SAYS


class InputSteps:
    """What producers and operators do, and what the member reads of it."""

    def __init__(self, events: Events, silences: Silences, member: Member) -> None:
        self._events = events
        self._silences = silences
        self._member = member
        self.steps: Mapping[str, Callable[[int], None]] = {
            "event": self.event,
            "end": self.end,
            "flap": self.flap,
            "decide": self.decide,
            "silence": self.silence,
            "unsilence": self.unsilence,
            "read": self.read,
            "quietly": self.quietly,
        }

    def event(self, number: int) -> None:
        """An event occurs that somebody must be told of; one of `SAYS`."""
        self._events.occurs(*SAYS[number % len(SAYS)])

    def end(self, number: int) -> None:
        """A session ends."""
        self._events.ends("s2" if number == 0 else "s1")

    def flap(self, number: int) -> None:
        """The threat is over and comes back, or the other way round, all decided at once."""
        for step in ((self.end,), (self.event,), (self.event, self.end), (self.end, self.event))[number % 4]:
            step(1)
        self._member.decide_all()

    def decide(self, number: int) -> None:
        """The task is given some of the next records."""
        self._member.decide(1 + number // 2)

    def silence(self, number: int) -> None:
        """Somebody silences a session for a while; the member reads of it at once, or late."""
        session, seconds = ("s1", "s1", "s1", "s2")[number % 4], (4.0, 15.0)[number // 4 % 2]
        self._silences.write(session, seconds, include_critical=number % 4 != 2)
        if number % 2:
            self._member.read_silences()

    def unsilence(self, number: int) -> None:
        """Somebody ends a silence before its time; the member reads of it at once, or late."""
        if self._silences.end_one(number) and number % 2:
            self._member.read_silences()

    def read(self, number: int) -> None:
        """The member reads all that is written of silences."""
        self._member.read_silences()

    def quietly(self, number: int) -> None:
        """What is silenced occurs, and is decided."""
        self.silence(1)
        self.event(0)
        self._member.decide_all()
