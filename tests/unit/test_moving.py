"""A task's side of homes, by itself: what it holds, believes, and passes on."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

import consumer.tasks.homes.moving
from consumer.deciding.decisions import DecidedHere, Ended
from consumer.deciding.pipeline import Pipeline
from consumer.events.event import Decoder
from consumer.events.filter import EndRules, Filter
from consumer.events.keys import KeyTemplate
from consumer.events.record_key import RecordKey
from consumer.feedback.lane import Lane
from consumer.feedback.moves import Forwarded, HandOver, Move, Moved, MovingTask
from consumer.input.progress import Progress
from consumer.kafka.partitioning import CONVINCED, Partitioner, Scheme
from consumer.tasks.homes.moving import LATE_SECONDS, TURN_SECONDS, Moving
from consumer.tasks.homes.whole_input import WholeInput
from consumer.timing.clock import Clock
from state.alert import Alert, Former, Notified, Status
from state.due import due
from state.policy import Policy
from state.records import CorruptState
from state.store import Store
from state.violation import Record, Severity
from tests.support.simulated_provider import ONE_KEY, SimulatedProvider
from tests.support.unheard import Unheard

NOW = 1_800_000_000.0
CRC32_ONLY = [
    key
    for key in (f"session-{number}".encode() for number in range(400))
    if (Partitioner.CRC32.partition_of(key, 2), Partitioner.MURMUR2.partition_of(key, 2)) == (0, 1)
]


class Effects:
    """A task that does what it is told, and remembers it."""

    def __init__(self) -> None:
        self.is_running = True
        self.busy: set[str] = set()
        self.said: list[str] = []

    def is_busy(self, dedup_key: str) -> bool:
        return dedup_key in self.busy

    def has_decided_what_was_inherited(self) -> bool:
        return True

    def handed_over(self, alert: Alert) -> Alert:
        self.said.append(f"handed over {alert.dedup_key}")
        return alert

    def taken_over(self, alert: Alert, *, has_ended: bool) -> None:
        self.said.append(f"taken over {alert.dedup_key}")

    def gone(self, alert: Alert) -> None:
        self.said.append(f"gone {alert.dedup_key}")

    def ending(self, ended: Ended) -> Iterator[None]:
        self.said.append(f"ends {ended.dedup_keys}")
        yield

    def decided_beside(self, decision: DecidedHere) -> Iterator[None]:
        self.said.append("decided")
        yield

    def undecidable_beside(self, record: Record, error: Exception) -> None:
        self.said.append("undecidable")

    def urge(self) -> None:
        pass

    def homes_changed(self, *, are_others: bool) -> None:
        pass


class World:
    """A task of partition 0."""

    def __init__(self, partitioner: Partitioner | None = None) -> None:
        self.now = 1000.0
        clock = Clock(wall=lambda: NOW, monotonic=lambda: self.now)
        self.store, self.effects, self.progress = Store(), Effects(), Progress()
        log: Any = structlog.get_logger()
        nobody: Any = None
        self.whole = WholeInput(
            "events",
            admin=nobody,
            progress=nobody,
            decided=nobody,
            feedback_ends=nobody,
            is_needed=nobody,
            clock=clock,
            log=log,
        )
        self.moving = Moving(
            partition=0,
            pipeline=_pipeline(),
            store=self.store,
            progress=self.progress,
            effects=self.effects,
            clock=clock,
            metrics=Unheard(),  # type: ignore[arg-type]
            log=log,
            whole=self.whole,
            partitioner=partitioner,
        )

    def counted(self, partitions: int) -> None:
        self.whole.partitions, self.whole.counted_at = partitions, self.now

    def tick(self) -> None:
        for _ in self.moving.tick():
            pass

    def leave(self) -> None:
        self.now += 1
        self.progress.observe_end(self.now, 0, self.now)
        for _ in self.moving.leave():
            pass

    def take(self, *moves: Move) -> None:
        lane: Lane[Move] = Lane()
        lane.hand(0, enumerate(moves), len(moves))
        for _ in self.moving.take(lane, lambda: None):
            pass

    def sees(self, keys: list[bytes]) -> None:
        for key in keys:
            self.moving.sample(Record("events", 0, 1, 1, key, b"{}"))


def _pipeline() -> Pipeline:
    return Pipeline(
        provider=SimulatedProvider(ONE_KEY),
        group_id="group",
        input_topic="events",
        state_topic="state",
        dlq_topic="dlq",
        decoder=Decoder(Filter(), EndRules(on_session_end=True), 262_144),
        template=KeyTemplate.parse("{guard}:{session_id}"),
        policy=Policy(10.0, 60.0, 20.0, 1e9),
        max_event_age=None,
        give_up_seconds=0.0,
        timeout_seconds=4.0,
        commit_interval=0.1,
        max_owed=1000,
        record_key=RecordKey("session_id"),
    )


def alert(session: str) -> Alert:
    return Alert(f"g:{session}", Status.OPEN, session, 1, NOW, NOW, NOW, Severity.HIGH, "default")


def session_at(home: int, partitions: int) -> str:
    names = (f"session-{number}" for number in range(400))
    return next(name for name in names if Partitioner.MURMUR2.partition_of(name.encode(), partitions) == home)


def mark(partition: int, partitions: int, *, group: str = "group") -> Moved:
    return Moved(MovingTask("simulated", partition, Scheme(partitions), {}, group))


def test_homes_of_before_are_waited_for_since_the_growth_was_noticed_and_not_anew_for_each_alert() -> None:
    world = World()
    world.moving.begin(6, have_never_moved=True)
    world.counted(6)
    world.leave()
    assert world.moving.awaits_since is None
    world.now += 100
    world.counted(7)
    world.tick()
    noticed = world.now
    assert world.moving.awaits_since == noticed
    world.now += 500
    world.tick()
    assert world.moving.awaits_since == noticed


# nothing moves


def test_a_pipeline_that_has_never_moved_waits_for_nobody_and_writes_nothing() -> None:
    world = World()
    world.moving.begin(6, have_never_moved=True)
    world.counted(6)
    world.leave()

    assert (world.moving.is_settled, world.moving.elsewhere, world.moving.is_at_work) == (True, None, False)
    assert not world.moving.forwards(session_at(3, 6).encode())
    assert not world.moving.awaits(alert(session_at(3, 6)))
    assert (world.moving.has_moves, world.moving.cut({})) == (False, ())
    assert world.moving.to_json({0: 3}, {0: 3}) == {"scheme": (6, 0), "moved": (6, 0), "earlier": []}


def test_quiet_says_as_much_as_the_partitions_were_counted_lately() -> None:
    world = World()
    world.moving.begin(2, have_never_moved=True)
    assert world.moving.quiet_to(world.now) is None

    world.counted(2)
    assert world.moving.quiet_to(world.now + 7) == world.now
    world.counted(4)
    assert world.moving.quiet_to(world.now + 7) is None, "events come where nobody has looked yet"


# growth


def test_what_has_its_home_elsewhere_is_handed_over_and_then_the_mark_is_written() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(2, have_never_moved=True)
    stays, goes = session_at(0, 4), session_at(3, 4)
    for session in (stays, goes):
        world.store.put(alert(session))
    world.counted(4)
    world.tick()
    assert (world.moving.is_at_work, world.moving.is_elsewhere(alert(goes))) == (True, True)
    assert not world.moving.forwards(goes.encode()), "it decides first what it has"

    world.leave()

    moves = world.moving.cut({0: 9})
    assert [type(move) for move in moves] == [HandOver, Moved]
    assert isinstance(moves[0], HandOver)
    assert (moves[0].home, moves[0].dedup_key, moves[0].key) == (3, f"g:{goes}", goes.encode())
    assert moves[1] == Moved(MovingTask("simulated", 0, Scheme(4), {0: 9}, "group", "events"), Scheme(2))
    assert list(world.store.keys()) == [f"g:{stays}"]
    assert world.effects.said == [f"handed over g:{goes}"]
    assert world.moving.forwards(goes.encode())
    assert not world.moving.is_settled, "others have not said yet that they have moved"
    world.take(mark(1, 4), mark(2, 4), mark(3, 4))
    assert world.moving.is_settled


def test_the_mark_waits_for_what_is_on_the_wire() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(2, have_never_moved=True)
    goes = session_at(3, 4)
    world.store.put(alert(goes))
    world.effects.busy = {f"g:{goes}"}
    world.counted(4)
    world.tick()
    world.leave()
    assert world.moving.cut({}) == ()

    world.effects.busy = set()
    world.leave()
    world.leave()
    assert [type(move) for move in world.moving.cut({})] == [HandOver, Moved]


def test_what_is_too_much_for_one_checkpoint_goes_in_several_and_the_mark_in_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer.tasks.homes.moving, "MOVED_AT_A_TIME", 3)
    world = World(Partitioner.MURMUR2)
    world.moving.begin(2, have_never_moved=True)
    for number in range(20):
        world.store.put(alert(f"s-{number}"))
    goes = [key for key in list(world.store.keys()) if Partitioner.MURMUR2.partition_of(key[2:].encode(), 4)]
    world.store.cut()
    world.store.committed()
    world.counted(4)
    world.tick()

    written: list[Move] = []
    while not written or not isinstance(written[-1], Moved):
        world.leave()
        moves = world.moving.cut({})
        assert 0 < len(moves) <= 4
        assert set(world.store.cut()) == {move.dedup_key for move in moves if isinstance(move, HandOver)}
        world.store.committed()
        written += moves

    assert [move.dedup_key for move in written if isinstance(move, HandOver)] == goes
    assert sum(isinstance(move, Moved) for move in written) == 1


def test_another_growth_while_it_hands_over_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer.tasks.homes.moving, "MOVED_AT_A_TIME", 1)
    world = World(Partitioner.MURMUR2)
    world.moving.begin(2, have_never_moved=True)
    for number in range(9):
        world.store.put(alert(f"s-{number}"))
    world.store.cut()
    world.store.committed()
    world.counted(4)
    world.tick()
    world.leave()
    leaving = world.moving.leave()
    world.moving.cut({})
    world.store.cut()
    world.store.committed()
    next(leaving)

    world.counted(7)
    world.tick()
    assert list(leaving) == []

    assert world.moving.is_at_work
    assert not any(isinstance(move, Moved) for move in world.moving.cut({}))


def test_what_comes_for_a_home_that_this_is_not_any_more_is_passed_on_and_said() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(4, have_never_moved=False)
    world.leave()
    world.moving.cut({})
    goes = session_at(3, 4)

    world.take(
        HandOver(MovingTask("simulated", 1, Scheme(2), {}, "group"), 0, f"g:{goes}", alert(goes), None, goes.encode())
    )

    handed, said = world.moving.cut({0: 1})
    assert isinstance(handed, HandOver)
    assert (handed.home, handed.sender.partition) == (3, 0)
    assert said == Moved(MovingTask("simulated", 0, Scheme(4), {0: 1}, "group", "events"), Scheme(4))
    assert len(world.store) == 0


def test_what_is_for_this_home_is_taken_and_what_is_for_others_is_not() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(4, have_never_moved=False)
    world.leave()
    mine, other = session_at(0, 4), session_at(3, 4)
    sender = MovingTask("simulated", 1, Scheme(4), {}, "group")

    world.take(
        HandOver(sender, 0, f"g:{mine}", alert(mine), None, mine.encode()),
        HandOver(sender, 3, f"g:{other}", alert(other), None, other.encode()),
        Forwarded(sender, 3, Record("events", 1, 1, 1, other.encode(), b"{"), other.encode()),
        Forwarded(sender, 0, Record("events", 1, 2, 1, mine.encode(), b"{"), mine.encode()),
    )

    assert world.effects.said == [f"taken over g:{mine}", "decided"]
    assert list(world.store.keys()) == [f"g:{mine}"]


def test_of_a_record_of_the_input_before_only_the_alert_counts() -> None:
    """A repartition stage has come or gone while it was on its way: it says nothing of where homes are now."""
    world = World(Partitioner.MURMUR2)
    world.moving.begin(4, have_never_moved=False)
    world.leave()
    world.moving.cut({})
    goes, stays = session_at(3, 4), session_at(0, 4)

    def before(partition: int) -> MovingTask:
        return MovingTask("simulated", partition, Scheme(8, turn=1), {}, "group", "keyed")

    world.take(
        *(Moved(before(partition)) for partition in range(8)),
        HandOver(before(1), 0, f"g:{goes}", alert(goes), None, stays.encode()),
        HandOver(before(1), 0, f"g:{stays}", alert(stays), None, goes.encode()),
    )

    assert not world.moving.is_settled, "the marks were of other partitions"
    assert world.moving.partitions == 4
    assert list(world.store.keys()) == [f"g:{stays}"]
    (handed,) = [move for move in world.moving.cut({}) if isinstance(move, HandOver)]
    assert (handed.home, handed.dedup_key, handed.key, handed.sender.input) == (3, f"g:{goes}", goes.encode(), "events")


def test_an_incident_that_is_out_of_reach_is_so_too_once_its_alert_is_joined_with_another() -> None:
    """Its key is not configured any more: taken for one that can be resolved, the live incident would be."""
    world = World(Partitioner.MURMUR2)
    world.moving.begin(4, have_never_moved=False)
    world.leave()
    mine = session_at(0, 4)
    here = replace(alert(mine), integration="key", last_notified=Notified(Severity.HIGH, NOW), is_at_provider=True)
    world.store.hear(here, world.now)
    handed = replace(
        alert(mine),
        integration="gone",
        last_notified=Notified(Severity.HIGH, NOW - 5),
        is_at_provider=True,
        first_seen=NOW - 5,
    )

    world.take(
        HandOver(MovingTask("simulated", 1, Scheme(4), {}, "group"), 0, f"g:{mine}", handed, None, mine.encode())
    )

    after = world.store.get(f"g:{mine}")
    assert after is not None
    assert (after.integration, after.is_at_provider) == ("key", True)
    assert (after.former, after.orphans) == ((), (Former("gone", "default"),))
    assert due(after) is None


def test_nothing_is_sent_to_a_partition_that_is_not_there() -> None:
    """The topic was made anew with fewer partitions after it had grown once."""
    world = World(Partitioner.MURMUR2)
    world.moving.restore({"scheme": [6, 0], "moved": [6, 0], "earlier": [[2, 0]]}, {})
    world.moving.go_on(2)

    assert world.moving.forwards(session_at(1, 6).encode())
    assert not world.moving.forwards(session_at(4, 6).encode())


def test_quiet_waits_for_all_partitions_for_a_while_after_a_move() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(1, have_never_moved=False)
    world.leave()
    world.counted(1)
    assert world.moving.is_settled
    assert world.moving.wants_to_know_all
    assert world.moving.quiet_to(world.now) is None

    world.now += LATE_SECONDS + 1
    world.counted(1)
    assert not world.moving.wants_to_know_all
    assert world.moving.quiet_to(world.now) == world.now


# the partitioner


def test_where_nothing_has_moved_another_belief_moves_nothing() -> None:
    world = World()
    world.moving.begin(2, have_never_moved=True)

    world.sees(CRC32_ONLY[:CONVINCED])

    json = world.moving.to_json({}, {})
    assert (json["scheme"], json["moved"], json["score"]) == ((2, 1), (2, 1), CONVINCED)
    assert world.moving.elsewhere is None


def test_another_belief_moves_homes_and_not_again_for_a_while() -> None:
    world = World()
    world.moving.begin(2, have_never_moved=False)
    world.leave()
    world.sees(CRC32_ONLY[:CONVINCED])
    assert (world.moving.is_at_work, world.moving.to_json({}, {})["scheme"]) == (True, (2, 1))
    world.leave()

    murmur2_only = [key for key in (f"s-{number}".encode() for number in range(900)) if _is_murmur2_only(key)]
    world.progress.observe_end(world.now, 0, world.now)
    world.sees(murmur2_only[: 3 * CONVINCED])
    assert world.moving.to_json({}, {})["scheme"] == (2, 1)

    world.now += 2 * TURN_SECONDS
    world.progress.observe_end(world.now, 0, world.now)
    world.sees(murmur2_only[:1])
    assert world.moving.to_json({}, {})["scheme"] == (2, 2)


def _is_murmur2_only(key: bytes) -> bool:
    return (Partitioner.MURMUR2.partition_of(key, 2), Partitioner.CRC32.partition_of(key, 2)) == (0, 1)


def test_a_partitioner_that_is_configured_is_believed_whatever_comes() -> None:
    world = World(Partitioner.MURMUR2)
    world.moving.begin(2, have_never_moved=True)

    world.sees(CRC32_ONLY)

    assert world.moving.to_json({}, {})["scheme"] == (2, 0)


# the checkpoint


@pytest.mark.parametrize("json", [{"ends": 1}, {"ends": {"a": []}}, {"score": "x"}, {"taken": {"a": 1}}, {"scheme": 1}])
def test_a_checkpoint_that_cannot_be_read_is_said_to_be_corrupt(json: dict[str, Any]) -> None:
    with pytest.raises(CorruptState, match="homes"):
        World().moving.restore({"scheme": [2, 0], **json}, {})


def test_how_far_moves_were_taken_is_in_the_checkpoint_where_it_is_not_as_far_as_the_rest() -> None:
    moving = World().moving

    assert moving.restore({"scheme": [2, 0]}, {0: 5}) == {0: 5}
    json = dict(moving.to_json({0: 9}, {0: 5}))
    assert World().moving.restore(json, {0: 5}) == {0: 9}
