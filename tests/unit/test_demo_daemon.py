"""The demo's daemon posts as the engine's does, and half of the agents' events go that way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from consumer.demo import daemon as module
from consumer.demo.agents import AGENTS
from consumer.demo.daemon import Daemon, PostError
from consumer.demo.engine import DemoSession, DemoVerdict
from consumer.demo.traffic import Traffic, TrafficError
from consumer.telemetry.server import serving
from tests.support.events import event

TOKEN = "t0ken-of-the-daemon"


@asynccontextmanager
async def answering(*statuses: int, seconds: float = 5.0) -> AsyncIterator[tuple[Daemon, list[Any]]]:
    """A daemon, and what its posts were, which are answered like this."""
    posted: list[Any] = []
    answers = iter(statuses)

    async def answer(request: web.Request) -> web.Response:
        posted.append((request.headers["Authorization"], await request.json()))
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_post("/v1/events", answer)
    async with serving(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        yield Daemon(http, f"http://127.0.0.1:{port}/v1/events", TOKEN, seconds), posted


async def test_what_is_answered_503_or_429_is_posted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    one = event()
    async with answering(503, 429, 200) as (daemon, posted):
        await daemon.post(one)
    assert posted == [(f"Bearer {TOKEN}", one)] * 3


async def test_what_is_refused_is_told_without_the_token() -> None:
    async with answering(401) as (daemon, posted):
        with pytest.raises(PostError, match=r"/v1/events answered an event with 401$") as caught:
            await daemon.post(event())
    assert len(posted) == 1
    assert TOKEN not in str(caught.value)


async def test_nobody_there_and_nobody_who_takes_it_are_told() -> None:
    async with answering(*[503] * 100, seconds=0.2) as (daemon, _):
        with pytest.raises(PostError, match=r"did not take an event within 0\.2 s \(status 503\)$"):
            await daemon.post(event())
    async with aiohttp.ClientSession() as http:
        with pytest.raises(PostError, match=r"^an event could not be posted to http://127\.0\.0\.1:1/v1/events: "):
            await Daemon(http, "http://127.0.0.1:1/v1/events", TOKEN, 5.0).post(event())


class Producer:
    """Confirms at once."""

    def __init__(self) -> None:
        self.sent = 0

    async def send(self, topic: str, value: bytes, **_: Any) -> "asyncio.Future[None]":
        self.sent += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        confirmed.set_result(None)
        return confirmed


class Posts:
    """A daemon whose posts are taken, or not."""

    def __init__(self, error: PostError | None = None) -> None:
        self.sent = 0
        self._error = error

    async def post(self, event: dict[str, Any]) -> None:
        self.sent += 1
        if self._error is not None:
            raise self._error


class Engines:
    """Allow everything."""

    def of_session(self) -> DemoVerdict:
        return DemoVerdict(True, "engine", "info", "Allowed", "strict", "")

    def decide(self, action: Any, session: DemoSession) -> DemoVerdict:
        return self.of_session()

    def __getitem__(self, ruleset: str) -> "Engines":
        return self


async def test_half_of_the_agents_are_behind_a_daemon() -> None:
    producer, posts, over = Producer(), Posts(), asyncio.Event()
    traffic = Traffic(producer, "t", Engines(), posts, AGENTS[:4])  # type: ignore[arg-type]
    asyncio.get_running_loop().call_later(0.5, over.set)
    await traffic.run(over)
    assert producer.sent > 3
    assert posts.sent > 3
    assert len(traffic.produced) == producer.sent + posts.sent


async def test_a_post_that_fails_ends_the_traffic() -> None:
    traffic = Traffic(Producer(), "t", Engines(), Posts(PostError("no")), AGENTS[:4])  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as caught:
        await traffic.run(asyncio.Event())
    assert all(isinstance(error, TrafficError) for error in caught.value.exceptions)
