"""The closing account: of every alertable event, what has become of it, and of every incident, why it was there.

It is read from outside: the input, the history of the state topics (nothing in them is compacted within a run), the
dead letters, the group's offsets, and the sandbox. None of it is what the service says of itself in its log.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from consumer.dlq.dead_letter import DeadLetter
from providers.sandbox import Incident, JournalEntry, Sandbox
from tests.chaos.finding import Finding
from tests.chaos.happened import Happened
from tests.chaos.keying import dedup_key, ends_of, is_of, session_of
from tests.chaos.problem import Problem
from tests.chaos.reader import Event, Reader
from tests.chaos.silences import Silences


@dataclass(slots=True)
class Account:
    """What was found when the run was quiet."""

    alertable: int = 0
    incidents: int = 0
    dead_letters: int = 0
    silenced: int = 0
    """How many events were silenced for certain, at one provider or another."""
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
    silences = Silences(reader.silences, happened.deaf)
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
        entries: dict[str, list[JournalEntry]] = defaultdict(list)
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
            problem = Problem(
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
                silences=silences,
                held_up=[(one.begun, one.over) for one in happened.windows if one.provider is None],
                is_unheard=(provider, key) in happened.unheard,
            )
            account.findings += problem.findings()
            account.silenced += problem.silenced
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
