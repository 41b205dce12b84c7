"""One ``group_instance_id`` in two processes: the older goes on, the other ends, in whichever order they see it."""

import random
from collections.abc import Sequence
from socket import gethostname
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import structlog
from aiokafka.errors import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from consumer.config import parse_config
from consumer.kafka.clients import KafkaClients
from consumer.kafka.instance_id import LOSS_SECONDS, LOSSES, InstanceId, InstanceIdTaken, Process, holders
from consumer.timing.clock import Clock

OLD, NEW = Process(1_764_115_200_000, "00aa11bb"), Process(1_764_115_200_001, "0000aaaa")
NAME = "clawdstrike-alerting"
LINE = "kafka.group_instance_id: another member of group g uses 'pod-1' too: give each member its own"


class Group:
    """A group whose coordinator says who its members are; ``holder`` has the id in question."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.error: Exception | None = None

    async def describe_consumer_groups(self, groups: Sequence[str]) -> list[Any]:
        if self.error is not None:
            raise self.error
        members = [(f"pod-10-{uuid4()}", NEW.client_id(NAME), "/host", b"", b""), (f"x-{uuid4()}", "x", "/", b"", b"")]
        if self.holder is not None:
            members.append((f"pod-1-{uuid4()}", self.holder, "/host", b"", b""))
        return [SimpleNamespace(groups=[(0, "g", "Stable", "consumer", "range", members, 0)])]


class Side:
    """One of the processes."""

    def __init__(self, process: Process, group: Group) -> None:
        self.now = 0.0
        admin: Any = group
        clock = Clock(lambda: 0.0, lambda: self.now)
        self.instance = InstanceId("pod-1", process, admin=admin, group_id="g", clock=clock, log=structlog.get_logger())
        self.process = process
        self.ended: str | None = None

    async def loses(self, *, is_lost: bool = True) -> None:
        try:
            await self.instance.check(is_lost=is_lost)
        except InstanceIdTaken as error:
            self.ended = str(error)


def sides() -> tuple[Group, Side, Side]:
    group = Group()
    return group, Side(OLD, group), Side(NEW, group)


@pytest.mark.parametrize("first", ["older", "newer"])
async def test_the_older_goes_on_and_the_other_ends_with_the_line(first: str) -> None:
    group, older, newer = sides()
    turns = (older, newer) if first == "older" else (newer, older)
    for _ in range(3):
        for loser, winner in (turns, turns[::-1]):
            if newer.ended is None:
                group.holder = winner.process.client_id(NAME)
                await loser.loses()
    assert (older.ended, newer.ended) == (None, LINE)


@pytest.mark.slow
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.randoms(use_true_random=False))
async def test_whatever_their_clocks_say_exactly_one_ends(one: int, other: int, chance: random.Random) -> None:
    group = Group()
    both = [Side(Process(at, f"{chance.getrandbits(32):08x}"), group) for at in (one, other)]
    if both[0].process == both[1].process:
        return
    for loser, winner in (both, both[::-1]):
        group.holder = winner.process.client_id(NAME)
        await loser.loses()
    assert sum(side.ended is not None for side in both) == 1


async def test_what_a_member_has_itself_is_nobody_elses() -> None:
    group, older, _ = sides()
    group.holder = older.process.client_id(NAME)
    for _ in range(20):  # rebalances
        await older.loses(is_lost=False)
    assert older.ended is None


@pytest.mark.parametrize("holder", [None, "clawdstrike-alerting", "somebody-else-1"])
async def test_who_is_not_told_to_whom_it_is_lost_ends_after_some_losses(holder: str | None) -> None:
    group, older, _ = sides()
    group.holder = holder
    for number in range(LOSSES):
        assert older.ended is None
        older.now = number * LOSS_SECONDS / LOSSES
        await older.loses()
    assert older.ended == LINE


async def test_sessions_that_expire_now_and_then_are_no_such_losses() -> None:
    group, older, _ = sides()
    group.error = KafkaError("no rights")
    for number in range(20):
        older.now = number * LOSS_SECONDS
        await older.loses()
    assert older.ended is None


def test_the_holder_is_found_by_the_whole_id() -> None:
    tail = "-" + str(uuid4())
    members = [("pod-1" + tail, "a"), ("pod-1-2" + tail, "b"), ("pod-1", "c"), ("", "d")]
    answers = [SimpleNamespace(groups=[(0, "g", "", "", "", [(*one, "", b"", b"") for one in members])])]
    assert list(holders(answers, "pod-1")) == ["a"]
    assert list(holders(answers, "pod-1-2")) == ["b"]
    assert list(holders(answers, "pod")) == []


@given(st.text())
def test_a_client_id_is_ours_or_it_is_none(text: str) -> None:
    process = Process.of(text)
    assert process is None or process == Process.of(process.client_id("x"))
    assert Process.of(OLD.client_id(text)) == OLD


@pytest.mark.parametrize("instance_id", ["pod-1", None])
async def test_a_client_id_names_the_instance_or_the_host_and_that_of_a_static_member_its_process(
    instance_id: str | None,
) -> None:
    text = "null" if instance_id is None else instance_id
    config = parse_config(f"kafka: {{group_instance_id: {text}}}", {}, lambda path: path)
    clients, name = KafkaClients(config.kafka, process=OLD), f"clawdstrike-alerting-{instance_id or gethostname()}"
    for client, is_told in ((clients.member("g"), instance_id is not None), (clients.reader(), False)):
        assert client._client._client_id == (OLD.client_id(name) if is_told else name)
