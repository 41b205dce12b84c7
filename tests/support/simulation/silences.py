"""The topic of silences, and what the member has read of it, which it does late."""

from consumer.events.event import SecurityEvent
from consumer.silences.known import KnownSilences
from consumer.silences.silence import Match, Silence
from tests.support.simulation.world import World


class Silences:
    """What is written of silences, and ``known``, which is what the member knows of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._written: list[Silence] = []
        self.known = KnownSilences()
        self._of_event: dict[int, set[str]] = {}

    def write(self, session: str, seconds: float, *, include_critical: bool) -> None:
        """Somebody silences a session from now on for so many seconds."""
        name, begin = f"silence{len(self._written)}", self._world.true_time()
        self._world.say(f"{name}: {session} is silenced for {seconds:g} s")
        match = Match({"session_id": session})
        self._written.append(
            Silence(name, "all", match, "known", "me", begin, begin, begin + seconds, include_critical=include_critical)
        )

    def end_one(self, number: int) -> bool:
        """Somebody ends a silence before its time; False if none holds."""
        holding = [one for one in self._written if one.expires_at > self._world.true_time()]
        if not holding:
            return False
        one = holding[number % len(holding)]
        ended = one.ended(self._world.true_time())
        self._world.say(f"{ended.id} is ended")
        self._written[self._written.index(one)] = ended
        return True

    def read(self) -> None:
        """The member reads all that is written."""
        for silence in self._written:
            self.known.put(silence)

    def keep_silent(self, offset: int, event: SecurityEvent, at: float) -> bool:
        """Whether the member, by what it knows now, silences this event, whose record was written at that time."""
        found = self.known.of(event, "simulated", at)
        self._of_event[offset] = {one.id for one in found}
        return bool(found)

    def hold(self, offset: int) -> bool:
        """Whether a silence of this event, as the member has decided it, has not ended."""
        held_by = self._of_event.get(offset, set())
        return any(one.id in held_by and one.expires_at > self._world.true_time() for one in self._written)
