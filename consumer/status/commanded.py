"""What has become of an operator's command, as the state topics show it (design section 6, "Feedback").

A task takes commands in the order of the feedback topic, and its checkpoint says how far it has come: a command has
been taken once a checkpoint of the alert's task is beyond the command's record. The alert as it is then shows the
outcome. An alert that has left its partition is gone, or is on its way to another partition; in the second case its
hand-over is in the feedback topic.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from consumer.feedback.moves import HandOver, decode_move, is_move
from consumer.feedback.records import FeedbackKind, MalformedFeedback, unmeant
from consumer.tasks.homes.home import Place
from state.alert import Alert, Status
from state.counts import Counts, up_to_date
from state.records import (
    CHECKPOINT_KEY,
    CorruptState,
    Position,
    decode_alert,
    decode_counts,
    decode_position,
    encode_key,
)
from state.seen import News, Seen


class Stage(Enum):
    """How far a command has come, the least far first."""

    UNTAKEN = "no member has taken it"
    LEFT = "it is over, or on its way to another partition"
    MOVING = "it is on its way to another partition"
    TAKEN = "the provider has not taken it yet"
    CAME_BACK = News.CAME_BACK.value
    GOT_WORSE = News.GOT_WORSE.value
    OCCURRED = News.OCCURRED.value
    UNDONE = "it has come back, or the provider does not take it"
    OVER = "it is over"
    DONE = "it is done"

    @property
    def is_final(self) -> bool:
        """Whether the stage cannot change any more."""
        return _RANK[self] > _RANK[Stage.TAKEN]


_RANK: Final = {each: rank for rank, each in enumerate(Stage)}


@dataclass(frozen=True, slots=True)
class Awaited:
    """A command and an alert that it is about; ``partition`` is that of the alert's state.

    ``place`` is the partition and the offset of the command's record in the feedback topic; None where no record had to
    be written, since the alert is already becoming what the command wants. ``at`` and ``seen`` are those of the
    `OperatorCommand`.
    """

    kind: FeedbackKind
    partition: TopicPartition
    dedup_key: str
    place: Place | None
    at: float = 0.0
    seen: Sequence[Seen] = ()


def stage(kind: FeedbackKind, alert: Alert | None, *, is_taken: bool, news: News | None = None) -> Stage:
    """How far a command has come. ``alert`` is as it is now (None: gone), ``is_taken`` says whether its task has taken
    the command, and ``news`` why the command does not concern this alert (None: it does)."""
    undone = Stage.UNDONE if news is None else Stage(news.value)
    if not is_taken:
        return Stage.UNTAKEN
    if kind is FeedbackKind.RESOLVE:
        if alert is None:
            return Stage.DONE
        return Stage.TAKEN if alert.status is Status.RESOLVING else undone
    if alert is None or alert.status is Status.RESOLVING:
        return Stage.OVER
    if alert.status is Status.ACKNOWLEDGED:
        return Stage.DONE
    return Stage.TAKEN if alert.acknowledging else undone


class Course:
    """A command under way. ``partition`` is where its alert is now or where it goes to. While it goes there, ``behind``
    is the place of its hand-over, which that partition's task has to take first. ``end`` is the final stage, once there
    is one."""

    __slots__ = ("behind", "command", "end", "is_taken", "partition")

    def __init__(self, command: Awaited) -> None:
        self.command = command
        self.partition = command.partition
        self.is_taken = False
        self.behind: Place | None = None
        self.end: Stage | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """An alert has left its partition, and it is not known yet whether it was handed over. If not, ``stage`` is what
    has become of the command. Each doubt has its own ``number``."""

    number: int
    stage: Stage


class Watch:
    """The alerts that commands are about, kept up to date from the records of their state partitions, and from the
    hand-overs in the feedback topic.

    ``alerts`` are those known at the start, by state partition and dedup key; ``topics`` are the state topics by
    provider and consumer group. The outcome of a command is judged at checkpoints, and is final: a problem that comes
    back later is another problem. The cost of a record grows only with the number of commands that it concerns.
    """

    def __init__(
        self,
        awaited: Collection[Awaited],
        alerts: Mapping[tuple[TopicPartition, str], Alert],
        topics: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.awaited = awaited
        self.partitions = {one.partition for one in awaited}
        """The state partitions that have to be read; further ones may be added."""
        self._alerts: dict[tuple[TopicPartition, str], Alert | None] = dict(alerts)
        self._topics = topics or {}
        # Where a record cannot be read by this release, the alert is kept beside it, under a key of its own.
        self._keys = {
            encode_key(one.dedup_key, beside=beside): (one.dedup_key, beside)
            for one in awaited
            for beside in (False, True)
        }
        self._own: set[tuple[TopicPartition, str]] = set()
        self._taken: dict[TopicPartition, Position] = {}
        self._counts: dict[TopicPartition, Mapping[str, Counts]] = {}
        self._settled: set[TopicPartition] = set()
        self._courses = {(one.partition, one.dedup_key): Course(one) for one in awaited}
        self._here: dict[tuple[TopicPartition, str], list[Course]] = defaultdict(list)  # that have no end yet
        self._untaken: dict[tuple[TopicPartition, int], list[tuple[int, int, Course]]] = defaultdict(list)
        self._unneeded: dict[TopicPartition, list[Course]] = defaultdict(list)  # of which no record was written
        self._moving: dict[TopicPartition, list[Course]] = defaultdict(list)
        self._touched: dict[TopicPartition, dict[Course, None]] = defaultdict(dict)
        self._handed: dict[tuple[TopicPartition, str], deque[tuple[int, Place]]] = defaultdict(deque)
        self._doubts: dict[Course, Doubt] = {}
        self._doubted = 0
        self._going: Counter[tuple[str, str]] = Counter(map(_key, awaited))
        self._last: dict[tuple[str, str], Stage] = {}
        self._over: list[tuple[str, str]] = []
        for course in self._courses.values():
            self._await(course)

    def _await(self, course: Course) -> None:
        command, partition = course.command, course.partition
        self._here[partition, command.dedup_key].append(course)
        if command.place is None:
            self._unneeded[partition].append(course)
        elif not self._has_taken(course):
            number, offset = command.place
            heappush(self._untaken[partition, number], (offset, id(course), course))

    def _has_taken(self, course: Course) -> bool:
        if (place := course.command.place) is not None and (position := self._taken.get(course.partition)) is not None:
            course.is_taken = position.feedback.get(place[0], 0) > place[1]
        return course.is_taken

    # what is read

    def settle(self, partition: TopicPartition) -> None:
        """Take note that this partition has been read to the end that it had when the reading began: its present state
        is known."""
        if partition not in self._settled:
            self._settled.add(partition)
            for course in self._unneeded.pop(partition, ()):
                course.is_taken = True
                self._touched[partition][course] = None
            self._look(partition)

    def take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Take in the next record of one of the state partitions. A record that cannot be read changes nothing."""
        partition = TopicPartition(record.topic, record.partition)
        try:
            if record.key == CHECKPOINT_KEY and record.value is not None:
                self._take_checkpoint(partition, decode_position(record.value), decode_counts(record.value))
            elif record.key is not None and (known := self._keys.get(record.key)) is not None:
                self._take_alert(partition, *known, record.value)
        except CorruptState:
            return

    def _take_alert(self, partition: TopicPartition, dedup_key: str, beside: bool, value: bytes | None) -> None:
        place = partition, dedup_key
        if not beside:
            self._own.add(place)
        elif value is None and place in self._own:
            return  # the record beside it was merged into the alert's own record
        self._alerts[place] = None if value is None else decode_alert(dedup_key.encode(), value)
        self._touch(place)

    def _touch(self, place: tuple[TopicPartition, str]) -> None:
        for course in self._here.get(place, ()):
            self._touched[place[0]][course] = None

    def _take_checkpoint(self, partition: TopicPartition, position: Position, counts: Mapping[str, Counts]) -> None:
        self._taken[partition], self._counts[partition] = position, counts
        for number, taken in position.feedback.items():
            untaken = self._untaken.get((partition, number), [])
            while untaken and untaken[0][0] < taken:
                course = heappop(untaken)[-1]
                course.is_taken = True
                self._touched[partition][course] = None
        for course in self._moving.get(partition, ()):
            self._touched[partition][course] = None
        for dedup_key in counts:
            self._touch((partition, dedup_key))
        self._look(partition)

    def hear(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Take in the next record of the feedback topic, where only hand-overs of these alerts matter."""
        if record.key not in self._keys or not is_move(tuple(record.headers)):
            return
        try:
            move = decode_move(record.key, record.value, tuple(record.headers))
        except MalformedFeedback:
            return
        if not isinstance(move, HandOver) or move.alert is None:
            return
        if (topic := self._topics.get((move.sender.provider, move.sender.group))) is None:
            return
        left = TopicPartition(topic, move.sender.partition), move.dedup_key
        self._handed[left].append((move.home, (record.partition, record.offset)))
        if moved := [course for course in self._here.get(left, ()) if course in self._doubts]:
            self._move(left, moved)

    # what has become of them

    def _look(self, partition: TopicPartition) -> None:
        """Judge the commands whose alerts this checkpoint has changed; a command that is over now stays over."""
        for course in self._touched.pop(partition, ()):
            if course.end is None and course.partition == partition:
                self._judge(course)

    def _judge(self, course: Course) -> None:
        place = course.partition, course.command.dedup_key
        if course.behind is not None:
            if not self._has_arrived(course.partition, course.behind):
                return
            course.behind = None
            self._moving[course.partition].remove(course)
        if (doubt := self._doubts.get(course)) is not None and doubt.stage.is_final:
            return  # the alert that is there now is another one
        self._doubts.pop(course, None)
        now = self._stage_here(course)
        if self._alerts.get(place) is not None:
            if now.is_final:
                self._end(course, now)
        elif self._handed.get(place):
            self._move(place, self._here[place])
        else:
            self._doubted += 1
            self._doubts[course] = Doubt(self._doubted, now)

    def _has_arrived(self, partition: TopicPartition, place: Place) -> bool:
        """Whether the task of ``partition`` has taken the hand-over at ``place`` in the feedback topic."""
        if (position := self._taken.get(partition)) is None:
            return False
        number, offset = place
        of_moves = (position.homes or {}).get("taken")
        taken = position.feedback.get(number, 0) if of_moves is None else int(of_moves.get(str(number), 0))
        return taken > offset

    def _move(self, place: tuple[TopicPartition, str], courses: Sequence[Course]) -> None:
        """Follow an alert that was handed over to the partition that it goes to."""
        home, behind = self._handed[place].popleft()
        there = TopicPartition(place[0].topic, home)
        self.partitions.add(there)
        self._here[place] = [course for course in self._here[place] if course not in courses]
        for course in courses:
            self._doubts.pop(course, None)
            course.partition, course.behind = there, behind
            course.is_taken = course.command.place is None
            self._moving[there].append(course)
            self._await(course)
            self._judge(course)

    def _stage_here(self, course: Course) -> Stage:
        command, partition = course.command, course.partition
        alert = self._alerts.get((partition, command.dedup_key))
        if alert is not None:
            alert = up_to_date(alert, self._counts.get(partition, {}))
        news = None if alert is None else unmeant(command.kind, command.at, command.seen, alert)
        return stage(command.kind, alert, is_taken=course.is_taken, news=news)

    def _end(self, course: Course, end: Stage) -> None:
        course.end = end
        key = _key(course.command)
        self._here[course.partition, course.command.dedup_key].remove(course)
        self._last[key] = min(self._last.get(key, end), end, key=_RANK.__getitem__)
        self._going[key] -= 1
        if not self._going[key]:
            del self._going[key]
            self._over.append(key)

    @property
    def doubts(self) -> Mapping[Course, Doubt]:
        """The doubts that there are now."""
        return dict(self._doubts)

    def were_not_handed_over(self, doubts: Mapping[Course, Doubt]) -> None:
        """Take note that the feedback topic was read to the end that it had when there were these doubts."""
        for course, doubt in doubts.items():
            if self._doubts.get(course) == doubt:
                del self._doubts[course]
                if doubt.stage.is_final:
                    self._end(course, doubt.stage)

    # what is asked

    def stage_of(self, one: Awaited) -> Stage:
        """How far this command has come with this alert."""
        course = self._courses[one.partition, one.dedup_key]
        if course.end is not None:
            return course.end
        if course.behind is not None:
            return Stage.MOVING
        now = self._stage_here(course)
        is_gone = course in self._doubts or self._alerts.get((course.partition, one.dedup_key)) is None
        return Stage.LEFT if is_gone and now.is_final else now

    @property
    def is_over(self) -> bool:
        """Whether all commands have their final stage."""
        return not self._going

    def ended(self) -> Iterator[tuple[tuple[str, str], Stage]]:
        """The commands that have reached their final stage since the last call, as `stages` has them."""
        over, self._over = self._over, []
        for key in over:
            yield key, self._last[key]

    def stages(self) -> Mapping[tuple[str, str], Stage]:
        """How far each command has come, by the state topic and the dedup key of its alert. Where a key has several
        alerts, it is the stage of the one that is least far."""
        found: dict[tuple[str, str], Stage] = {}
        for one in self.awaited:
            key, now = _key(one), self.stage_of(one)
            found[key] = min(found.get(key, now), now, key=_RANK.__getitem__)
        return found


def _key(one: Awaited) -> tuple[str, str]:
    return one.partition.topic, one.dedup_key
