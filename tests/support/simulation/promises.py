"""What must be true after every step: of the dead letters, of every event that was decided, of the group's offset."""

from consumer.dlq.dead_letter import DeadLetter
from state.alert import Status
from state.occurrences import ELSEWHERE
from state.violation import Severity
from tests.support.simulation.events import Events
from tests.support.simulation.fates import Fates
from tests.support.simulation.incidents import Incidents
from tests.support.simulation.member import Member, Memory
from tests.support.simulation.pipeline import GIVE_UP, QUIET
from tests.support.simulation.provider import Provider
from tests.support.simulation.routing import Routing
from tests.support.simulation.world import World


class Promises:
    """Follows what becomes of every event, and notes it in the fates."""

    def __init__(
        self,
        world: World,
        events: Events,
        fates: Fates,
        routing: Routing,
        incidents: Incidents,
        member: Member,
        provider: Provider,
    ) -> None:
        self._world = world
        self._events = events
        self._fates = fates
        self._routing = routing
        self._incidents = incidents
        self._member = member
        self._provider = provider
        self._letters = 0

    def look(self) -> None:
        """See what has become of the events. Raises `BrokenPromise` if one was broken by now."""
        self._provider.lose_what_is_too_late()
        letters = self._member.kafka.dead_letters
        for letter in letters[self._letters :]:
            self._check_letter(letter)
        self._letters = len(letters)
        if self._member.task.committed is not None:
            self._account()
            self._check_group_offset()
        self._world.check()

    def _check_letter(self, letter: DeadLetter) -> None:
        key = self._events.key_of[letter.record.offset]
        covers = self._events.between(key, letter.first_offset, letter.last_offset)
        self._fates.dead.update(covers)
        self._fates.dead_keys.add(key)
        if letter.error_class.startswith("rejected") and key not in self._fates.own_fault:
            self._world.breaks("a revoked key costs no dead letter", f"{letter.error_class}: {covers}")
        if letter.first_offset == ELSEWHERE:
            return  # it was to be told again, and is dead-lettered as what it is: one that was told
        if letter.error_class == "given_up":
            owed_for = self._world.loop.time() - min(self._events.produced_at[offset] for offset in covers)
            if owed_for < GIVE_UP:
                self._world.breaks("nothing is given up early", f"after {owed_for:.1f} s: {covers}")
        # What was suppressed into an incident that the alert has left is not counted into what it then owes.
        if letter.occurrences > len(covers) or (letter.occurrences < len(covers) and not self._routing.has_changed):
            what = f"{letter.occurrences}, not {len(covers)}: {covers}"
            self._world.breaks("a dead letter counts its occurrences", what)

    def _account(self) -> None:
        """An event that is not owed any more was suppressed, into what the provider has or into nothing."""
        memory, fates = self._member.memory, self._fates
        candidates = self._candidates(memory)
        memory.owed = set(filter(self._is_owed, candidates))
        held = set(filter(self._is_held, candidates - memory.owed))
        fates.muted = (fates.muted - candidates) | held
        memory.waiting = set(held)
        for offset in candidates - memory.owed - fates.told - memory.dying - held:
            self._account_suppressed(memory, offset)
        fates.waiting = memory.waiting

    def _candidates(self, memory: Memory) -> set[int]:
        """The events that were decided since the last look, or of which it was not clear then what becomes of them."""
        position, key_of = memory.task.position, self._events.key_of
        if memory.decided < 0:
            memory.decided = position
            before = {offset for offset in key_of if offset < position}
            memory.waiting = self._fates.waiting & set(range(position))
            memory.owed = set(filter(self._is_owed, before))
            memory.waiting |= set(filter(self._is_held, self._fates.silent & set(range(position))))
        fresh = {offset for offset in range(memory.decided, position) if offset in key_of}
        memory.decided = position
        return memory.owed | fresh | memory.waiting

    def _account_suppressed(self, memory: Memory, offset: int) -> None:
        fates, key = self._fates, self._events.key_of[offset]
        alert, open_at = self._member.alert(key), self._open_in_use(key)
        if offset in fates.silent and open_at is None and self._may_be_gone(offset):
            fates.seen.add(offset)
        elif key in fates.overflowed and (alert is None or not alert.is_at_provider):
            fates.seen.add(offset)  # an earlier one is dead-lettered, and this one was counted into its alert
        elif open_at is not None:
            fates.seen.add(offset)
            # A rejected update counts as told, or each further event would be one more dead letter.
            dying = {self._events.key_of[each] for each in memory.dying}
            excused = fates.unpromised | fates.overflowed | fates.dead_keys | dying
            if self._events.severity_of[offset] > open_at and key not in excused and offset not in fates.silent:
                self._world.breaks("a higher severity is told", f"event {offset}")
        elif key in fates.unpromised and alert is not None:
            # Closed by a request that landed late: to be opened again, or over by now.
            (memory.waiting if alert.status is Status.OPEN else fates.seen).add(offset)

    def _open_in_use(self, key: str) -> Severity | None:
        """The severity of the incident of this key where triggers go."""
        return self._incidents.severity(key, self._routing.in_use)

    def _is_owed(self, offset: int) -> bool:
        alert = self._member.alert(self._events.key_of[offset])
        owed = alert.owed if alert is not None else None
        return owed is not None and owed.first_offset <= offset <= owed.last_offset

    def _is_held(self, offset: int) -> bool:
        """Whether the event is silenced, and nobody has been told of it."""
        alert = self._member.alert(self._events.key_of[offset])
        held = None if alert is None or alert.is_at_provider else alert.held
        return held is not None and held.first_offset <= offset <= held.last_offset and offset in self._fates.silent

    def _may_be_gone(self, offset: int) -> bool:
        """Whether the problem of a silenced event was over: nobody needs to be told."""
        events, key, now = self._events, self._events.key_of[offset], self._world.loop.time()
        if events.last_end.get(key, 0.0) >= events.produced_at[offset]:
            return True
        last = max(events.produced_at[each] for each in events.of(key) if each < self._member.task.position)
        return now - last >= QUIET

    def _check_group_offset(self) -> None:
        committed, memory = self._member.task.committed, self._member.memory
        if committed is not None:
            # What was silenced holds no offset back.
            owed_by_the_state = self._fates.silent & (memory.owed | memory.dying)
            passed = {offset for offset in self._events.key_of if offset < committed.offset} - self._fates.accounted
            passed -= owed_by_the_state
            if passed:
                what = f"{committed.offset} > {sorted(passed)}"
                self._world.breaks("the group's offset passes no event that is lost", what)
