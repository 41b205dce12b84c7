"""Change events: from a decided event to the provider, beside its alerts (design section 9, "Change events")."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from providers.changes import LONGEST_WAIT, MOST_BYTES, MOST_WAITING, Changes, changes_of
from providers.delivery.limiter import KeyLimiter
from providers.http import HttpSender, create_session
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.settings import PagerDutySettings
from providers.provider import Request
from providers.rate import Rate
from providers.sandbox import Delay, Fault, FaultyAnswer, LoseAnswer, Sandbox, running_sandbox
from state.violation import Severity, Violation
from tests.support.pagerduty_schema import check_schema

DEFAULT_KEY, GUARD_KEY = "a" * 32, "b" * 32


def change(event_id: str, guard: str = "posture") -> Violation:
    return Violation(
        event_id=event_id,
        event_type="policy_allow",
        timestamp="2026-05-20T14:00:00Z",
        guard=guard,
        severity=Severity.INFO,
        reason="Policy was reloaded",
        allowed=True,
        agent_id="agent-7",
        session_id="sess-1",
        resource_type="configuration",
        resource_name="policy.yaml",
    )


@dataclass
class World:
    """A sandbox, what tells it of changes, and what became of them."""

    sandbox: Sandbox
    changes: Changes
    has_room: bool = True
    now: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    log: structlog.testing.LogCapture = field(default_factory=structlog.testing.LogCapture)

    def told(self, key: str | None = None) -> list[str | None]:
        """The ids of the events that have arrived, whatever was answered."""
        return [entry.event_id for entry in self.sandbox.requests(action="change", key=key)]

    async def settled(self, **counts: int) -> None:
        """Wait until so many have come to this."""
        wanted = Counter(counts)
        async with asyncio.timeout(30):
            while self.counts != wanted:
                await self.counted.wait()
                self.counted.clear()

    counted: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, result: str) -> None:
        self.counts[result] += 1
        self.counted.set()


@asynccontextmanager
async def made(*, is_running: bool = True) -> AsyncIterator[World]:
    async with running_sandbox() as sandbox, create_session(8) as session:
        settings = {
            "routing_key": DEFAULT_KEY,
            "api_endpoint": sandbox.url,
            "routing": {"by_guard": {"engine": GUARD_KEY}},
            "change_events": {"enabled": True},
        }
        provider = PagerDuty(PagerDutySettings.model_validate(settings))
        log = structlog.testing.LogCapture()
        changes = Changes(
            provider,
            provider,
            sender=HttpSender(session),
            timeout=20.0,
            has_room=lambda route: world.has_room,
            counted=lambda result: world.count(result),
            log=structlog.wrap_logger(structlog.PrintLogger(), processors=[log]),
            clock=lambda: world.now,
            look=0.001,
        )
        world = World(sandbox, changes, log=log)
        if not is_running:
            yield world
            return
        running = asyncio.create_task(changes.run())
        try:
            yield world
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_change_goes_to_where_a_page_about_it_would_go() -> None:
    async with made() as world:
        world.changes.offer(change("e1"), 10)
        world.changes.offer(change("e2", guard="engine"), 10)
        world.changes.offer(change("e3"), 10)
        await world.settled(accepted=3)
        assert world.told(DEFAULT_KEY) == ["e1", "e3"]
        assert world.told(GUARD_KEY) == ["e2"]
        for entry in world.sandbox.requests(action="change"):
            check_schema("/change/enqueue", entry.body)
        assert world.sandbox.incidents() == []


async def test_while_alerts_need_the_rate_changes_wait() -> None:
    async with made() as world:
        world.has_room = False
        world.changes.offer(change("e1"), 10)
        await asyncio.sleep(0.02)  # twenty looks
        assert world.told() == []
        world.has_room = True
        await world.settled(accepted=1)


async def test_what_was_certainly_not_taken_is_sent_again_and_what_may_have_been_is_not() -> None:
    async with made() as world:
        world.sandbox.faults.add(Fault(FaultyAnswer(status=429, headers={"Retry-After": "0"}), times=1))
        world.sandbox.faults.add(Fault(FaultyAnswer(status=503, headers={"Retry-After": "0"}), times=1))
        world.changes.offer(change("e1"), 10)
        await world.settled(accepted=1)
        assert world.told() == ["e1", "e1", "e1"]
        world.sandbox.faults.add(Fault(LoseAnswer(), times=1))
        world.changes.offer(change("e2"), 10)
        await world.settled(accepted=1, failed=1)
        assert world.told() == ["e1", "e1", "e1", "e2"]
        assert [line["event"] for line in world.log.entries if line["log_level"] != "debug"] == [
            "change_events_fail",
            "change_events_work",
            "change_events_fail",
        ]


async def test_one_that_is_rejected_is_over_and_the_next_goes_on() -> None:
    async with made() as world:
        world.sandbox.faults.add(Fault(FaultyAnswer(status=413), times=1))
        world.changes.offer(change("e1"), 10)
        world.changes.offer(change("e2"), 10)
        await world.settled(rejected=1, accepted=1)


async def test_one_that_cannot_be_made_is_dropped_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as world:
        make = world.changes._tells.change

        def fails_for_one(violation: Violation) -> Request | None:
            if violation.event_id == "e1":
                raise KeyError("a-secret")
            return make(violation)

        monkeypatch.setattr(world.changes._tells, "change", fails_for_one)
        world.changes.offer(change("e1"), 100)
        world.changes.offer(change("e2"), 100)
        await world.settled(dropped=1, accepted=1)
        assert world.told() == ["e2"]
        assert "a-secret" not in str(world.log.entries)


async def test_one_integration_that_hangs_holds_up_no_other() -> None:
    async with made() as world:
        world.sandbox.faults.add(Fault(Delay(0.4), key=DEFAULT_KEY))
        world.changes.offer(change("e1"), 10)
        world.changes.offer(change("e2", guard="engine"), 10)
        await world.settled(accepted=1)
        assert [entry.event_id for entry in world.sandbox.requests(action="change", status=202)] == ["e2"]
        await world.settled(accepted=2)


async def test_of_too_many_the_oldest_are_dropped() -> None:
    async with made(is_running=False) as world:
        for number in range(MOST_WAITING + 3):
            world.changes.offer(change(f"e{number}"), 10)
        assert (world.changes.waiting, world.counts) == (MOST_WAITING, {"dropped": 3})
        world.changes.offer(change("large"), MOST_BYTES)
        assert (world.changes.waiting, world.counts["dropped"]) == (1, MOST_WAITING + 3)
        world.changes.offer(change("larger"), MOST_BYTES + 1)
        assert (world.changes.waiting, world.counts["dropped"]) == (0, MOST_WAITING + 5)


async def test_one_that_no_other_can_make_room_for_is_dropped_itself() -> None:
    async with made(is_running=False) as world:
        world.changes.offer(change("e1"), MOST_BYTES)
        world.changes.offer(change("e2", guard="engine"), 10)
        assert (world.changes.waiting, world.counts) == (1, {"dropped": 1})


async def test_what_has_waited_for_too_long_explains_nothing_any_more() -> None:
    async with made() as world:
        world.has_room = False
        world.changes.offer(change("old"), 10)
        world.now = LONGEST_WAIT + 1
        await world.settled(dropped=1)
        world.has_room = True
        world.changes.offer(change("new"), 10)
        await world.settled(dropped=1, accepted=1)
        assert world.told() == ["new"]


async def test_what_waits_at_the_end_is_dropped_and_counted() -> None:
    async with made() as world:
        world.changes.offer(change("e1"), 10)
        await world.settled(accepted=1)
        world.has_room = False
        world.changes.offer(change("e2"), 10)
    assert world.counts == {"accepted": 1, "dropped": 1}


def test_only_a_provider_that_is_told_changes_has_categories() -> None:
    on = {"routing_key": DEFAULT_KEY, "change_events": {"enabled": True, "categories": ["network"]}}
    assert changes_of(PagerDuty(PagerDutySettings.model_validate(on))) == ("network",)
    assert changes_of(PagerDuty(PagerDutySettings.model_validate({"routing_key": DEFAULT_KEY}))) == ()
    assert changes_of(OpsGenie(OpsGenieSettings.model_validate({"api_key": "0f1e2d3c-key"}))) == ()


# --- what of the rate is free for them


def limiter(rate: Rate | None = Rate(1.5, 30)) -> KeyLimiter:  # noqa: B008
    made = KeyLimiter(rate, random=lambda: 0.5, now=0.0)
    made.set_share(1.0, 0.0)
    return made


def test_half_of_the_burst_is_left_for_alerts() -> None:
    one = limiter()
    assert sum(one.take_spare(0.0) for _ in range(100)) == 15
    taken = 0
    while one.has_token(0.0):
        one.take(0.0)
        taken += 1
    assert taken == 15


def test_all_requests_together_keep_to_the_documented_rate() -> None:
    one, left = limiter(), []
    for tick in range(6000):
        now = tick / 10
        if one.take_spare(now):
            left.append(now)
    for begin in left:
        assert sum(begin <= at < begin + 60 for at in left) <= 120


@pytest.mark.parametrize("rate", [None, Rate(1.5, 1)])
def test_without_a_limit_and_with_a_burst_of_one_there_is_room(rate: Rate | None) -> None:
    assert limiter(rate).take_spare(0.0)


def test_nothing_is_free_while_an_alert_waits_or_a_429_is_remembered() -> None:
    one = limiter()
    one.set_waiting(True, 0.0)
    assert not one.take_spare(0.0)
    one.set_waiting(False, 0.0)
    one.throttled(0.0, None)
    assert not one.take_spare(65.0)
    assert one.has_token(65.0)
    assert one.take_spare(1000.0)


def test_nothing_is_free_without_a_part_of_the_partitions() -> None:
    one = limiter()
    one.set_share(0.0, 0.0)
    assert not one.take_spare(0.0)
