"""Everything about one dedup key at one provider, and what of it must not be."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.dlq.dead_letter import DeadLetter
from providers.sandbox import Incident, JournalEntry
from state.alert import Alert
from tests.chaos.finding import END_REJECTED, LANDED_LATE, LANDED_UNSEEN, SHARED_ID, UNHEARD, Finding
from tests.chaos.happened import REJECTING, Refusal, Rotation
from tests.chaos.lives import lives
from tests.chaos.reader import Event
from tests.chaos.setting import QUIET_SECONDS, TIMEOUT_SECONDS
from tests.chaos.silences import SilenceRecord, Silences

UNDECIDED_SECONDS = 6.0
"""A resolve may leave although an event came in less than 5 s before (design section 6), and takes a moment."""

EDGE_SECONDS = 3.0
"""So near to the end of a silence it is open whether an end of the problem came before it."""

OPENING = {"pagerduty": "trigger", "opsgenie": "create"}
ENDING = {"pagerduty": "resolve", "opsgenie": "close"}


@dataclass(slots=True)
class Problem:
    """Everything about one dedup key at one provider."""

    provider: str
    key: str
    events: list[Event]
    ends: list[Event]
    history: Sequence[Alert | None]
    incidents: list[Incident]
    entries: list[JournalEntry]
    letters: Sequence[DeadLetter]
    acked: Mapping[str, float]
    shared: Sequence[tuple[float, float]]
    refusal: Refusal | None
    rotations: Sequence[Rotation]
    is_unheard: bool = False
    """Somebody has resolved an incident of it, and the webhook about that was lost."""
    silences: Silences = field(default_factory=Silences)
    held_up: Sequence[tuple[float, float]] = ()
    """From when to when tasks may have been unable to decide."""

    @property
    def dead(self) -> int:
        """How many events are in dead letters."""
        return sum(letter.occurrences for letter in self.letters)

    @property
    def silenced(self) -> int:
        """How many events were silenced for certain."""
        return sum(self._earliest_end(event) is not None for event in self.events)

    @property
    def owes(self) -> bool:
        """Whether it is owed still, which only what is refused may be when everything else is quiet."""
        last = self.history[-1] if self.history else None
        return self.refusal is not None and last is not None and last.owed is not None

    @property
    def end_is_rejected(self) -> bool:
        """Whether no request can end its incident, which then is not known here any more."""
        return self.refusal is not None and self.refusal.only_ends and self.refusal.rejects

    def findings(self) -> Iterator[Finding]:
        """What must not be."""
        yield from self._events_counted()
        yield from self._events_told()
        yield from self._dead_letters_right()
        yield from self._extra_incidents()
        yield from self._wrong_resolves()
        yield from self._open_at_both()
        yield from self._through_today_s_key()
        yield from self._one_at_a_time()
        if self.silences:
            yield from self._told_when_audible()
            yield from self._silent_while_silenced()

    def _finding(self, kind: str, text: str, cause: str | None = None) -> Finding:
        return Finding(kind, self.provider, self.key, text, cause)

    def _events_counted(self) -> Iterator[Finding]:
        decided = sum(life.records[-1].occurrences for life in lives(self.history))
        produced = len(self.events)
        if decided > produced:
            yield self._finding("counted_twice", f"{produced} events, the state has counted {decided}")
        elif decided + self.dead + self._may_be_over_untold() < produced and not (self.dead and self.incidents):
            # With a dead letter the state need not have seen everything: what was suppressed between two checkpoints,
            # before the trigger that ended the alert was refused.
            yield self._finding("lost", f"{produced} events, {decided} in the state, {self.dead} in dead letters")

    def _events_told(self) -> Iterator[Finding]:
        told = [life for life in lives(self.history) if life.was_told]
        if len(self.incidents) < (bool(told) if self.end_is_rejected else len(told)):
            yield self._finding("lost", f"told {len(told)} times, the provider has had {len(self.incidents)} incidents")
        must_be_told = any(self._due(run) is not None for run in self._runs())
        if must_be_told and not told and not self.dead and not self.owes:
            yield self._finding("lost", f"{len(self.events)} events, nobody was told, no dead letter")

    def _dead_letters_right(self) -> Iterator[Finding]:
        """A dead letter is of what a provider has rejected, and never because its key is not known there."""
        is_rejected = any(entry.fault is not None and entry.status in REJECTING for entry in self.entries)
        for letter in self.letters:
            if letter.stage == "deliver" and not is_rejected:
                text = f"{letter.error_class}, {letter.attempts} attempts: {letter.error}"
                yield self._finding("dead_letter", f"what nobody rejected is a dead letter: {text}")

    def _extra_incidents(self) -> Iterator[Finding]:
        by_id = {event.event_id: event for event in self.events}
        for index, incident in enumerate(self.incidents):
            if self._was_told_anew(index):
                continue
            if incident.extra is not None:
                yield self._finding("extra", f"incident {incident.number}: {incident.extra}", self._cause(index))
                continue
            if index == 0:
                continue
            before = self.incidents[index - 1]
            first, second = by_id[before.event_ids[0]], by_id[incident.event_ids[0]]
            ended = any(first.order < end.order < second.order for end in self.ends)
            earlier = max((one.sent for one in self.events if one.order < second.order), default=second.sent)
            # What a silence has held back is told by its worst event, which need not be its first.
            ended = ended or (self._may_be_silent(second) and self._was_quiet_between(first, second))
            # Decided and quiet for so long: events themselves may have been that much closer only where time was lost.
            if not ended and second.sent - earlier < QUIET_SECONDS - UNDECIDED_SECONDS:
                text = f"incident {incident.number} after {before.number}, with no end of the problem between them"
                yield self._finding("extra", text, self._cause(index))

    def _was_told_anew(self, index: int) -> bool:
        """Whether its key was retired while the problem went on: it is told once more, through today's key."""
        incident = self.incidents[index]
        if index == 0 or incident.extra not in (None, "open_elsewhere"):
            return False
        before = self.incidents[index - 1]
        was_open = before.resolved_at is None or before.resolved_at >= incident.opened_at
        return was_open and any(
            (before.key, incident.key) == (one.old, one.new) and incident.opened_at >= one.at for one in self.rotations
        )

    def _is_replaced(self, incident: Incident, at: float) -> bool:
        """Whether the problem had been told through the key that has come after this incident's, by then."""
        return any(
            incident.key == one.old and one.at <= other.opened_at <= at and other.key == one.new
            for one in self.rotations
            for other in self.incidents
        )

    def _through_today_s_key(self) -> Iterator[Finding]:
        """A key that is retired opens nothing, and what it has opened is not left open beside what came after it."""
        for incident in self.incidents:
            if any(incident.key == one.old and incident.opened_at > one.at for one in self.rotations):
                yield self._finding("extra", f"incident {incident.number} was opened by a key that is retired")
            elif incident.open and self._is_replaced(incident, math.inf):
                yield self._finding("open_sets", f"incident {incident.number} is open beside the one of today's key")

    def _cause(self, index: int) -> str | None:
        """The exception of design section 5.3 that explains the incident of this index, if one does."""
        if index == 0:
            return None
        before = self.incidents[index - 1]
        if before.ended_by == "person":
            return "a person closed it meanwhile"
        ending = self._ending(before)
        if ending is not None and before.resolved_at is not None and before.resolved_at - ending.at > TIMEOUT_SECONDS:
            return LANDED_LATE
        return LANDED_LATE if self._was_opened_late(self.incidents[index]) else None

    def _was_opened_late(self, incident: Incident) -> bool:
        """Whether the request that opened it landed when it had timed out."""
        return any(
            entry.fault == "land_late"
            and entry.action == OPENING[self.provider]
            and entry.event_id == incident.event_ids[0]
            and incident.opened_at - entry.at > TIMEOUT_SECONDS
            for entry in self.entries
        )

    def _ending(self, incident: Incident) -> JournalEntry | None:
        """The request that ended an incident, if it has ended."""
        if incident.resolved_at is None:
            return None
        ending = [
            entry
            for entry in self.entries
            if entry.action == ENDING[self.provider] and entry.applied and entry.key == incident.key
            if entry.at <= incident.resolved_at
        ]
        landed = [entry for entry in ending if entry.fault == "land_late"]
        endings = landed or ending
        return endings[-1] if endings else None

    def _wrong_resolves(self) -> Iterator[Finding]:
        for incident in self.incidents:
            if incident.ended_by != "client":
                continue
            ending = self._ending(incident)
            if ending is None or self._is_replaced(incident, ending.at):
                continue
            for event in self.events:
                known = self.acked.get(event.event_id, event.sent)
                is_live = ending.at - QUIET_SECONDS < event.sent and known < ending.at - UNDECIDED_SECONDS
                if is_live and self._is_held_behind_an_end(event):
                    continue  # it is silenced after the answer to the resolve, and lives on in silence
                if is_live and not any(end.order > event.order and end.sent <= ending.at for end in self.ends):
                    text = (
                        f"incident {incident.number} resolved {ending.at - event.sent:.1f} s after event "
                        f"{event.partition}/{event.offset}, which no end followed"
                    )
                    yield self._finding("wrong_resolve", text)
                    break

    def _open_at_both(self) -> Iterator[Finding]:
        known = self.history[-1] if self.history else None
        is_open = [incident for incident in self.incidents if incident.open]
        if known is None and is_open:
            cause = LANDED_LATE if self._was_opened_late(is_open[0]) else None
            if cause is None and self._landed_before_a_rejection():
                cause = LANDED_UNSEEN
            if cause is None and self.end_is_rejected:
                cause = END_REJECTED
            yield self._finding("open_sets", f"incident {is_open[0].number} is open, the state has no alert", cause)
        elif known is not None and not is_open and not (known.last_notified is None and (self.dead or self.owes)):
            # (One whose trigger was rejected is kept for its end where the provider might have had it.)
            cause = None
            if self.incidents and (last := self.incidents[-1]).resolved_at is not None:
                ending = self._ending(last)
                if ending is not None and last.resolved_at - ending.at > 2 * TIMEOUT_SECONDS:
                    cause = LANDED_LATE
                if last.ended_by == "person" and self.is_unheard:
                    cause = UNHEARD
            yield self._finding("open_sets", f"the state has it {known.status.value}, the provider has none", cause)

    # silences

    def _latest_end(self, event: Event) -> float | None:
        """Until when the event may be silenced, at most; None if it cannot be."""
        ends = [self.silences.latest_end(one, event.sent) for one in self._silences_of(event)]
        return max((end for end in ends if end is not None), default=None)

    def _earliest_end(self, event: Event) -> float | None:
        """Until when the event is silenced, at least; None if it need not be."""
        ends = [self.silences.earliest_end(one, event.sent) for one in self._silences_of(event)]
        return max((end for end in ends if end is not None), default=None)

    def _silences_of(self, event: Event) -> Sequence[Sequence[SilenceRecord]]:
        return self.silences.of(self.provider, event.guard, event.session, is_critical=event.is_critical)

    def _may_be_silent(self, event: Event) -> bool:
        return self._latest_end(event) is not None

    def _end_after(self, event: Event) -> Event | None:
        """The first end of the problem behind an event."""
        return min((end for end in self.ends if end.order > event.order), key=lambda end: end.order, default=None)

    def _runs(self) -> list[list[Event]]:
        """The events, with a cut wherever the problem was over between two of them, or may have been."""
        runs: list[list[Event]] = []
        for event in self.events:
            before = runs[-1][-1] if runs else None
            if before is None or self._was_over_between(before, event):
                runs.append([])
            runs[-1].append(event)
        return runs

    def _was_over_between(self, before: Event, event: Event) -> bool:
        is_quiet = event.sent - before.sent >= QUIET_SECONDS - UNDECIDED_SECONDS
        return is_quiet or any(before.order < end.order < event.order for end in self.ends)

    def _was_quiet_between(self, first: Event, second: Event) -> bool:
        between = [one for one in self.events if first.order <= one.order <= second.order]
        return any(self._was_over_between(one, other) for one, other in itertools.pairwise(between))

    def _due(self, run: Sequence[Event]) -> float | None:
        """Up to when somebody must have been told of a run's problem, which then is not over: when its last event came
        that no silence can keep silent, or else when its silences have ended, if it lives on then. None: nobody need
        be told."""
        last = run[-1]
        heard = [event for event in run if not self._may_be_silent(event)]
        if heard:
            return heard[-1].sent
        over = max(until for event in run if (until := self._latest_end(event)) is not None)
        end = self._end_after(last)
        is_live = over - last.sent < QUIET_SECONDS - EDGE_SECONDS
        # Behind a hold-up the end of the problem is decided with what came before it, before the end of the silences.
        return over if is_live and (end is None or end.sent > self._decided_by(over) + EDGE_SECONDS) else None

    def _decided_by(self, at: float) -> float:
        """When all that was recorded by then was decided, at the latest."""
        for begun, over in sorted(self.held_up):
            if begun <= at < over:
                at = over
        return at

    def _may_be_over_untold(self) -> int:
        """How many events are in runs of which nobody need be told: their alert may have come and gone between two
        checkpoints."""
        return sum(len(run) for run in self._runs() if self._due(run) is None)

    def _told_when_audible(self) -> Iterator[Finding]:
        """What no silence keeps silent is told, and what lives on at the end of its silences."""
        if self.dead or self.refusal is not None or any(one.ended_by == "person" for one in self.incidents):
            return
        for run in self._runs():
            due = self._due(run)
            if due is not None and not any(one.resolved_at is None or one.resolved_at > due for one in self.incidents):
                text = (
                    f"{len(run)} events from {run[0].partition}/{run[0].offset} on, due at {due:.3f}, were told nobody"
                )
                yield self._finding("lost", text)

    def _silent_while_silenced(self) -> Iterator[Finding]:
        """What is silenced tells nobody before the end of its silences, and never if it is over by then."""
        by_id = {event.event_id: event for event in self.events}
        for entry in self.entries:
            event = by_id.get(entry.event_id or "")
            if event is None or entry.action != OPENING[self.provider]:
                continue
            over = self._earliest_end(event)
            if over is None:
                continue
            what = f"request {entry.number} tells event {event.partition}/{event.offset}"
            if entry.at < over:
                yield self._finding("extra", f"{what} {over - entry.at:.3f} s before the end of its silences")
            elif self._is_over_by(event, over):
                yield self._finding("extra", f"{what}, whose problem was over at the end of its silences")

    def _is_over_by(self, event: Event, over: float) -> bool:
        """Whether the problem of a silenced event was over when its silences had ended, for certain."""
        end, latest = self._end_after(event), self._latest_end(event)
        if end is not None and end.sent < over - EDGE_SECONDS:
            return True
        is_last = not any(
            event.order < other.order and other.sent < (latest or over) + EDGE_SECONDS for other in self.events
        )
        return is_last and over - event.sent > QUIET_SECONDS + EDGE_SECONDS

    def _is_held_behind_an_end(self, event: Event) -> bool:
        """Whether silences may have kept all silent since the problem was over last: then a resolve of before that, or
        its repetition, is right."""
        after: Event | None = None
        for one in reversed([other for other in self.events if other.order <= event.order]):
            if after is not None and self._was_over_between(one, after):
                return True
            if not self._may_be_silent(one):
                return False
            after = one
        return False

    def _landed_before_a_rejection(self) -> bool:
        """Whether nobody here ever knew of the incident: its trigger landed unseen, and was rejected when repeated."""
        was_told = any(life.was_told for life in lives(self.history))
        landed = [entry for entry in self.entries if entry.action == OPENING[self.provider] and entry.applied]
        return bool(self.dead) and not was_told and not any(entry.status in (200, 202) for entry in landed)

    def _one_at_a_time(self) -> Iterator[Finding]:
        """Two requests that were both answered, of which the second came before the answer of the first."""
        if self.provider != "pagerduty":
            return
        answered = [entry for entry in self.entries if entry.answered_monotonic is not None]
        for before, after in itertools.pairwise(answered):
            assert before.answered_monotonic is not None
            if before.fault != "land_late" and after.monotonic < before.answered_monotonic:
                text = f"requests {before.number} and {after.number} were on the wire together"
                had_two_owners = any(begun <= before.at <= over for begun, over in self.shared)
                yield self._finding("overlap", text, SHARED_ID if had_two_owners else None)
