"""The closing account: of every alertable event, what has become of it, and of every incident, why it was there.

It is read from outside: the input, the history of the state topics (nothing in them is compacted within a run), the
dead letters, the group's offsets, and the sandbox. None of it is what the service says of itself in its log.
"""

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumer.deadletter import DeadLetter
from consumer.deadletter import decode as decode_dead_letter
from providers.sandbox import Entry, Incident, Sandbox
from state.alert import Alert, Status
from state.records import CHECKPOINT_KEY, decode_alert
from tests.chaos.setting import QUIET_SECONDS, TIMEOUT_SECONDS
from tests.support.kafka import group_offsets, running
from tests.support.service import World

ALERTABLE = ("high", "critical")

UNDECIDED_SECONDS = 6.0
"""A resolve may leave although an event came in less than 5 s before (design section 6), and takes a moment."""

LANDED_LATE = "a request that had timed out landed late"
LANDED_UNSEEN = "a trigger of a member that died landed, and was rejected when repeated"
SHARED_ID = "two members had one group_instance_id"

OPENING = {"pagerduty": "trigger", "opsgenie": "create"}
ENDING = {"pagerduty": "resolve", "opsgenie": "close"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, or (`cause` given) what is excused: the two exceptions of design section 5.3, and an
    incident that nobody here could know of."""

    kind: str
    provider: str
    dedup_key: str
    text: str
    cause: str | None = None

    def __str__(self) -> str:
        cause = f" [{self.cause}]" if self.cause is not None else ""
        return f"{self.kind}: {self.provider} {self.dedup_key}: {self.text}{cause}"


@dataclass(slots=True)
class Event:
    """One record of the input that is about an alert: an alertable event, or (no guard) the end of its session."""

    event_id: str
    guard: str | None
    session: str
    partition: int
    offset: int
    sent: float


@dataclass(slots=True)
class Life:
    """One alert from its first record in the state topic to its tombstone, or to now."""

    records: list[Alert] = field(default_factory=list)
    is_over: bool = False

    @property
    def was_told(self) -> bool:
        return any(alert.told is not None for alert in self.records)


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


class Reader:
    """What is in the topics, read on from where it was last read."""

    def __init__(self, world: World, providers: Sequence[str]) -> None:
        self.providers = providers
        self.events: list[Event] = []
        self.poison: list[tuple[int, int]] = []
        self.dead_letters: list[DeadLetter] = []
        self.history: dict[str, dict[str, list[Alert | None]]] = {one: defaultdict(list) for one in providers}
        self.ends: dict[TopicPartition, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        # The world reads its configuration anew for each name.
        self._servers, self._input, self._dlq = world.bootstrap_servers, world.events, world.dlq
        self._groups = {one: world.group(one) for one in providers}
        self._state_of = {world.state(one): one for one in providers}
        self._partitions = [
            *(TopicPartition(topic, n) for topic in (self._input, *self._state_of) for n in range(world.partitions)),
            TopicPartition(self._dlq, 0),
        ]

    async def read_on(self) -> None:
        """Read everything that has been committed since."""
        partitions = self._partitions
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )
        async with running(consumer):
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, self._positions.get(partition, 0))
            ends = await consumer.end_offsets(partitions)
            self.ends = {tp: end for tp, end in ends.items() if tp.topic == self._input}
            while behind := [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
                # Few at a time: the sandbox and the proxies answer in the same event loop.
                for tp, records in (await consumer.getmany(*behind, timeout_ms=200, max_records=500)).items():
                    for record in records:
                        self._take(record)
                    self._positions[tp] = records[-1].offset + 1
                await asyncio.sleep(0)
            self._positions = {tp: await consumer.position(tp) for tp in partitions}

    def _take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if record.topic == self._input:
            self._take_event(record)
        elif record.topic == self._dlq:
            self.dead_letters.append(decode_dead_letter(record.key, record.value, record.headers))
        elif record.key != CHECKPOINT_KEY:
            alert = None if record.value is None else decode_alert(record.key, record.value)
            self.history[self._state_of[record.topic]][record.key.decode()].append(alert)

    def _take_event(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if b'"allowed":true' in record.value and b'"session_end"' not in record.value:
            return  # most are; it is about no alert
        try:
            fields = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            self.poison.append((record.partition, record.offset))
            return
        decision, session = fields["decision"], fields["session"]["id"]
        guard = None
        if not decision["allowed"] and decision["severity"] in ALERTABLE:
            guard = decision["guard"]
        elif fields["event_type"] != "session_end":
            return
        self.events.append(
            Event(fields["event_id"], guard, session, record.partition, record.offset, record.timestamp / 1000)
        )

    async def is_quiet(self) -> str | None:
        """What is still to be done, None if nothing is: offsets at the end, nothing owed, nothing being resolved."""
        await self.read_on()
        for provider in self.providers:
            try:
                offsets = await group_offsets(self._servers, self._groups[provider])
            except KafkaError as error:
                return f"{provider}: {error!r}"
            for partition, end in self.ends.items():
                offset = offsets[partition].offset if partition in offsets else 0
                if offset != end and end > 0:
                    return f"{provider}: partition {partition.partition} is committed up to {offset} of {end}"
            for key, alert in self.open_alerts(provider).items():
                if alert.owed is not None or alert.status is Status.RESOLVING:
                    return f"{provider}: {key} is {alert.status.value}, owes {alert.owed}"
        return None

    def open_alerts(self, provider: str) -> dict[str, Alert]:
        """The alerts as the last checkpoints have them."""
        return {key: last for key, alerts in self.history[provider].items() if (last := alerts[-1]) is not None}


def take_account(
    reader: Reader,
    sandbox: Sandbox,
    acked: Mapping[str, float],
    prefix: str,
    *,
    shared: Sequence[tuple[float, float]] = (),
) -> Account:
    """The account of all sessions whose name begins with ``prefix``.

    ``shared`` is from when to when two members used one ``group_instance_id``: each may be the owner for Kafka then,
    and what the other had sent is still on the wire.
    """
    account = Account()
    ends: dict[str, list[Event]] = defaultdict(list)
    for event in reader.events:
        if event.guard is None:
            ends[event.session].append(event)
    for provider in reader.providers:
        produced: dict[str, list[Event]] = defaultdict(list)
        for event in reader.events:
            if event.guard is not None and event.session.startswith(prefix):
                produced[dedup_key(provider, event)].append(event)
        incidents: dict[str, list[Incident]] = defaultdict(list)
        for incident in sandbox.incidents(provider):
            if _is_of(incident.dedup_key, provider, prefix):
                incidents[incident.dedup_key].append(incident)
        entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in sandbox.requests(provider):
            if entry.dedup_key is not None and _is_of(entry.dedup_key, provider, prefix):
                entries[entry.dedup_key].append(entry)
        account.alertable += sum(map(len, produced.values()))
        account.incidents += sum(map(len, incidents.values()))
        dead: Counter[str] = Counter()
        for letter in reader.dead_letters:
            if letter.provider == provider and letter.stage != "decode":
                fields = orjson.loads(letter.record.value or b"")
                event = Event("", fields["decision"]["guard"], fields["session"]["id"], 0, 0, 0)
                dead[dedup_key(provider, event)] += letter.occurrences
        for key in produced.keys() | incidents.keys() | reader.history[provider].keys():
            if not _is_of(key, provider, prefix):
                continue
            problem = _Problem(
                provider=provider,
                key=key,
                events=produced.get(key, []),
                ends=ends[produced[key][0].session] if key in produced else [],
                history=reader.history[provider].get(key, []),
                incidents=incidents.get(key, []),
                entries=entries.get(key, []),
                dead=dead[key],
                acked=acked,
                shared=shared,
            )
            account.findings += problem.findings()
    account.findings += _dead_letter_findings(reader)
    account.dead_letters = len(reader.dead_letters)
    return account


def dedup_key(provider: str, event: Event) -> str:
    """The key by the default template. (Nothing in the generated names has to be escaped.)"""
    if provider == "pagerduty":
        return f"{event.guard}:{event.session}"
    return f"clawdstrike-{event.guard}-{event.session}"


def _is_of(key: str, provider: str, prefix: str) -> bool:
    return f":{prefix}" in key if provider == "pagerduty" else f"-{prefix}" in key


def lives(history: Sequence[Alert | None]) -> list[Life]:
    """The lives of a dedup key. Without a tombstone between them, a new one is known by its beginning."""
    found: list[Life] = []
    for alert in history:
        if alert is None:
            if found:
                found[-1].is_over = True
            continue
        if not found or found[-1].is_over or _is_new(found[-1].records[-1], alert):
            if found:
                found[-1].is_over = True
            found.append(Life())
        found[-1].records.append(alert)
    return found


def _is_new(before: Alert, after: Alert) -> bool:
    return after.first_seen > before.first_seen or after.occurrences < before.occurrences


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
    dead: int
    acked: Mapping[str, float]
    shared: Sequence[tuple[float, float]]

    def findings(self) -> Iterator[Finding]:
        """What must not be."""
        yield from self._events_counted()
        yield from self._events_told()
        yield from self._extra_incidents()
        yield from self._wrong_resolves()
        yield from self._open_at_both()
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
        if len(self.incidents) < len(told):
            yield self._finding("lost", f"told {len(told)} times, the provider has had {len(self.incidents)} incidents")
        if self.events and not told and not self.dead:
            yield self._finding("lost", f"{len(self.events)} events, nobody was told, no dead letter")

    def _extra_incidents(self) -> Iterator[Finding]:
        by_id = {event.event_id: event for event in self.events}
        for index, incident in enumerate(self.incidents):
            if incident.extra is not None:
                yield self._finding("extra", f"incident {incident.number}: {incident.extra}", self._cause(index))
                continue
            if index == 0:
                continue
            before = self.incidents[index - 1]
            first, second = by_id[before.event_ids[0]], by_id[incident.event_ids[0]]
            ended = any(first.offset < end.offset < second.offset for end in self.ends)
            earlier = max((one.sent for one in self.events if one.offset < second.offset), default=second.sent)
            # Decided and quiet for so long: events themselves may have been that much closer only where time was lost.
            if not ended and second.sent - earlier < QUIET_SECONDS - UNDECIDED_SECONDS:
                text = f"incident {incident.number} after {before.number}, with no end of the problem between them"
                yield self._finding("extra", text, self._cause(index))

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
            if entry.action == ENDING[self.provider] and entry.applied and entry.at <= incident.resolved_at
        ]
        landed = [entry for entry in ending if entry.fault == "land_late"]
        return (landed or ending or [None])[-1]

    def _wrong_resolves(self) -> Iterator[Finding]:
        for incident in self.incidents:
            if incident.ended_by != "client":
                continue
            ending = self._ending(incident)
            if ending is None:
                continue
            for event in self.events:
                known = self.acked.get(event.event_id, event.sent)
                is_live = ending.at - QUIET_SECONDS < event.sent and known < ending.at - UNDECIDED_SECONDS
                if is_live and not any(end.offset > event.offset and end.sent <= ending.at for end in self.ends):
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
            yield self._finding("open_sets", f"incident {is_open[0].number} is open, the state has no alert", cause)
        elif known is not None and not is_open and not (known.told is None and self.dead):
            # (One whose trigger was rejected is kept for its end where the provider might have had it.)
            cause = None
            if self.incidents and (last := self.incidents[-1]).resolved_at is not None:
                ending = self._ending(last)
                if ending is not None and last.resolved_at - ending.at > 2 * TIMEOUT_SECONDS:
                    cause = LANDED_LATE
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
    letters = Counter(
        (letter.provider, letter.stage, letter.record.partition, letter.record.offset) for letter in reader.dead_letters
    )
    for (provider, stage, partition, offset), count in letters.items():
        if count > 1:
            yield Finding("dead_letter_twice", provider, f"{partition}/{offset}", f"{count} of stage {stage}")
    for provider in reader.providers:
        for partition, offset in reader.poison:
            if not letters[provider, "decode", partition, offset]:
                yield Finding("lost", provider, f"{partition}/{offset}", "poison without a dead letter")


def trace(reader: Reader, sandbox: Sandbox, provider: str, key: str) -> str:
    """Everything that is known about one dedup key, for whoever looks for a cause."""
    lines = [f"{provider} {key}", "events:"]
    lines += [
        f"  {event.partition}/{event.offset} {event.sent:.3f} {event.guard or 'END'} {event.event_id}"
        for event in reader.events
        if key.endswith(event.session) and (event.guard is None or dedup_key(provider, event) == key)
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


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the first event of a problem waited for its request to take effect."""

    known: float
    told: float


def waits(reader: Reader, sandbox: Sandbox, acked: Mapping[str, float], prefix: str) -> list[Wait]:
    """The waits of all problems of the sessions whose name begins with ``prefix``."""
    first: dict[tuple[str, str], float] = {}
    for provider in reader.providers:
        for event in reader.events:
            if event.guard is not None and event.session.startswith(prefix):
                first.setdefault((provider, dedup_key(provider, event)), acked.get(event.event_id, event.sent))
    told: dict[tuple[str, str], float] = {}
    for entry in sandbox.requests():
        if entry.applied and entry.provider is not None and entry.dedup_key is not None:
            told.setdefault((entry.provider, entry.dedup_key), entry.at)
    return [Wait(known, told[problem]) for problem, known in first.items() if problem in told]


def recovery_seconds(waits: Sequence[Wait], begun: float, over: float) -> float:
    """How long after a fault was over the last problem was told that was late because of it, as far as can be seen."""
    late = [one.told - over for one in waits if begun - 1 <= one.known <= over + 20 and one.told - one.known > 1.5]
    return max(0.0, *late) if late else 0.0
