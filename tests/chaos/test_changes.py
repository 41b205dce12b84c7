"""The account of what changes in the midst of a phase: what must be told once more, and that nothing else is."""

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiokafka import TopicPartition
from msgspec import structs

import tests.chaos.changes
from consumer.config import Config, needs_repartition, parse_config
from consumer.events.keys import KeyTemplate
from consumer.feedback.moves import HandOver, MovingTask, encode_move
from consumer.kafka.partitioning import Scheme
from providers.sandbox import Incident, JournalEntry, Sandbox
from state.alert import Alert, Notified, Status
from state.records import CHECKPOINT_KEY, Position, encode_alert, encode_position
from state.violation import Severity
from tests.chaos.__main__ import _parser, _phases
from tests.chaos.account import take_account, told_again
from tests.chaos.changes import CHANGES
from tests.chaos.faults import Scene
from tests.chaos.happened import Happened, Rendering, Rotation
from tests.chaos.keying import BY_AGENT, dedup_key, ends_of, is_of, session_of
from tests.chaos.lives import joined, lives
from tests.chaos.reader import Event, Reader
from tests.chaos.traffic import Traffic, home
from tests.support.service import World

KEY = "g:p-1"
OLD, NEW = "o" * 32, "n" * 32
NOW = 1_000.0
ALERT = Alert(
    KEY,
    Status.OPEN,
    "p-1",
    1,
    NOW,
    NOW,
    NOW,
    Severity.HIGH,
    last_notified=Notified(Severity.HIGH, NOW),
    is_at_provider=True,
)
ROTATION = Rotation("pagerduty", OLD, NEW, NOW + 10)


def alert(occurrences: int = 1, first_seen: float = NOW, key: str = KEY) -> Alert:
    return structs.replace(ALERT, dedup_key=key, occurrences=occurrences, first_seen=first_seen)


def produced(*moments: float, session: str = "p-1", guard: str | None = "g", partition: int = 0) -> list[Event]:
    return [Event(f"e{at - NOW:g}", guard, session, partition, int(at - NOW), at) for at in moments]


class Incidents(Sandbox):
    """A sandbox with these incidents: opened by which event, through which key, when, and ended when."""

    def __init__(self, *incidents: tuple[str, str, float, float | None], key: str = KEY, extra: Any = None) -> None:
        super().__init__()
        self._seen = [
            Incident(
                number=number,
                id=str(number),
                provider="pagerduty",
                key=secret,
                dedup_key=key,
                title="",
                severity="critical",
                opened_at=opened,
                opened_monotonic=opened,
                status="open" if ended is None else "ended",
                resolved_at=ended,
                ended_by=None if ended is None else "client",
                event_ids=[event_id],
                extra=extra if number else None,
            )
            for number, (event_id, secret, opened, ended) in enumerate(incidents)
        ]
        self._asked = [
            JournalEntry(
                number=number,
                at=ended,
                monotonic=ended,
                method="POST",
                path="",
                key=secret,
                provider="pagerduty",
                dedup_key=key,
                action="resolve",
                event_id=None,
                body=None,
                applied=True,
            )
            for number, (_, secret, _, ended) in enumerate(incidents)
            if ended is not None
        ]

    def incidents(self, provider: str | None = None, *, dedup_key: str | None = None) -> list[Incident]:
        return self._seen

    def requests(self, provider: str | None = None, **criteria: Any) -> list[JournalEntry]:
        return self._asked


def found(
    events: Sequence[Event], history: Sequence[Alert | None], sandbox: Sandbox, happened: Happened, key: str = KEY
) -> list[str]:
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.events = list(events)
    reader.history["pagerduty"][key] = list(history)
    acked = {event.event_id: event.sent for event in events}
    return [one.kind for one in take_account(reader, sandbox, acked, "p-", happened).findings]


# a key is rotated


def rotated() -> Happened:
    return Happened(rotations=[ROTATION])


GOES_ON = produced(NOW, NOW + 5, NOW + 12)


def test_a_problem_that_goes_on_is_told_once_more_by_the_new_key_and_the_old_incident_ends_then() -> None:
    told = Incidents(("e0", OLD, NOW, NOW + 13), ("e12", NEW, NOW + 12.5, None), extra="open_elsewhere")
    assert found(GOES_ON, [alert(3)], told, rotated()) == []


def test_without_a_rotation_that_is_an_incident_too_many_and_a_wrong_resolve() -> None:
    told = Incidents(("e0", OLD, NOW, NOW + 13), ("e12", NEW, NOW + 12.5, None))
    assert sorted(found(GOES_ON, [alert(3)], told, Happened())) == ["extra", "wrong_resolve"]


def test_the_old_incident_must_not_end_before_the_problem_is_told_by_the_new_key() -> None:
    told = Incidents(("e0", OLD, NOW, NOW + 12), ("e12", NEW, NOW + 12.5, None))
    assert sorted(found(GOES_ON, [alert(3)], told, rotated())) == ["extra", "wrong_resolve"]


def test_the_old_incident_must_not_stay_open_beside_the_new_one() -> None:
    told = Incidents(("e0", OLD, NOW, None), ("e12", NEW, NOW + 12.5, None), extra="open_elsewhere")
    assert found(GOES_ON, [alert(3)], told, rotated()) == ["open_sets"]


def test_the_new_key_tells_it_once() -> None:
    incidents = ("e0", OLD, NOW, NOW + 13), ("e12", NEW, NOW + 12.5, NOW + 14), ("e13", NEW, NOW + 14.5, None)
    events = produced(NOW, NOW + 5, NOW + 12, NOW + 13)
    assert "extra" in found(events, [alert(4)], Incidents(*incidents, extra="open_elsewhere"), rotated())


def test_a_retired_key_opens_nothing() -> None:
    told = Incidents(("e12", OLD, NOW + 12.5, None))
    assert found(produced(NOW + 12), [alert(first_seen=NOW + 12)], told, rotated()) == ["extra"]


def test_a_problem_that_was_over_before_is_ended_by_the_old_key() -> None:
    ended = Incidents(("e0", OLD, NOW, NOW + 35))
    assert found(produced(NOW), [alert(), None], ended, rotated()) == []
    left_open = Incidents(("e0", OLD, NOW, None))
    assert found(produced(NOW), [alert(), None], left_open, rotated()) == ["open_sets"]


def test_what_was_told_before_is_not_told_again_by_the_new_key() -> None:
    told = Incidents(("e0", OLD, NOW, NOW + 13), ("e0", NEW, NOW + 12.5, None), extra="event_told_before")
    assert "extra" in found(produced(NOW), [alert()], told, rotated())


# topics grow: a key has another home


def moved_history() -> dict[int, list[Alert | None]]:
    """Partition 0 had it, and handed it over to partition 1, which had begun another alert of the key meanwhile."""
    late = NOW + 10
    return {0: [alert(1), alert(2), None], 1: [alert(1, late), alert(3), alert(4)]}


def test_what_was_handed_over_has_one_life() -> None:
    told = joined(moved_history(), {(0, NOW)})
    assert [len(life.records) for life in lives(told)] == [3]
    assert [life.records[-1].occurrences for life in lives(told)] == [4]
    assert told[-1] == alert(4)


def test_what_was_handed_over_and_came_back_has_ended_there() -> None:
    """A task that has yet to find out how producers choose partitions may hand over, and be handed it back."""
    by_partition: dict[int, list[Alert | None]] = {0: [None, alert(1), None], 1: [alert(1), None]}
    handed_over = {(0, NOW), (1, NOW)}
    assert joined(by_partition, handed_over) == []
    assert joined(by_partition, handed_over, 0) == [alert(1), None]
    by_partition[0] = [alert(1), None, alert(1), None]
    assert joined(by_partition, handed_over, 0) == [alert(1), None], "the first time it was handed over"


def test_what_ends_without_a_hand_over_has_ended() -> None:
    assert [life.is_over for life in lives(joined(moved_history(), set()))] == [True, False]
    assert [life.is_over for life in lives(joined(moved_history(), {(0, NOW - 5)}))] == [True, False]


def test_one_partition_says_what_it_says() -> None:
    history = [alert(1), alert(2), None, alert(1, NOW + 50)]
    assert joined({3: history}, set()) == history


def test_a_life_before_the_one_that_was_handed_over_is_counted() -> None:
    by_partition: dict[int, list[Alert | None]] = {
        0: [alert(2), None, alert(1, NOW + 50), None],
        1: [alert(2, NOW + 50)],
    }
    told = joined(by_partition, {(0, NOW + 50)})
    assert [life.records[-1].occurrences for life in lives(told)] == [2, 2]
    assert told[-1] is not None


def test_events_of_two_partitions_are_in_the_order_of_their_time() -> None:
    events = [*produced(NOW + 8, partition=1), *produced(NOW, NOW + 20)]
    end = Event("end", None, "p-1", 1, 3, NOW + 14)
    told = Incidents(("e0", OLD, NOW, NOW + 15), ("e20", OLD, NOW + 20, None))
    history = [alert(2), None, alert(1, NOW + 20)]
    assert found([*events, end], history, told, Happened()) == []
    too_early = replace(end, sent=NOW + 4)
    assert "wrong_resolve" in found([*events, too_early], history, told, Happened())


def record(topic: str, value: bytes | None, **fields: Any) -> Any:
    given = {"key": KEY.encode(), "partition": 0, "offset": 0, "timestamp": 1, "headers": (), **fields}
    return SimpleNamespace(topic=topic, value=value, **given)


def test_the_reader_puts_together_what_was_handed_over() -> None:
    world = World("", 2, {})
    reader = Reader(world, ["pagerduty"])
    sender = MovingTask("pagerduty", 0, Scheme(2))
    key, value, headers = encode_move(HandOver(sender, 1, KEY, alert(2)))
    reader._take(record(world.state(), encode_alert(alert(2))))
    reader._take(record(world.state(), encode_alert(alert(3)), partition=1))
    reader._take(record(world.state(), None))
    reader._join()
    assert reader.open_alerts("pagerduty")[KEY].occurrences == 3
    assert len(lives(reader.history["pagerduty"][KEY])) == 2
    reader._take(record(world.feedback, value, key=key, headers=headers))
    reader._join()
    assert [life.records for life in lives(reader.history["pagerduty"][KEY])] == [[alert(3)]]
    assert reader.homes["pagerduty"][KEY] == 1
    back = MovingTask("pagerduty", 1, Scheme(2))
    key, value, headers = encode_move(HandOver(back, 0, KEY, alert(3)))
    reader._take(record(world.feedback, value, key=key, headers=headers))
    reader._take(record(world.state(), None, partition=1))
    reader._take(record(world.state(), encode_alert(alert(4))))
    reader._take(record(world.state(), None))
    reader._join()
    told = [life.records for life in lives(reader.history["pagerduty"][KEY])]
    assert [alert(4)] in told, "it came back to the partition that had handed it over, and has ended there"


def test_the_clocks_of_members_do_not_say_what_was_handed_over_last() -> None:
    """A member hands it over whose clock is behind that of the member that has told it."""
    world = World("", 5, {})
    reader = Reader(world, ["pagerduty"])
    key, value, headers = encode_move(HandOver(MovingTask("pagerduty", 4, Scheme(5)), 0, KEY, alert(2)))
    reader._take(record(world.state(), encode_alert(alert(2)), partition=4, timestamp=1_000_000))
    reader._take(record(world.state(), None, partition=4, timestamp=7))
    reader._take(record(world.feedback, value, key=key, headers=headers, timestamp=7))
    reader._take(record(world.state(), encode_alert(alert(6)), timestamp=7))
    reader._join()
    assert [life.records for life in lives(reader.history["pagerduty"][KEY])] == [[alert(6)]]


def test_what_was_handed_over_and_not_taken_is_lost() -> None:
    history = joined({0: [alert(1), None]}, {(0, NOW)})
    assert sorted(found(produced(NOW), history, Incidents(("e0", OLD, NOW, None)), Happened())) == [
        "lost",
        "lost",
        "open_sets",
    ]


# the topic is created anew


def test_of_a_new_input_nothing_has_been_read() -> None:
    world = World("", 2, {})
    reader = Reader(world, ["pagerduty"])
    events, state = TopicPartition(world.events, 1), TopicPartition(world.state(), 1)
    reader._positions = {events: 40, state: 50}
    reader.ends = {events: 40}
    reader.input_is_new()
    assert reader._positions == {state: 50}
    assert reader.ends == {}


def test_poison_of_both_topics_has_a_dead_letter_each() -> None:
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader._take(record(reader._input, b"{", timestamp=1))
    reader._take(record(reader._input, b"{", timestamp=2))
    letter: Any = SimpleNamespace(provider="pagerduty", stage="decode", record=record(reader._input, b"{", timestamp=1))
    reader.dead_letters = [letter]
    findings = take_account(reader, Sandbox(), {}, "p-").findings
    assert [(one.kind, one.dedup_key) for one in findings] == [("lost", "")], "it is of no problem"
    second: Any = SimpleNamespace(provider="pagerduty", stage="decode", record=record(reader._input, b"{", timestamp=2))
    reader.dead_letters.append(second)
    assert take_account(reader, Sandbox(), {}, "p-").findings == []
    reader.dead_letters.append(second)
    assert [one.kind for one in take_account(reader, Sandbox(), {}, "p-").findings] == ["dead_letter_twice"]


def test_what_was_told_long_before_must_not_be_told_again() -> None:
    reader = Reader(World("", 1, {}), ["pagerduty"])
    told = Incidents(("e0", OLD, NOW, NOW + 1), ("e1", OLD, NOW + 20, None))
    assert [one.kind for one in told_again(reader, told, "p2-", NOW + 10)] == ["extra"]
    assert list(told_again(reader, told, "p-", NOW + 10)) == [], "they are of this phase"
    assert list(told_again(reader, told, "p2-", NOW + 30)) == []
    assert list(told_again(reader, told, "p2-", NOW + 10, {"p-1"})) == [], "it waited for its next attempt"


# the key template changes

AGENT_KEY = "g:p-1.agent"
RENDERINGS = [Rendering("pagerduty", NOW + 10, by_agent=True), Rendering("pagerduty", NOW + 30, by_agent=False)]


@pytest.mark.parametrize(("at", "key"), [(NOW, KEY), (NOW + 10, AGENT_KEY), (NOW + 29, AGENT_KEY), (NOW + 30, KEY)])
def test_an_events_key_is_what_was_rendered_then(at: float, key: str) -> None:
    (event,) = produced(at)
    assert dedup_key("pagerduty", event, RENDERINGS) == key
    assert session_of(key, "pagerduty") == "p-1"
    assert is_of(key, "pagerduty", "p-")
    assert dedup_key("opsgenie", event, RENDERINGS) == "clawdstrike-g-p-1"
    assert session_of("clawdstrike-g-p-1", "opsgenie") == "p-1"


def test_ends_end_what_is_keyed_by_session_while_it_is() -> None:
    ends = produced(NOW + 5, NOW + 20, NOW + 40, guard=None)
    assert [end.sent - NOW for end in ends_of(KEY, "pagerduty", ends, RENDERINGS)] == [5, 40]
    assert ends_of(AGENT_KEY, "pagerduty", ends, RENDERINGS) == []
    assert ends_of("clawdstrike-g-p-1", "opsgenie", ends, RENDERINGS) == ends


def test_the_traffics_agents_are_the_sessions_under_another_name() -> None:
    template = KeyTemplate.parse(BY_AGENT)
    events = islice(Traffic("", "")._events("p1", random.Random(1)), 500)
    denied = [(session, fields) for session, _, fields in events if fields and not fields["decision"]["allowed"]]
    assert len(denied) > 50
    for session, fields in denied:
        assert fields["agent"]["id"] == f"{session}.agent"
        guard = fields["decision"]["guard"]
        rendered = template.render(SimpleNamespace(guard=guard, agent_id=fields["agent"]["id"]))  # type: ignore[arg-type]
        event = Event("", guard, session, 0, 0, NOW + 20)
        assert rendered == dedup_key("pagerduty", event, RENDERINGS)


def test_a_problem_is_two_under_two_templates_and_each_is_told_once() -> None:
    events = produced(NOW, NOW + 5, NOW + 12, NOW + 14)
    happened = Happened(renderings=RENDERINGS[:1])
    reader = Reader(World("", 1, {}), ["pagerduty"])
    reader.events = events
    reader.history["pagerduty"] = {KEY: [alert(2)], AGENT_KEY: [alert(2, NOW + 12, AGENT_KEY)]}
    first, second = Incidents(("e0", OLD, NOW, None)), Incidents(("e12", OLD, NOW + 12, None), key=AGENT_KEY)
    first._seen += second._seen
    acked = {event.event_id: event.sent for event in events}
    assert take_account(reader, first, acked, "p-", happened).findings == []
    assert take_account(reader, first, acked, "p-").count("lost") > 0, "by one template it would be one problem"


def test_with_a_stage_all_is_decided_when_the_stage_and_the_pipeline_are_at_their_ends() -> None:
    world = World("", 1, {})
    reader = Reader(world, ["pagerduty"])
    reader.stage_comes("pagerduty")
    stage = "pagerduty-repartition"
    reader.ends = {TopicPartition(world.events, 0): 90, TopicPartition(world.keyed(), 0): 30}

    def checkpoint(topic: str, of: str, offset: int) -> None:
        position = Position(of, 0, offset)
        reader._take(record(topic, encode_position(position), key=CHECKPOINT_KEY))

    checkpoint(world.positions(), world.events, 90)
    checkpoint(world.state(), world.events, 80)  # of before the stage came
    assert reader.undone(stage, {0: 90}) is None
    assert "decided up to 0 of 30" in str(reader.undone("pagerduty", {0: 30}))
    checkpoint(world.state(), world.keyed(), 30)
    assert reader.undone("pagerduty", {0: 30}) is None
    assert "committed up to 20 of 30" in str(reader.undone("pagerduty", {0: 20}))
    reader.stage_goes("pagerduty")
    assert "decided up to 80 of 90" in str(reader.undone("pagerduty", {0: 90}))
    checkpoint(world.state(), world.events, 90)
    assert reader.undone("pagerduty", {0: 90}) is None
    assert set(reader._inputs) == {"pagerduty"}


# the traffic


def test_where_sessions_move_they_are_where_librdkafka_sends_their_key() -> None:
    homes = {name: (home(name, 6), home(name, 12)) for name in (f"p1-{number}" for number in range(100))}
    assert all(0 <= before < 6 and 0 <= after < 12 for before, after in homes.values())
    assert 20 < sum(before != after for before, after in homes.values()) < 80


async def test_while_the_traffic_is_paused_nothing_is_written() -> None:
    traffic = Traffic("", "events", per_second=2000.0)
    producers: list[Any] = []

    class Producer:
        def __init__(self) -> None:
            self.sent: list[asyncio.Future[object]] = []
            producers.append(self)

        async def send(self, topic: str, value: bytes, **place: Any) -> "asyncio.Future[object]":
            future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            self.sent.append(future)
            asyncio.get_running_loop().call_later(0.001, future.set_result, None)
            await asyncio.sleep(0)
            return future

        async def stop(self) -> None:
            pass

    async def producer() -> Any:
        return Producer()

    traffic._producer = producer  # type: ignore[method-assign]
    async with traffic.flowing("p1", "seed"):
        await asyncio.sleep(0.05)
        async with traffic.paused():
            (first,) = producers
            count = len(first.sent)
            assert count > 0
            assert all(future.done() for future in first.sent)
            await asyncio.sleep(0.05)
            assert len(first.sent) == count
        await asyncio.sleep(0.05)
    assert len(producers) == 2
    assert len(first.sent) == count, "the last producer may have wrong ideas of the topic"
    assert len(producers[1].sent) > 0


# the run


def test_changes_are_off_until_they_are_asked_for() -> None:
    assert not set(CHANGES) & set(_phases(with_changes=False))
    assert set(CHANGES) <= set(_phases(with_changes=True))
    assert _parser().parse_args([]).changes is False
    assert _parser().parse_args(["--changes"]).changes is True
    for name in CHANGES:
        assert _parser().parse_args(["--only", name]).only == [name]


# what is done


class Members:
    """Members that say what is done to them; ``document`` is their configuration."""

    def __init__(self) -> None:
        life = {"deduplication": {"window_seconds": 20}}
        pagerduty = {"routing_key": "d" * 32, "routing": {"by_guard": {"secret_leak": OLD}}, **life}
        self.document: dict[str, Any] = {"exporters": {"alerting": {"pagerduty": pagerduty}}}
        self.done: list[str] = []
        self.trouble: list[str] = []

    async def end_all(self) -> None:
        self.done.append("end")

    async def start_all(self, count: int) -> None:
        self.done.append(f"start {count}")

    async def command(self, *arguments: str) -> None:
        self.done.append(" ".join(arguments))

    @property
    def config(self) -> Config:
        return parse_config(yaml.safe_dump(self.document), {}, lambda path: path)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    for seconds in ("LIVE_SECONDS", "DOWN_SECONDS"):
        monkeypatch.setattr(tests.chaos.changes, seconds, 0.0)
    reader = Reader(World("", 6, {}), ["pagerduty"])

    async def is_quiet(may_owe: Collection[str] = ()) -> None:
        return None

    reader.is_quiet = is_quiet  # type: ignore[method-assign]
    members, setting = Members(), SimpleNamespace()
    chance, traffic = random.Random(1), Traffic("", "", partitions=6)
    return Scene(setting, members, 3, chance, traffic, reader, "p1-")  # type: ignore[arg-type]


async def test_the_topics_grow_by_our_own_command(scene: Scene) -> None:
    await CHANGES["the topics grow"].make(scene)
    assert scene.members.done == ["topics grow --partitions 12 --yes"]  # type: ignore[attr-defined]
    assert scene.reader.partitions == scene.traffic.partitions == 12


async def test_a_rotated_key_is_retired_and_can_be_rotated_again(scene: Scene) -> None:
    members: Any = scene.members
    for times in (1, 2):
        await CHANGES["a key is rotated"].make(scene)
        section = members.config.exporters.alerting.pagerduty
        assert len(section.retired_routing_keys) == times
        rotation = scene.happened.rotations[-1]
        assert section.retired_routing_keys[-1].get_secret_value() == rotation.old
        assert section.routing.by_guard["secret_leak"].get_secret_value() == rotation.new
    assert [one.old for one in scene.happened.rotations] == [OLD, scene.happened.rotations[0].new]
    assert members.done == ["end", "start 3"] * 2


async def test_a_stage_comes_with_its_topics_while_nobody_runs_and_goes_again(scene: Scene) -> None:
    members: Any = scene.members
    needed: list[bool] = []

    async def start_all(count: int) -> None:
        members.done.append(f"start {count}")
        template = members.config.exporters.alerting.pagerduty.deduplication.key_template
        needed.append(needs_repartition(KeyTemplate.parse(template), "session_id"))

    members.start_all = start_all
    await CHANGES["the key template changes, and back"].make(scene)
    assert members.done == [
        *("end", "topics create", "topics grow --partitions 6 --yes", "start 3"),
        *("end", "start 3"),
    ]
    assert needed == [True, False]
    assert [one.by_agent for one in scene.happened.renderings] == [True, False]
    assert members.trouble == []


async def test_what_could_not_be_decided_before_a_change_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_never_quiet(may_owe: Collection[str] = ()) -> str:
        return "partition 3 is decided up to 4 of 5"

    scene.reader.is_quiet = is_never_quiet  # type: ignore[method-assign]
    monkeypatch.setattr(tests.chaos.changes, "DECIDED_SECONDS", 0.0)
    await tests.chaos.changes._decided(scene)
    assert scene.members.trouble == ["before the change not all could be decided: partition 3 is decided up to 4 of 5"]
