"""What has become of an operator's command, as the state topics show it (design section 6, "Feedback").

A task takes commands in the order of the feedback topic, and its checkpoint says how far it has come: a command has
been taken when a checkpoint of the alert's task is beyond its record. What the alert is then says the rest.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from consumer.feedback import Kind
from consumer.kafka import KafkaClients, started
from consumer.reading import POLL_MS, Offsets, bounds
from state.alert import Alert, Status
from state.records import CHECKPOINT_KEY, CorruptState, decode_alert, decode_position, encode_key


class Stage(Enum):
    """How far a command has come, the least far first."""

    UNTAKEN = "no member has taken it"
    TAKEN = "the provider has not taken it yet"
    UNDONE = "it has come back, or the provider does not take it"
    OVER = "it is over"
    DONE = "it is done"

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (Stage.UNTAKEN, Stage.TAKEN)


@dataclass(frozen=True, slots=True)
class Awaited:
    """A command and an alert that it is about; ``partition`` is that of the alert's state.

    ``place`` is the partition and the offset of its record in the feedback topic; None where none had to be written,
    since the alert is on its way to where the command wants it.
    """

    kind: Kind
    partition: TopicPartition
    dedup_key: str
    place: tuple[int, int] | None


def stage(kind: Kind, alert: Alert | None, *, is_taken: bool) -> Stage:
    """How far a command has come: of an alert as it is now (None: gone), and whether its task has taken the command."""
    if not is_taken:
        return Stage.UNTAKEN
    if kind is Kind.RESOLVE:
        if alert is None:
            return Stage.DONE
        return Stage.TAKEN if alert.status is Status.RESOLVING else Stage.UNDONE
    if alert is None or alert.status is Status.RESOLVING:
        return Stage.OVER
    if alert.status is Status.ACKNOWLEDGED:
        return Stage.DONE
    return Stage.TAKEN if alert.acknowledging else Stage.UNDONE


class Watch:
    """The alerts that commands are about, kept up to date with the records of their state partitions.

    ``alerts`` are those that are known, by their state partition and dedup key. What has become of a command is seen at
    the checkpoints, and stays: a problem that comes back afterwards is another one.
    """

    def __init__(self, awaited: Collection[Awaited], alerts: Mapping[tuple[TopicPartition, str], Alert]) -> None:
        self.awaited = awaited
        self._alerts: dict[tuple[TopicPartition, str], Alert | None] = dict(alerts)
        # A record that this release cannot read has its alert beside it, under a key of its own.
        self._keys = {
            encode_key(one.dedup_key, beside=beside): (one.dedup_key, beside)
            for one in awaited
            for beside in (False, True)
        }
        self._own: set[tuple[TopicPartition, str]] = set()
        self._taken: dict[TopicPartition, Mapping[int, int]] = {}
        self._settled: set[TopicPartition] = set()
        self._ended: dict[Awaited, Stage] = {}
        self._waiting: dict[TopicPartition, list[Awaited]] = {}
        for one in awaited:
            self._waiting.setdefault(one.partition, []).append(one)

    @property
    def partitions(self) -> set[TopicPartition]:
        """The state partitions that have to be read."""
        return {one.partition for one in self.awaited}

    def settle(self, partition: TopicPartition) -> None:
        """All that there was when the reading began has been read of this partition: it is known how it is now."""
        if partition not in self._settled:
            self._settled.add(partition)
            self._look(partition)

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """The next record of one of the partitions. What cannot be read changes nothing."""
        partition = TopicPartition(record.topic, record.partition)
        try:
            if record.key == CHECKPOINT_KEY and record.value is not None:
                self._taken[partition] = decode_position(record.value).feedback
                self._look(partition)
            elif record.key is not None and (known := self._keys.get(record.key)) is not None:
                self._take_alert(partition, *known, record.value)
        except CorruptState:
            return

    def _take_alert(self, partition: TopicPartition, dedup_key: str, beside: bool, value: bytes | None) -> None:
        place = partition, dedup_key
        if not beside:
            self._own.add(place)
        elif value is None and place in self._own:
            return  # the two have become one, which is the alert's own record
        self._alerts[place] = None if value is None else decode_alert(dedup_key.encode(), value)

    def _look(self, partition: TopicPartition) -> None:
        """Behind a checkpoint: what is over now is so, whatever comes."""
        waiting = self._waiting.get(partition, [])
        self._ended |= {one: now for one in waiting if (now := self.stage_of(one)).is_final}
        self._waiting[partition] = [one for one in waiting if one not in self._ended]

    def stage_of(self, one: Awaited) -> Stage:
        """How far this command has come about this alert."""
        if (ended := self._ended.get(one)) is not None:
            return ended
        if one.place is None:
            is_taken = one.partition in self._settled
        else:
            number, offset = one.place
            is_taken = self._taken.get(one.partition, {}).get(number, 0) > offset
        return stage(one.kind, self._alerts.get((one.partition, one.dedup_key)), is_taken=is_taken)

    def stages(self) -> Mapping[tuple[str, str], Stage]:
        """How far each command has come, by the topic of its alert's state and its dedup key: where a key has several
        alerts, as far as the last of them."""
        order = list(Stage)
        found: dict[tuple[str, str], Stage] = {}
        for one in self.awaited:
            key, now = (one.partition.topic, one.dedup_key), self.stage_of(one)
            found[key] = min(found.get(key, now), now, key=order.index)
        return found


async def state_ends(clients: KafkaClients, partitions: Sequence[TopicPartition]) -> Offsets:
    """Where what is committed in these partitions ends now: what is written from now on stands behind it."""
    async with started(clients.reader()) as reader:
        _, ends = await bounds(reader, partitions)
        return ends


async def follow(clients: KafkaClients, begins: Offsets, watch: Watch) -> AsyncGenerator[None, None]:
    """Read the state on from there, for ever: something has been read each time. Raises what the clients raise."""
    partitions = sorted(watch.partitions)
    async with started(clients.reader()) as reader:
        _, ends = await bounds(reader, partitions)
        for partition in partitions:
            reader.seek(partition, begins[partition])
        reader.resume(*partitions)
        while True:
            await _read_on(reader, ends, watch)
            yield


async def _read_on(reader: AIOKafkaConsumer, ends: Offsets, watch: Watch) -> None:
    for records in (await reader.getmany(timeout_ms=POLL_MS)).values():
        for record in records:
            watch.take(record)
    for partition, end in ends.items():
        if await reader.position(partition) >= end:
            watch.settle(partition)
