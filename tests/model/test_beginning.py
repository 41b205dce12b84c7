"""Where a task begins, for every small log and everything that can become of it (design section 17).

A log is its records by offset; what is missing in between is a transaction marker. A task decides one log in slices;
then it becomes another: truncated, gone another way, created anew, its beginning removed, while the task is down or
while it reads on. Wherever it begins then, what it has not decided must lie at or behind that, and no more may be
decided again than lies behind the newest anchor that fits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.input.beginning import Beginning, Fit, Log, Look, beginning
from state.anchors import Anchor, Anchors, anchor_of, with_decided
from state.violation import Record

Values = Mapping[int, str]
"""What is at which offset."""


@dataclass
class Partition:
    """A log: its records, where it begins and where it ends."""

    values: dict[int, str]
    end: int
    first: int = 0

    def records(self, begin: int, end: int) -> list[Record]:
        return [_record(offset, self.values[offset]) for offset in sorted(self.values) if begin <= offset < end]

    def look(self, position: int, anchors: Anchors) -> Look:
        """As `consumer.input.look` sees it."""
        fits = [self._fit(anchor) for anchor in anchors]
        follows = None
        if fits and fits[0] is Fit.FITS:
            behind = [offset for offset in self.values if anchors[0].offset < offset < min(position, self.end)]
            follows = min(behind, default=None)
        return Look(self.first, self.end, fits, follows)

    def _fit(self, anchor: Anchor) -> Fit:
        offset = anchor.offset
        if offset < self.first:
            return Fit.REMOVED
        if offset not in self.values or offset >= self.end:
            return Fit.ABSENT
        return Fit.FITS if anchor_of(_record(offset, self.values[offset])) == anchor else Fit.OTHER


def _record(offset: int, value: str) -> Record:
    return Record("events", 0, offset, 1_700_000_000_000, b"key", value.encode())


@dataclass
class Task:
    """What a task has decided: which record at which offset, and what its checkpoint holds."""

    position: int = 0
    anchors: Anchors = ()
    decided: set[tuple[int, str]] = field(default_factory=set)

    def decide(self, log: Partition, end: int) -> None:
        """One slice, and the markers behind it."""
        records = log.records(self.position, end)
        self.anchors = with_decided(self.anchors, records)
        self.decided |= {(record.offset, (record.value or b"").decode()) for record in records}
        self.position = max(self.position, end)


Rule = Callable[[int, Anchors, Look], Beginning]


def judge(rule: Rule, task: Task, log: Partition) -> list[str]:
    """What is wrong with where this rule lets the task begin in this log."""
    look = log.look(task.position, task.anchors)
    found = rule(task.position, task.anchors, look)
    wrong = []
    for record in log.records(log.first, log.end):
        decided = (record.offset, (record.value or b"").decode()) in task.decided
        if not decided and record.offset < found.offset:
            wrong.append(f"{record.offset} is lost")
        if decided and record.offset >= found.offset and record.offset <= _newest_that_holds(task, look):
            wrong.append(f"{record.offset} is told again")
    if not log.first <= found.offset <= log.end:
        wrong.append(f"{found.offset} is not in the log")
    if any(anchor.offset >= found.offset for anchor in found.anchors):
        wrong.append("an anchor lies behind the beginning")
    return wrong


def _newest_that_holds(task: Task, look: Look) -> int:
    """The offset of the newest anchor that fits, and below which no anchor meets another record; -1 without one."""
    for number, anchor in enumerate(task.anchors):
        if look.fits[number] is Fit.FITS and Fit.OTHER not in look.fits[number:]:
            return anchor.offset
    return -1


# every small case


def compositions(total: int) -> Iterator[list[int]]:
    """All ways in which so many records can come in slices, as the offset behind each slice."""
    for count in range(total):
        for cuts in combinations(range(1, total), count):
            yield [*cuts, total]


def logs(length: int, markers: bool) -> Iterator[Partition]:
    """All logs of this length; any of their offsets but the first can be a marker's."""
    places = range(1, length) if markers else ()
    for count in range(len(places) + 1):
        for missing in combinations(places, count):
            yield Partition({o: f"old{o}" for o in range(length) if o not in missing}, length)


def others(log: Partition, markers: bool) -> Iterator[Partition]:
    """Everything that this log can have become: its first so many offsets, then new ones; and retention."""
    length = log.end
    for common in range(length + 1):
        for new in range(length - common + 3):
            end = common + new
            places = [range(2) if markers else (0,)] * min(new, 3)
            for missing in product(*places):
                values = {o: value for o, value in log.values.items() if o < common}
                values |= {o: f"new{common}.{o}" for o in range(common, end)}
                for number, is_marker in enumerate(missing):
                    if is_marker:
                        del values[common + number]
                for first in range(end + 1):
                    yield Partition({o: value for o, value in values.items() if o >= first}, end, first)


def down(length: int, markers: bool) -> Iterator[tuple[Task, Partition]]:
    """The log becomes another one while the task is down."""
    for log in logs(length, markers):
        after = list(others(log, markers))
        for slices in compositions(length):
            task = Task()
            for end in slices:
                task.decide(log, end)
            for other in after:
                yield task, other


def reading(length: int) -> Iterator[tuple[Task, Partition]]:
    """The topic is created anew while the task reads, which goes on where it was before it notices.

    (That a log has gone another way is noticed before anything is decided: its leader is another.)
    """
    for log in logs(length, markers=False):
        for slices in compositions(length):
            for other in others(log, markers=False):
                if other.end < length or other.first:
                    continue  # its position is out of range, and it is told so
                if any(value.startswith("old") for value in other.values.values()):
                    continue
                for read in range(length, other.end + 1):
                    task = Task()
                    for end in slices:
                        task.decide(log, end)
                    if read > length:
                        task.decide(other, read)
                    yield task, other


@pytest.mark.parametrize("length", range(1, 8))
def test_nothing_is_lost_and_nothing_old_is_told_that_an_anchor_knows(length: int) -> None:
    cases = 0
    for task, log in down(length, markers=False):
        cases += 1
        assert judge(beginning, task, log) == [], (task, log)
    assert cases > 2**length


@pytest.mark.parametrize("length", range(1, 5))
def test_nor_where_there_are_markers_of_transactions(length: int) -> None:
    for task, log in down(length, markers=True):
        assert judge(beginning, task, log) == [], (task, log)


@pytest.mark.parametrize("length", range(1, 7))
def test_nor_where_the_topic_is_created_anew_while_it_is_read(length: int) -> None:
    for task, log in reading(length):
        assert judge(beginning, task, log) == [], (task, log)


@pytest.mark.parametrize("length", range(1, 8))
def test_of_what_is_cut_off_no_more_than_twice_is_decided_again(length: int) -> None:
    for slices in compositions(length):
        task, log = Task(), Partition({o: f"old{o}" for o in range(length)}, length)
        for end in slices:
            task.decide(log, end)
        for left in range(length + 1):
            cut = Partition({o: f"old{o}" for o in range(left)}, left)
            found = beginning(task.position, task.anchors, cut.look(task.position, task.anchors))
            assert left - found.offset <= 2 * (length - left)
            if found.log is Log.TRUNCATED:
                assert found.again == left - found.offset


# weakened rules are found out


def trusting(position: int, anchors: Anchors, look: Look) -> Beginning:
    """The position, as before there were anchors."""
    return Beginning(position if look.beginning <= position <= look.end else look.beginning, Log.SAME)


def always_at_the_position(position: int, anchors: Anchors, look: Look) -> Beginning:
    """The position wherever the newest anchor fits, whatever follows upon it."""
    return beginning(position, anchors, Look(look.beginning, look.end, look.fits))


def only_the_newest_that_fits(position: int, anchors: Anchors, look: Look) -> Beginning:
    """Without a look at what is older than one that fits."""
    fits = list(look.fits)
    if Fit.FITS in fits:
        newest = fits.index(Fit.FITS)
        fits = fits[: newest + 1] + [Fit.FITS] * (len(fits) - newest - 1)
    return beginning(position, anchors, Look(look.beginning, look.end, fits, look.follows))


def removed_is_another(position: int, anchors: Anchors, look: Look) -> Beginning:
    """An anchor that retention has taken counts as one that does not fit: it begins well, and cries wolf."""
    fits = [Fit.ABSENT if fit is Fit.REMOVED else fit for fit in look.fits]
    return beginning(position, anchors, Look(look.beginning, look.end, fits, look.follows))


def only_the_newest(position: int, anchors: Anchors, look: Look) -> Beginning:
    """One anchor: where it does not fit, everything is told again."""
    return beginning(position, anchors[:1], Look(look.beginning, look.end, look.fits[:1], look.follows))


@pytest.mark.parametrize(
    ("rule", "cases", "wrong"),
    [
        (trusting, down(4, markers=False), "is lost"),
        (always_at_the_position, down(4, markers=True), "is lost"),
        (only_the_newest_that_fits, reading(4), "is lost"),
        (only_the_newest, down(4, markers=False), "is told again"),
    ],
)
def test_a_weaker_rule_is_found_out(rule: Rule, cases: Iterator[tuple[Task, Partition]], wrong: str) -> None:
    assert any(wrong in each for task, log in cases for each in judge(rule, task, log))


def test_retention_is_no_other_log() -> None:
    task, log = Task(), Partition({o: f"old{o}" for o in range(6)}, 6)
    task.decide(log, 4)
    cut = Partition({5: "old5"}, 6, first=5)
    look = cut.look(task.position, task.anchors)
    assert beginning(task.position, task.anchors, look) == Beginning(5, Log.SAME, task.anchors, lost=1)
    assert removed_is_another(task.position, task.anchors, look).log is Log.RECREATED


# large logs, by chance


@given(
    st.lists(st.integers(1, 150), min_size=1, max_size=20),
    st.floats(0, 1),
    st.integers(0, 1500),
    st.floats(0, 1),
)
def test_large_logs(slices: Sequence[int], common_share: float, new: int, first_share: float) -> None:
    length = sum(slices)
    log, task = Partition({o: f"old{o}" for o in range(length)}, length), Task()
    for size in slices:
        task.decide(log, task.position + size)
    common = round(common_share * length)
    end = common + new
    first = round(first_share * end)
    values = {o: f"old{o}" if o < common else f"new{o}" for o in range(first, end)}
    assert judge(beginning, task, Partition(values, end, first)) == []
