"""Walks through everything that tasks, the provider and time can do to delivery, in any order.

After every step nothing may be broken, and in the end everything that is owed is told and nothing is left behind.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.delivery.delivery import RouteLimits
from providers.delivery.outbox import Lane
from providers.rate import Rate
from state.violation import Severity
from tests.unit.test_delivery import Outbox, Setting, withdraw

pytestmark = pytest.mark.slow

ROUTES = ("default", "team", "same key")
ANSWERS: tuple[Answer, ...] = (
    Accepted(),
    Accepted(),
    Unavailable(503, "down"),
    Unavailable(503, "down", retry_after=120.0),
    Unavailable(None, "no answer", unknown=True),
    Rejected(400, "no"),
    Rejected(403, "no"),
    Rejected(404, "no such alert", is_plain=True),
    RouteRefused(401, "no"),
    Throttled("slow down", 3.0),
)
WAITS = (0.1, 1.0, 5.0, 11.0, 31.0, 130.0)

STEPS = st.one_of(
    st.tuples(st.just("owe"), st.integers(0, 7), st.integers(0, 400)),
    st.tuples(st.just("answer"), st.integers(0, 20), st.integers(0, len(ANSWERS) - 1)),
    st.tuples(st.just("wait"), st.integers(0, len(WAITS) - 1), st.just(0)),
    st.tuples(st.just("ends"), st.integers(0, 7), st.integers(0, 1)),
    st.tuples(st.just("withdraw"), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("proof"), st.just(0), st.just(0)),
    st.tuples(st.just("share"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("caught up"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("reacts"), st.integers(0, 1), st.just(0)),
)


class Walk:
    """Two tasks, three routes, two keys."""

    def __init__(self, *, check: float, may_owe: int | None, rate: Rate | None, places: int, requests: int) -> None:
        self.setting = Setting(
            routes=ROUTES,
            keys={"same key": "team"},
            max_in_flight=places,
            requests=requests,
            threshold=2,
            limits=RouteLimits(rate, check, may_owe),
            max_owed_bytes=500,
        ).start()
        self.places = places
        self.outboxes = [Outbox(self.setting), Outbox(self.setting)]
        self.serial = 0

    def step(self, name: str, number: int, more: int) -> None:
        setting, loop = self.setting, self.setting.loop
        if name == "owe":
            outbox, lane = self.outboxes[number % 2], tuple(Lane)[more % 4]
            key = f"{number % 2}-{number}"
            setting.loop.settle()
            self.serial += 1
            outbox.owe(
                key,
                Severity(more % 5),
                since=float(self.serial),
                route=ROUTES[more % 3],
                lane=lane,
                failures=more % 7 if more % 2 else 0,
                size=more,
                not_before=loop.time() + more % 3,
                is_new=lane <= Lane.AGAIN and more % 3 == 0,
            )
        elif name == "answer" and setting.waiting:
            names = sorted(setting.waiting)
            setting.answer(names[number % len(names)], ANSWERS[more])
        elif name == "wait":
            loop.advance(WAITS[number])
        elif name == "ends":
            outbox = self.outboxes[number % 2]
            key = f"{number % 2}-{number}"
            if more == 0:
                outbox.owed.pop(key, None)
            elif key in outbox.owed:
                outbox.owed[key] = replace(outbox.owed[key], is_ready=not outbox.owed[key].is_ready)
            outbox.changed(key)
        elif name == "withdraw":
            old = self.outboxes[number]
            withdrawal = withdraw(setting, old, float(more))
            loop.advance(more + 0.01)
            assert withdrawal.done()
            new = self.outboxes[number] = Outbox(setting)
            for key, pending in old.owed.items():
                new.owed[key] = pending
                new.changed(key)
        elif name == "proof":
            setting.may_send = not setting.may_send
            setting.wake()
        elif name == "share":
            with loop.running():
                setting.delivery.set_share((0.0, 0.1, 1.0)[number])
        elif name == "caught up":
            self._caught_up(self.outboxes[number], not self.outboxes[number].resolves)
        elif name == "reacts":
            outbox = self.outboxes[number]
            outbox.answered = outbox.changed_at_once
        loop.settle()
        self.look()

    def _caught_up(self, outbox: Outbox, is_caught_up: bool) -> None:
        outbox.resolves = is_caught_up
        if is_caught_up:
            with self.setting.loop.running():
                self.setting.delivery.may_resolve_again(outbox)

    def look(self) -> None:
        setting = self.setting
        assert not setting.loop.errors, setting.loop.errors
        assert not setting.faults
        delivery = setting.delivery
        assert 0 <= delivery.in_flight <= self.places
        mine = sum(len(outbox.owed) for outbox in self.outboxes)
        assert sum(delivery.waiting().values()) <= mine
        if delivery.in_flight:
            return  # what changes meanwhile is asked when the answer has come
        owed = [pending for outbox in self.outboxes for pending in outbox.owed.values() if pending.is_trigger]
        assert sum(one.owed for one in delivery._integrations) == len(owed)
        assert delivery._owed.bytes == sum(pending.size for pending in owed)

    def rest(self) -> None:
        """Everything is accepted from now on, and everybody may speak: then all is told."""
        setting = self.setting
        setting.may_send = True
        for outbox in self.outboxes:
            for key, pending in list(outbox.owed.items()):
                outbox.owed[key] = replace(pending, is_ready=True)
                outbox.changed(key)
        with setting.loop.running():
            setting.delivery.set_share(1.0)
        setting.wake()
        for _ in range(3000):
            while setting.waiting:
                setting.answer(next(iter(setting.waiting)))
                setting.loop.settle()
            for outbox in self.outboxes:
                self._caught_up(outbox, True)
            if not any(outbox.owed for outbox in self.outboxes):
                break
            setting.loop.advance(1.0)
            self.look()
        assert [outbox.owed for outbox in self.outboxes] == [{}, {}]
        setting.loop.advance(200.0)
        while setting.waiting:
            setting.answer(next(iter(setting.waiting)))
        assert setting.delivery.refused_routes == []
        assert setting.delivery.open_breakers() == []
        assert not setting.delivery._on_the_wire
        assert not any(setting.delivery._where.values())
        for one in setting.delivery._integrations:
            assert not one.suspects
            assert not one._forgiven
            assert (one.in_flight, one._behind_in_flight, len(one)) == (0, 0, 0)
            assert not any(queue.retries for queue in one._queues.values())
        setting.loop.complete(setting.delivery.close())


@pytest.mark.parametrize("check", [0.0, 3600.0])
@pytest.mark.parametrize("places", [1, 3, 100])
@given(
    walk=st.lists(STEPS, max_size=60),
    may_owe=st.sampled_from([None, 2]),
    rate=st.sampled_from([None, Rate(1.5, 3)]),
    requests=st.sampled_from([1, 2]),
)
@settings(max_examples=100, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_everything_is_told_in_the_end_and_nothing_left_behind(
    check: float, places: int, walk: list[tuple[str, int, int]], may_owe: int | None, rate: Rate | None, requests: int
) -> None:
    setting = Walk(check=check, may_owe=may_owe, rate=rate, places=places, requests=requests)
    for name, number, more in walk:
        setting.step(name, number, more)
    setting.rest()
