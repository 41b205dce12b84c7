"""The closing account: of every alertable event, what has become of it, and of every incident, why it was there.

It is read from outside: the input, the history of the state topics (nothing in them is compacted within a run), the
dead letters, the group's offsets, and the sandbox. None of it is what the service says of itself in its log.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from consumer.dlq.dead_letter import DeadLetter
from providers.sandbox import Entry, Incident, Sandbox
from state.alert import Alert
from tests.chaos.happened import REJECTING, Happened, Refusal, Rendering, Rotation
from tests.chaos.keying import dedup_key, ends_of, is_of, session_of
from tests.chaos.lives import lives
from tests.chaos.reader import Event, Reader
from tests.chaos.setting import QUIET_SECONDS, TIMEOUT_SECONDS

UNDECIDED_SECONDS = 6.0
"""A resolve may leave although an event came in less than 5 s before (design section 6), and takes a moment."""

LANDED_LATE = "a request that had timed out landed late"
LANDED_UNSEEN = "a trigger of a member that died landed, and was rejected when repeated"
SHARED_ID = "two members had one group_instance_id"
UNHEARD = "a person closed it, and the webhook was lost"
END_REJECTED = "the request that ends it is rejected for ever"

OPENING = {"pagerduty": "trigger", "opsgenie": "create"}
ENDING = {"pagerduty": "resolve", "opsgenie": "close"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, or (`cause` given) what is excused: the two exceptions of design section 5.3, an
    incident that nobody here could know of, and one whose end is rejected for ever. (Poison has no dedup key.)"""

    kind: str
    provider: str
    dedup_key: str
    text: str
    cause: str | None = None

    def __str__(self) -> str:
        cause = f" [{self.cause}]" if self.cause is not None else ""
        return f"{self.kind}: {self.provider} {self.dedup_key}: {self.text}{cause}"


@dataclass(slots=True)
class Account:
    """What was found when the run was quiet."""

    alertable: int = 0
    incidents: int = 0
    dead_letters: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, *kinds: str) -> int:
        """How many findings of these kinds have no cause that excuses them."""
        return sum(finding.kind in kinds and finding.cause is None for finding in self.findings)

    def excused(self) -> Counter[str]:
        """The extra incidents that the design allows, by cause."""
        return Counter(finding.cause for finding in self.findings if finding.cause is not None)


def take_account(
    reader: Reader,
    sandbox: Sandbox,
    acked: Mapping[str, float],
    prefix: str,
    happened: Happened | None = None,
) -> Account:
    """The account of all sessions whose name begins with ``prefix``."""
    happened = happened or Happened()
    account = Account()
    ends: dict[str, list[Event]] = defaultdict(list)
    for event in reader.events:
        if event.guard is None:
            ends[event.session].append(event)
    for provider in reader.providers:
        produced: dict[str, list[Event]] = defaultdict(list)
        for event in reader.events:
            if event.guard is not None and event.session.startswith(prefix):
                produced[dedup_key(provider, event, happened.renderings)].append(event)
        for events in produced.values():
            events.sort(key=lambda event: event.order)
        incidents: dict[str, list[Incident]] = defaultdict(list)
        for incident in sandbox.incidents(provider):
            if is_of(incident.dedup_key, provider, prefix):
                incidents[incident.dedup_key].append(incident)
        entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in sandbox.requests(provider):
            if entry.dedup_key is not None and is_of(entry.dedup_key, provider, prefix):
                entries[entry.dedup_key].append(entry)
        account.alertable += sum(map(len, produced.values()))
        account.incidents += sum(map(len, incidents.values()))
        letters: dict[str, list[DeadLetter]] = defaultdict(list)
        for letter in reader.dead_letters:
            if letter.provider == provider and letter.stage != "decode":
                fields = orjson.loads(letter.record.value or b"")
                sent = letter.record.timestamp / 1000
                event = Event("", fields["decision"]["guard"], fields["session"]["id"], 0, 0, sent)
                letters[dedup_key(provider, event, happened.renderings)].append(letter)
        for key in produced.keys() | incidents.keys() | reader.history[provider].keys():
            if not is_of(key, provider, prefix):
                continue
            problem = _Problem(
                provider=provider,
                key=key,
                events=produced.get(key, []),
                ends=ends_of(key, provider, ends[session_of(key, provider)], happened.renderings),
                history=reader.history[provider].get(key, []),
                incidents=incidents.get(key, []),
                entries=entries.get(key, []),
                letters=letters.get(key, []),
                acked=acked,
                shared=happened.shared,
                refusal=happened.refusal(session_of(key, provider)),
                rotations=[one for one in happened.rotations if one.provider == provider],
                is_unheard=(provider, key) in happened.unheard,
            )
            account.findings += problem.findings()
    account.findings += _dead_letter_findings(reader)
    account.dead_letters = len(reader.dead_letters)
    return account


def told_again(
    reader: Reader, sandbox: Sandbox, prefix: str, since: float, may_owe: Collection[str] = ()
) -> Iterator[Finding]:
    """Incidents that were opened since then for other sessions than those of this prefix, which were told long before.

    What the sessions ``may_owe`` have to be told of waits for a later attempt.
    """
    for provider in reader.providers:
        for incident in sandbox.incidents(provider):
            key = incident.dedup_key
            if incident.opened_at < since or is_of(key, provider, prefix) or session_of(key, provider) in may_owe:
                continue
            yield Finding("extra", provider, key, f"incident {incident.number} tells again what was told long before")


@dataclass(slots=True)
class _Problem:
    """Everything about one dedup key at one provider."""

    provider: str
    key: str
    events: list[Event]
    ends: list[Event]
    history: Sequence[Alert | None]
    incidents: list[Incident]
    entries: list[Entry]
    letters: Sequence[DeadLetter]
    acked: Mapping[str, float]
    shared: Sequence[tuple[float, float]]
    refusal: Refusal | None
    rotations: Sequence[Rotation]
    is_unheard: bool = False
    """Somebody has resolved an incident of it, and the webhook about that was lost."""

    @property
    def dead(self) -> int:
        """How many events are in dead letters."""
        return sum(letter.occurrences for letter in self.letters)

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

    def _finding(self, kind: str, text: str, cause: str | None = None) -> Finding:
        return Finding(kind, self.provider, self.key, text, cause)

    def _events_counted(self) -> Iterator[Finding]:
        decided = sum(life.records[-1].occurrences for life in lives(self.history))
        produced = len(self.events)
        if decided > produced:
            yield self._finding("counted_twice", f"{produced} events, the state has counted {decided}")
        elif decided + self.dead < produced and not (self.dead and self.incidents):
            # With a dead letter the state need not have seen everything: what was suppressed between two checkpoints,
            # before the trigger that ended the alert was refused.
            yield self._finding("lost", f"{produced} events, {decided} in the state, {self.dead} in dead letters")

    def _events_told(self) -> Iterator[Finding]:
        told = [life for life in lives(self.history) if life.was_told]
        if len(self.incidents) < (bool(told) if self.end_is_rejected else len(told)):
            yield self._finding("lost", f"told {len(told)} times, the provider has had {len(self.incidents)} incidents")
        if self.events and not told and not self.dead and not self.owes:
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

    def _ending(self, incident: Incident) -> Entry | None:
        """The request that ended an incident."""
        assert incident.resolved_at is not None
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
        elif known is not None and not is_open and not (known.told is None and (self.dead or self.owes)):
            # (One whose trigger was rejected is kept for its end where the provider might have had it.)
            cause = None
            if self.incidents and (last := self.incidents[-1]).resolved_at is not None:
                ending = self._ending(last)
                if ending is not None and last.resolved_at - ending.at > 2 * TIMEOUT_SECONDS:
                    cause = LANDED_LATE
                if last.ended_by == "person" and self.is_unheard:
                    cause = UNHEARD
            yield self._finding("open_sets", f"the state has it {known.status.value}, the provider has none", cause)

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


def _dead_letter_findings(reader: Reader) -> Iterator[Finding]:
    places = ((letter, letter.record) for letter in reader.dead_letters)
    letters = Counter(
        (letter.provider, letter.stage, one.topic, one.partition, one.offset, one.timestamp) for letter, one in places
    )
    for (provider, stage, _, partition, offset, _), count in letters.items():
        if count > 1:
            text = f"{count} dead letters of {partition}/{offset}, stage {stage}"
            yield Finding("dead_letter_twice", provider, "", text)
    for provider in reader.providers:
        for place in reader.poison:
            if not letters[provider, "decode", *place]:
                _, partition, offset, _ = place
                yield Finding("lost", provider, "", f"poison at {partition}/{offset} without a dead letter")


def trace(reader: Reader, sandbox: Sandbox, provider: str, key: str, renderings: Sequence[Rendering] = ()) -> str:
    """Everything that is known about one dedup key, for whoever looks for a cause."""
    lines = [f"{provider} {key}", "events:"]
    lines += [
        f"  {event.partition}/{event.offset} {event.sent:.3f} {event.guard or 'END'} {event.event_id}"
        for event in reader.events
        if event.session == session_of(key, provider)
        if event.guard is None or dedup_key(provider, event, renderings) == key
    ]
    lines.append("state:")
    for alert in reader.history[provider].get(key, []):
        if alert is None:
            lines.append("  gone")
            continue
        owed = alert.owed
        owes = "nothing" if owed is None else f"{owed.first_offset}…{owed.last_offset} x{owed.attempts} {owed.repeat=}"
        lines.append(
            f"  {alert.status.value} {alert.occurrences} decided {alert.decided:.3f} has={alert.has} "
            f"unsettled={alert.unsettled} told={alert.told} owes {owes}"
        )
    lines.append("requests:")
    lines += [
        f"  {entry.number} {entry.at:.3f} {entry.action} {entry.event_id} {entry.fault or ''} applied={entry.applied} "
        f"{entry.status}"
        for entry in sandbox.requests(provider, dedup_key=key)
    ]
    lines.append("incidents:")
    lines += [
        f"  {one.number} {one.opened_at:.3f}…{one.resolved_at} {one.status} {one.extra or ''}"
        for one in sandbox.incidents(provider, dedup_key=key)
    ]
    return "\n".join(lines)
