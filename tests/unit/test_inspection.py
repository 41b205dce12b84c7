"""Accepted is not paged: what PagerDuty's REST API says of a page (design section 13, "Accepted is not paged")."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from providers.http import HttpSender, create_session
from providers.inspection import InspectionError, NotThere, Obstacle, RouteInspection, There, inspector_of, look_for
from providers.notify import deliver
from providers.opsgenie.provider import OpsGenie
from providers.opsgenie.settings import OpsGenieSettings
from providers.pagerduty.provider import PagerDuty
from providers.pagerduty.rest import rest_base
from providers.pagerduty.settings import PagerDutySettings
from providers.sandbox import Fault, FaultyAnswer, Sandbox, SandboxSettings, running_sandbox
from tests.unit.test_pagerduty import trigger

KEY, GUARD_KEY, TOKEN = "a" * 32, "b" * 32, "y_NbAkKc66ryYTWUXYEu"
DEDUP_KEY = "forbidden_path:sess-1"
HOUR = 3600.0


@dataclass
class World:
    """A sandbox, and whoever asks it."""

    sandbox: Sandbox
    provider: PagerDuty
    sender: HttpSender

    async def tell(self, route: str = "default") -> None:
        """Send one trigger, which is accepted."""
        await deliver(self.sender, self.provider, route, trigger(), 20.0)

    async def look(self, route: str = "default") -> There | NotThere:
        """Look for it, once."""
        inspector = inspector_of(self.provider)
        assert inspector is not None
        return await look_for(inspector, self.sender, route, DEDUP_KEY, time.time(), 20.0, patience=0.0)

    async def obstacles(self, route: str = "default") -> Sequence[Obstacle]:
        """What stands in the way."""
        assert self.provider.inspector is not None
        return await self.provider.inspector.obstacles(self.sender, route, 20.0)


@asynccontextmanager
async def made(token: str = TOKEN) -> AsyncIterator[World]:
    settings = SandboxSettings(pagerduty_rest_tokens=frozenset({TOKEN}))
    async with running_sandbox(settings) as sandbox, create_session(8) as session:
        given = {
            "routing_key": KEY,
            "api_endpoint": sandbox.url,
            "rest_token": token,
            "rest_endpoint": sandbox.url,
            "routing": {"by_guard": {"secret_leak": GUARD_KEY}},
        }
        yield World(sandbox, PagerDuty(PagerDutySettings.model_validate(given)), HttpSender(session))


def test_the_address_is_that_of_the_account() -> None:
    assert rest_base("https://events.pagerduty.com") == "https://api.pagerduty.com"
    assert rest_base("https://events.eu.pagerduty.com") == "https://api.eu.pagerduty.com"


def test_without_a_token_nobody_is_asked() -> None:
    assert inspector_of(PagerDuty(PagerDutySettings.model_validate({"routing_key": KEY}))) is None
    assert inspector_of(OpsGenie(OpsGenieSettings.model_validate({"api_key": "0f1e2d3c-key"}))) is None


def test_the_token_is_a_secret() -> None:
    settings = PagerDutySettings.model_validate({"routing_key": KEY, "rest_token": TOKEN})
    assert TOKEN not in repr(settings)
    assert TOKEN not in repr(PagerDuty(settings).inspector)


async def test_an_incident_that_is_there_is_found_with_its_service_and_address() -> None:
    async with made() as world:
        await world.tell()
        (incident,) = world.sandbox.incidents()
        address = f"https://sandbox.pagerduty.example/incidents/{incident.id}"
        assert await world.look() == There(f"incident 1 on service Service 1 is triggered: {address}")
        assert await world.obstacles() == []


async def test_one_at_another_service_or_of_before_is_another() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.of(GUARD_KEY)
        await world.tell()
        assert isinstance(await world.look("by_guard:secret_leak"), NotThere)
        world.sandbox.close("pagerduty", DEDUP_KEY)
        assert isinstance(await world.look(), There), "it has ended just now"
        inspector = world.provider.inspector
        assert inspector is not None
        assert await inspector.find(world.sender, "default", DEDUP_KEY, time.time() + 60, 20.0) is None


def disabled(sandbox: Sandbox) -> None:
    sandbox.pagerduty.services.of(KEY).status = "disabled"


def in_maintenance(sandbox: Sandbox) -> None:
    sandbox.pagerduty.services.of(KEY).maintenance_until = 4102444800.0


def suppressed(sandbox: Sandbox) -> None:
    sandbox.pagerduty.services.of(KEY).suppresses = True


OBSTACLES = [
    (disabled, Obstacle("service Service 1 is disabled")),
    (in_maintenance, Obstacle("service Service 1 is in a maintenance window until 2100-01-01T00:00:00Z")),
    (
        suppressed,
        Obstacle(
            "the event orchestration of service Service 1 has 1 rule by which events are suppressed, paused or dropped",
            certain=False,
        ),
    ),
]


@pytest.mark.parametrize(("arrange", "obstacle"), OBSTACLES)
async def test_what_is_accepted_and_opens_nothing_is_told_with_what_stands_in_the_way(
    arrange: Callable[[Sandbox], None], obstacle: Obstacle
) -> None:
    async with made() as world:
        arrange(world.sandbox)
        await world.tell()
        assert [entry.status for entry in world.sandbox.requests(action="trigger")] == [202]
        assert world.sandbox.incidents() == []
        assert await world.look() == NotThere((obstacle,))


async def test_a_key_of_no_service_and_a_global_one_are_told_apart() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.unknown.add(KEY)
        assert await world.obstacles() == [
            Obstacle("no integration of a service has its key, as far as the REST token can see")
        ]
        world.sandbox.pagerduty.services.global_keys.add(KEY)
        (found,) = await world.obstacles()
        assert (found.text, found.certain) == (
            "it is a global integration key of event orchestration Everything, whose rules choose the service, or none",
            False,
        )


async def test_a_service_beyond_the_first_page_is_found_and_then_asked_for_by_its_id() -> None:
    async with made() as world:
        for number in range(250):
            world.sandbox.pagerduty.services.of(f"{number:032}")
        disabled(world.sandbox)
        assert await world.obstacles() == [Obstacle("service Service 251 is disabled")]
        asked = len(world.sandbox.requests(action="look"))
        await world.obstacles()
        again = [entry.path for entry in world.sandbox.requests(action="look")[asked:]]
        assert again[0].startswith("/services/PSRV251?")
        assert len(again) == 3


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, '{"error": {"message": "Authentication failed", "code": 2006}}', "HTTP 401 Authentication failed"),
        (403, "", "HTTP 403"),
        (429, "", "HTTP 429"),
        (500, f'{{"error": {{"message": "{TOKEN} {KEY}"}}}}', "HTTP 500"),
        (200, "<html>", "the answer cannot be read"),
    ],
)
async def test_what_cannot_be_looked_up_is_said_without_secrets(status: int, body: str, said: str) -> None:
    async with made() as world:
        world.sandbox.faults.add(Fault(FaultyAnswer(status=status, body=body), action="look"))
        with pytest.raises(InspectionError, match=said) as error:
            await world.look()
        assert TOKEN not in str(error.value)
        assert KEY not in str(error.value)


async def test_a_token_that_is_none_is_refused() -> None:
    async with made(token="wrong") as world:
        with pytest.raises(InspectionError, match=r"GET /services: HTTP 401 Authentication failed"):
            await world.look()


# --- while the service runs


@dataclass
class Watch:
    """An inspection that runs."""

    world: World
    inspection: RouteInspection
    log: structlog.testing.LogCapture
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    counted: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, route: str, result: str) -> None:
        self.counts[route, result] += 1
        self.counted.set()

    async def reached(self, route: str, result: str, count: int = 1) -> None:
        """Wait until that was found so often."""
        async with asyncio.timeout(30):
            while self.counts[route, result] < count:
                await self.counted.wait()
                self.counted.clear()

    def said(self) -> list[str]:
        """The events of the log."""
        return [line["event"] for line in self.log.entries]


@asynccontextmanager
async def watching(world: World, interval: float = HOUR, only: str | None = None) -> AsyncIterator[Watch]:
    log = structlog.testing.LogCapture()
    assert world.provider.inspector is not None
    inspection = RouteInspection(
        world.provider,
        world.provider.inspector,
        intervals={route: interval if only in (None, route) else 0.0 for route in world.provider.routes},
        sender=world.sender,
        timeout=20.0,
        counted=lambda route, result: watch.count(route, result),
        log=structlog.wrap_logger(structlog.PrintLogger(), processors=[log]),
        patience=0.0,
    )
    watch = Watch(world, inspection, log)
    running = asyncio.create_task(inspection.run())
    try:
        yield watch
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_each_route_is_inspected_at_start_and_what_stands_in_the_way_is_noted() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.of(GUARD_KEY)
        disabled(world.sandbox)
        async with watching(world) as watch:
            await watch.reached("default", "obstructed")
            await watch.reached("by_guard:secret_leak", "paged")
            assert watch.inspection.notes == ("nobody is paged through route default: service Service 2 is disabled",)
            assert watch.said() == ["route_pages_nobody"]


async def test_it_is_said_once_and_again_when_it_is_over() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.of(GUARD_KEY)
        disabled(world.sandbox)
        async with watching(world, interval=0.05) as watch:
            await watch.reached("default", "obstructed", 3)
            world.sandbox.pagerduty.services.of(KEY).status = "active"
            await watch.reached("default", "paged")
            assert watch.said() == ["route_pages_nobody", "route_pages_again"]
            assert watch.inspection.notes == ()


async def test_the_first_alert_that_is_accepted_is_looked_for() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.of(GUARD_KEY)
        suppressed(world.sandbox)
        async with watching(world) as watch:
            await watch.reached("default", "paged")
            await world.tell()
            watch.inspection.accepted("default", DEDUP_KEY)
            await watch.reached("default", "missing")
            (line,) = watch.log.entries
            assert (line["event"], line["dedup_key"]) == ("incident_missing", DEDUP_KEY)
            assert "suppressed" in line["obstacles"][0]
            watch.inspection.accepted("default", DEDUP_KEY)  # within the hour it is not looked again
            watch.inspection.accepted("by_guard:secret_leak", DEDUP_KEY)
            await watch.reached("by_guard:secret_leak", "missing")
            assert watch.counts["default", "missing"] == 1


async def test_what_cannot_be_found_out_is_said_once() -> None:
    async with made() as world:
        world.sandbox.faults.add(Fault(FaultyAnswer(status=503), action="look"))
        async with watching(world, interval=0.05) as watch:
            await watch.reached("default", "unknown", 3)
            assert watch.said().count("route_inspection_failed") == 2  # of two routes
            assert watch.inspection.notes == ()


async def test_a_route_that_is_not_checked_is_not_inspected() -> None:
    async with made() as world:
        world.sandbox.pagerduty.services.of(GUARD_KEY)
        async with watching(world, interval=HOUR, only="by_guard:secret_leak") as watch:
            await watch.reached("by_guard:secret_leak", "paged")
            watch.inspection.accepted("default", DEDUP_KEY)
            watch.inspection.accepted("by_guard:secret_leak", DEDUP_KEY)
            await watch.reached("by_guard:secret_leak", "missing")
            assert {route for route, _ in watch.counts} == {"by_guard:secret_leak"}
