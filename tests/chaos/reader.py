"""What is in the topics: the events, what the state has said of each alert, the dead letters, the group's offsets.

The topics may change meanwhile: more partitions (`Reader.partitions`), other events under the same name
(`Reader.input_is_new`), a stage before a provider (`Reader.stage_comes`, `Reader.stage_goes`).
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumer.dlq.dead_letter import DeadLetter
from consumer.dlq.dead_letter import decode as decode_dead_letter
from consumer.feedback.moves import HandOver, decode_move, is_move
from consumer.history.step import Step
from consumer.history.step import decode as decode_step
from consumer.kafka.watermarks import all_watermarks
from consumer.replay.replayed import decode_mark
from state.alert import Alert, Status
from state.held import is_silenced
from state.records import CHECKPOINT_KEY, decode_alert, decode_position
from tests.chaos.lives import joined
from tests.chaos.silences import SilenceRecord, silence_record
from tests.support.kafka import group_offsets, running
from tests.support.service import World

ALERTABLE = ("high", "critical")
TRY_SECONDS = 60.0


@dataclass(slots=True)
class Event:
    """One record of the input that is about an alert: an alertable event, or (no guard) the end of its session."""

    event_id: str
    guard: str | None
    session: str
    partition: int
    offset: int
    sent: float
    is_critical: bool = False

    @property
    def order(self) -> tuple[float, int]:
        """A session's events come in this order, in whatever partitions: one producer has written them."""
        return self.sent, self.offset


class Reader:
    """What is in the topics, read on from where it was last read."""

    def __init__(self, world: World, providers: Sequence[str]) -> None:
        self.providers = providers
        self.events: list[Event] = []
        self.poison: list[tuple[str, int, int, int]] = []
        """Topic, partition, offset and timestamp."""
        self.dead_letters: list[DeadLetter] = []
        self.history: dict[str, dict[str, list[Alert | None]]] = {one: defaultdict(list) for one in providers}
        self.steps: list[Step] = []
        """What the history topic tells, in its order: it has one partition."""
        self.silences: list[SilenceRecord] = []
        """What the silences topic says, in its order: it has one partition."""
        self.homes: dict[str, dict[str, int]] = {one: {} for one in providers}
        self.decided: dict[str, dict[int, int]] = {one: {} for one in providers}
        """Up to where the last checkpoint of each partition has decided the input of a provider, or of its stage."""
        self.partitions = world.partitions
        """Of the input and of each topic that follows it, as many as there are now."""
        self.ends: dict[TopicPartition, int] = {}
        self._hides_letters = False
        """Whether a transaction that is still open, of a member that has died for example, hides dead letters."""
        self._hides_steps = False
        self._positions: dict[TopicPartition, int] = {}
        self._told: dict[tuple[str, str], dict[int, list[Alert | None]]] = defaultdict(lambda: defaultdict(list))
        """What each state partition has said of a provider's dedup key."""
        self._handed_over: dict[tuple[str, str], set[tuple[int, float]]] = defaultdict(set)
        """The partition and the beginning of each alert that was handed over."""
        self._handed_to: dict[tuple[str, str], int] = {}
        """To which partition the alert of a key was handed over last. (When is not asked: clocks of members differ.)"""
        self._changed: set[tuple[str, str]] = set()
        self._decided_in: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        # The world reads its configuration anew for each name.
        self._world = world
        self._servers, self._input, self._dlq = world.bootstrap_servers, world.events, world.dlq
        self._feedback, self._steps_topic, self._silences = world.feedback, world.history, world.silences
        self._groups = {one: world.group(one) for one in providers}
        self._state_of = {world.state(one): one for one in providers}
        self._inputs: dict[str, str] = {}
        """The topic that each provider's tasks, or those of its stage, read."""
        for provider in providers:
            self._reads(provider, self._input)

    # what changes

    def input_is_new(self) -> None:
        """The events topic is another of the same name, of which nothing has been read."""
        for partition in [tp for tp in self._positions if tp.topic == self._input]:
            del self._positions[partition]
        self.ends = {tp: end for tp, end in self.ends.items() if tp.topic != self._input}

    def stage_comes(self, provider: str) -> None:
        """From now on a provider's tasks read what its stage has forwarded. (The topics must be there.)"""
        stage = _stage(provider)
        self._groups[stage] = self._world.config.kafka.repartition_group(provider)
        self._state_of[self._world.positions(provider)] = stage
        self._reads(stage, self._input)
        self._reads(provider, self._world.keyed(provider))

    def stage_goes(self, provider: str) -> None:
        """From now on a provider's tasks read the events themselves again."""
        stage = _stage(provider)
        del self._groups[stage], self._state_of[self._world.positions(provider)], self._inputs[stage]
        self._reads(provider, self._input)

    def _reads(self, name: str, topic: str) -> None:
        self._inputs[name] = topic
        self.decided[name] = self._decided_in[name, topic]

    # what is read

    async def read_on(self) -> None:
        """Read everything that has been committed since; tried again for a while where a broker is still away."""
        end = time.monotonic() + TRY_SECONDS
        while True:
            try:
                await self._read_on()
                return
            except KafkaError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)

    async def _read_on(self) -> None:
        inputs = {self._input, *self._inputs.values()}
        topics = (*inputs, *self._state_of)
        every = [TopicPartition(topic, number) for topic in topics for number in range(self.partitions)]
        # What is forwarded is what the events are: of it only the ends are asked for.
        unread = [tp for tp in every if tp.topic in inputs and tp.topic != self._input]
        partitions = [tp for tp in every if tp not in unread]
        dead_letters = TopicPartition(self._dlq, 0)
        steps = TopicPartition(self._steps_topic, 0)
        partitions += [dead_letters, steps, *(TopicPartition(topic, 0) for topic in (self._feedback, self._silences))]
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
            reaches = await all_watermarks(consumer, [*partitions, *unread])
            ends = {tp: reach.stable for tp, reach in reaches.items()}
            self._hides_letters = reaches[dead_letters].stable < reaches[dead_letters].high
            self._hides_steps = reaches[steps].stable < reaches[steps].high
            self.ends = {tp: end for tp, end in ends.items() if tp.topic in inputs}
            while behind := [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
                # Few at a time: the sandbox and the proxies answer in the same event loop.
                for tp, records in (await consumer.getmany(*behind, timeout_ms=200, max_records=500)).items():
                    for record in records:
                        self._take(record)
                    self._positions[tp] = records[-1].offset + 1
                await asyncio.sleep(0)
            self._positions |= {tp: await consumer.position(tp) for tp in partitions}
        self._join()

    def _take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if record.topic == self._input:
            self._take_event(record)
        elif record.topic == self._dlq:
            if decode_mark(record.value, record.headers) is None:
                self.dead_letters.append(decode_dead_letter(record.key, record.value, record.headers))
        elif record.topic == self._steps_topic:
            self.steps.append(decode_step(record.value))
        elif record.topic == self._silences:
            if (silence := silence_record(record.key, record.value, record.timestamp / 1000)) is not None:
                self.silences.append(silence)
        elif record.topic == self._feedback:
            self._take_hand_over(record)
        elif record.key == CHECKPOINT_KEY:
            position = decode_position(record.value)
            self._decided_in[self._state_of[record.topic], position.topic][record.partition] = position.offset
        else:
            alert = None if record.value is None else decode_alert(record.key, record.value)
            provider, key = self._state_of[record.topic], record.key.decode()
            self._told[provider, key][record.partition].append(alert)
            self._changed.add((provider, key))
            if alert is not None:
                self.homes[provider][key] = record.partition

    def _take_hand_over(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if not is_move(record.headers):
            return
        move = decode_move(record.key, record.value, record.headers)
        if isinstance(move, HandOver) and move.alert is not None:
            what = move.sender.provider, move.dedup_key
            self._handed_over[what].add((move.sender.partition, move.alert.first_seen))
            self._handed_to[what] = move.home
            self._changed.add(what)

    def _join(self) -> None:
        """Put together what several partitions have said of the keys of which something was read."""
        for provider, key in self._changed:
            what = provider, key
            self.history[provider][key] = joined(self._told[what], self._handed_over[what], self._handed_to.get(what))
        self._changed.clear()

    def _take_event(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if b'"allowed":true' in record.value and b'"session_end"' not in record.value:
            return  # most are; it is about no alert
        try:
            fields = orjson.loads(record.value)
        except orjson.JSONDecodeError:
            self.poison.append((record.topic, record.partition, record.offset, record.timestamp))
            return
        decision, session = fields["decision"], fields["session"]["id"]
        guard = None
        if not decision["allowed"] and decision["severity"] in ALERTABLE:
            guard = decision["guard"]
        elif fields["event_type"] != "session_end":
            return
        self.events.append(
            Event(
                fields["event_id"],
                guard,
                session,
                record.partition,
                record.offset,
                record.timestamp / 1000,
                guard is not None and decision["severity"] == "critical",
            )
        )

    async def is_quiet(self, may_owe: Collection[str] = ()) -> str | None:
        """What is still to be done, None if nothing is: offsets at the end, nothing owed, nothing being resolved,
        nothing silenced.

        The alerts of the sessions ``may_owe`` are left out; what they owe holds the group's offset, and nothing else.
        """
        await self.read_on()
        for name, topic in self._inputs.items():
            try:
                offsets = await group_offsets(self._servers, self._groups[name])
            except KafkaError as error:
                return f"{name}: {error!r}"
            committed = {tp.partition: offset.offset for tp, offset in offsets.items() if tp.topic == topic}
            if (undone := self.undone(name, committed, may_owe)) is not None:
                return undone
        if self._hides_letters or self._hides_steps:
            hidden = "dead letters" if self._hides_letters else "steps of the history"
            return f"{hidden} are behind an open transaction"
        return None

    def undone(self, provider: str, committed: Mapping[int, int], may_owe: Collection[str] = ()) -> str | None:
        """The same of one provider, or of its stage, as far as it has been read; ``committed`` are the group's offsets.

        Where what is owed holds the group's offset, it does not say how far the input is decided: the checkpoint does.
        """
        held: dict[int, int] = {}
        for key, alert in self.open_alerts(provider).items():
            if is_silenced(alert):
                return f"{provider}: {key} is silenced, {alert.held}"
            if alert.session_id in may_owe:
                if alert.owed is not None and alert.owed.pins_offset is not None:
                    home = self.homes[provider][key]
                    held[home] = min(alert.owed.pins_offset, held.get(home, alert.owed.pins_offset))
            elif alert.owed is not None or alert.status is Status.RESOLVING:
                return f"{provider}: {key} is {alert.status.value}, owes {alert.owed}"
        ends = {tp.partition: end for tp, end in self.ends.items() if tp.topic == self._inputs[provider]}
        for partition, end in ((partition, end) for partition, end in ends.items() if end > 0):
            decided, offset = self.decided[provider].get(partition, 0), committed.get(partition, 0)
            wanted = held.get(partition, end)
            if decided != end:
                return f"{provider}: partition {partition} is decided up to {decided} of {end}"
            if offset != wanted:
                told = f"{offset} of {end}" if wanted == end else f"{offset} of {end}, what is owed holds {wanted}"
                return f"{provider}: partition {partition} is committed up to {told}"
        return None

    def open_alerts(self, provider: str) -> dict[str, Alert]:
        """The alerts as the last checkpoints have them."""
        histories = self.history.get(provider, {}).items()
        return {key: last for key, alerts in histories if alerts and (last := alerts[-1]) is not None}


def _stage(provider: str) -> str:
    """The name of the stage before a provider."""
    return f"{provider}-repartition"
