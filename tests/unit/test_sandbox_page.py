"""The page over HTTP: its headers, its files, its stream, its buttons, and who may press them."""

import asyncio
import json
import re
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from providers.sandbox import Fault, FaultyAnswer, Sandbox, running_sandbox
from providers.sandbox.outage import ANSWERS, SandboxOutages
from providers.sandbox.page.page import FILES, MOST_STREAMS, PREFIX
from tests.support import hostile

KEY = "a" * 32
ROOT = Path(__file__).parents[2]
STATIC = ROOT / "providers" / "sandbox" / "page" / "static"


class Browser:
    """As much of a browser as the page needs: it has its token, and says where its requests come from."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox
        self.url = sandbox.url

    async def token(self) -> str:
        async with self.http.get(f"{self.url}/") as answer:
            found = re.search(r'<meta name="token" content="([^"]{20,})">', await answer.text())
        assert found is not None
        return found[1]

    async def press(self, what: dict[str, Any], token: str | None = None, **headers: str) -> tuple[int, Any]:
        given = {"X-Sandbox-Token": await self.token() if token is None else token, "Origin": self.url}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.post(f"{self.url}{PREFIX}do", json=what, headers=given) as answer:
            return answer.status, await answer.json()

    async def trigger(self, dedup_key: str = "k", title: str = "s") -> int:
        payload = {"summary": title, "source": "a", "severity": "error", "custom_details": {"event_id": dedup_key}}
        event = {"routing_key": KEY, "event_action": "trigger", "dedup_key": dedup_key, "payload": payload}
        async with self.http.post(f"{self.url}/v2/enqueue", json=event) as answer:
            return answer.status

    async def alert(self, alias: str = "k") -> int:
        body, headers = {"message": "m", "alias": alias}, {"Authorization": "GenieKey g"}
        async with self.http.post(f"{self.url}/v2/alerts", json=body, headers=headers) as answer:
            return answer.status

    async def incident(self, id: str) -> tuple[int, Any]:
        async with self.http.get(f"{self.url}{PREFIX}incidents/{id}") as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def browser(sandbox: Sandbox) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as http:
        yield Browser(http, sandbox)


async def told(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next event of a stream."""
    async with asyncio.timeout(8):
        line = (await stream.content.readuntil(b"\n\n")).decode()
    assert line.startswith("data: ")
    assert line.count("\n") == 2
    return dict(json.loads(line.removeprefix("data: ")))


# --- headers and files


@pytest.mark.parametrize(
    "path", ["/", "/?a=b", *(PREFIX + name for name in FILES), f"{PREFIX}stream", f"{PREFIX}nothing"]
)
async def test_every_answer_has_a_strict_policy(browser: Browser, path: str) -> None:
    async with browser.http.get(browser.url + path) as answer:
        policy = {
            name: rest
            for name, _, rest in (
                part.strip().partition(" ") for part in answer.headers["Content-Security-Policy"].split(";")
            )
        }
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
        assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_all_files_are_there_and_nothing_else_is(browser: Browser) -> None:
    assert {file.name for file in STATIC.iterdir()} == {"index.html", *FILES}
    for name, content_type in FILES.items():
        async with browser.http.get(browser.url + PREFIX + name) as answer:
            assert (answer.status, answer.content_type) == (200, content_type)
            assert await answer.read() == (STATIC / name).read_bytes()
    for name in ("index.html", "../page.py", "..%2fpage.py", "page.py", ""):
        async with browser.http.get(browser.url + PREFIX + name) as answer:
            assert answer.status == 404


def test_the_files_are_in_the_wheel() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for file in STATIC.iterdir():
        assert any(fnmatch(f"static/{file.name}", pattern) for pattern in data["providers.sandbox.page"])


def test_the_page_needs_nothing_from_elsewhere_and_makes_no_markup() -> None:
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
        assert not re.search(r"<[^>]+\s(on\w+|style)=|<script>|<style", text)
        assert file.stat().st_size < 20_000


async def test_looking_at_it_is_no_request_to_a_provider(browser: Browser, sandbox: Sandbox) -> None:
    await browser.token()
    async with browser.http.head(f"{browser.url}/") as answer:
        assert answer.status == 200
    assert sandbox.requests() == []
    assert sandbox.counts()["requests"]["received"] == 0


async def test_under_a_name_that_anybody_could_have_it_is_not_served(browser: Browser) -> None:
    async with browser.http.get(f"{browser.url}/", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
        assert "token" not in await answer.text()


# --- the stream


@pytest.mark.slow
async def test_the_stream_tells_everything_and_then_what_changes(browser: Browser, sandbox: Sandbox) -> None:
    await browser.trigger("k1")
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        assert stream.content_type == "text/event-stream"
        first = await told(stream)
        assert first["whole"]
        assert [one["dedup_key"] for one in first["incidents"]] == ["k1"]
        await browser.trigger("k2")
        second = await told(stream)
        assert not second["whole"]
        assert [one["dedup_key"] for one in second["incidents"]] == ["k2"]
        assert [one["open"] for one in second["providers"]] == [2, 0]
        sandbox.close("pagerduty", "k1")
        third = await told(stream)
        assert [(one["dedup_key"], one["status"], one["by"]) for one in third["incidents"]] == [
            ("k1", "resolved", "person")
        ]


async def test_what_comes_at_once_is_told_at_once(browser: Browser) -> None:
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        await told(stream)
        for number in range(30):
            await browser.trigger(f"k{number}")
        seen: set[str] = set()
        events = 0
        while len(seen) < 30:
            seen |= {one["dedup_key"] for one in (await told(stream))["incidents"]}
            events += 1
        assert events < 15


async def test_after_a_reset_everything_is_told_anew(browser: Browser, sandbox: Sandbox) -> None:
    await browser.trigger("k1")
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        await told(stream)
        sandbox.reset()
        after = await told(stream)
        assert (after["whole"], after["incidents"], after["requests"]) == (True, [], [])


@pytest.mark.parametrize("text", hostile.ALL)
async def test_a_hostile_text_is_one_event_of_json(browser: Browser, text: str) -> None:
    await browser.trigger("k", text)
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        [one] = (await told(stream))["incidents"]
    assert one["title"].isprintable()


async def test_how_a_request_was_answered_is_told(browser: Browser, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=503), times=1))
    await browser.trigger("k1")
    await browser.trigger("k1")
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        state = await told(stream)
    assert [(one["action"], one["status"], one["fault"]) for one in state["requests"]] == [
        ("trigger", 202, None),
        ("trigger", 503, "answer"),
    ]
    assert (state["providers"][0]["accepted"], state["providers"][0]["refused"]) == (1, 1)


async def test_the_sandbox_ends_although_pages_look() -> None:
    async with aiohttp.ClientSession() as http:
        async with running_sandbox() as sandbox:
            stream = await http.get(f"{sandbox.url}{PREFIX}stream")
            await told(stream)
            began = time.monotonic()
        assert time.monotonic() - began < 3
        stream.close()


async def test_so_many_pages_can_look_and_then_one_again(browser: Browser) -> None:
    streams = [await browser.http.get(f"{browser.url}{PREFIX}stream") for _ in range(MOST_STREAMS)]
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as answer:
        assert answer.status == 503
    for stream in streams:
        stream.close()
    async with asyncio.timeout(8):
        while True:
            async with browser.http.get(f"{browser.url}{PREFIX}stream") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)


# --- one incident


async def test_an_incident_has_its_timeline_and_its_payload(browser: Browser, sandbox: Sandbox) -> None:
    await browser.trigger("k")
    [one] = sandbox.incidents()
    status, seen = await browser.incident(one.id)
    assert status == 200
    assert [(step["what"], step["by"]) for step in seen["steps"]] == [("opened", "client")]
    assert orjson.loads(seen["payload"])["payload"]["summary"] == "s"
    assert KEY not in json.dumps(seen)
    assert (await browser.incident("nothing"))[0] == 404


# --- the buttons


async def test_an_incident_is_acknowledged_and_resolved(browser: Browser, sandbox: Sandbox) -> None:
    await browser.trigger("k")
    await browser.alert("k")
    for one in sandbox.incidents():
        assert await browser.press({"do": "acknowledge", "id": one.id}) == (200, {"done": True})
        assert (one.status, one.acknowledged_by) == ("acknowledged", "person")
        assert await browser.press({"do": "resolve", "id": one.id}) == (200, {"done": True})
        assert (one.status, one.ended_by) == ("ended", "person")
        assert await browser.press({"do": "resolve", "id": one.id}) == (200, {"done": False})
        assert await browser.press({"do": "acknowledge", "id": one.id}) == (200, {"done": False})


async def test_of_an_ended_incident_the_next_one_is_left_alone(browser: Browser, sandbox: Sandbox) -> None:
    await browser.trigger("k")
    [first] = sandbox.incidents()
    sandbox.close("pagerduty", "k")
    await browser.trigger("k")
    assert await browser.press({"do": "resolve", "id": first.id}) == (200, {"done": False})
    assert len(sandbox.open_incidents()) == 1


@pytest.mark.parametrize(
    ("provider", "how", "status"),
    [
        ("pagerduty", "unavailable", 503),
        ("pagerduty", "throttled", 429),
        ("pagerduty", "revoked", 400),
        ("opsgenie", "unavailable", 503),
        ("opsgenie", "throttled", 429),
        ("opsgenie", "revoked", 401),
    ],
)
async def test_a_provider_is_broken_and_mended(browser: Browser, provider: str, how: str, status: int) -> None:
    send: dict[str, Callable[[], Awaitable[int]]] = {"pagerduty": browser.trigger, "opsgenie": browser.alert}
    other: dict[str, Callable[[], Awaitable[int]]] = {"pagerduty": browser.alert, "opsgenie": browser.trigger}
    assert await browser.press({"do": "break", "provider": provider, "how": how}) == (200, {"done": True})
    assert await send[provider]() == status
    assert await other[provider]() == 202
    assert await browser.press({"do": "mend", "provider": provider}) == (200, {"done": True})
    assert await send[provider]() == 202
    assert await browser.press({"do": "mend", "provider": provider}) == (200, {"done": False})


async def test_an_outage_is_told_with_the_time_that_is_left(browser: Browser) -> None:
    async with browser.http.get(f"{browser.url}{PREFIX}stream") as stream:
        assert (await told(stream))["providers"][0]["outage"] is None
        await browser.press({"do": "break", "provider": "pagerduty", "how": "revoked"})
        outage = (await told(stream))["providers"][0]["outage"]
    assert (outage["how"], outage["status"]) == ("revoked", 400)
    assert 50 < outage["seconds"] <= 60


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"do": "explode"},
        {"do": "resolve"},
        {"do": "break", "provider": "x", "how": "revoked"},
        {"do": "mend", "provider": "pagerduty", "more": 1},
    ],
)
async def test_what_no_button_asks_for_is_refused(browser: Browser, what: dict[str, Any]) -> None:
    assert (await browser.press(what))[0] == 400


@pytest.mark.parametrize(
    "from_elsewhere",
    [
        {"token": ""},
        {"token": "x" * 32},
        {"token": "ü"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
async def test_no_other_page_can_press_a_button(
    browser: Browser, sandbox: Sandbox, from_elsewhere: dict[str, str]
) -> None:
    await browser.trigger("k")
    [one] = sandbox.incidents()
    for what in ({"do": "resolve", "id": one.id}, {"do": "break", "provider": "pagerduty", "how": "revoked"}):
        assert (await browser.press(what, **from_elsewhere))[0] == 403
    assert one.open
    assert await browser.trigger("k2") == 202


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "close", '{"provider": "pagerduty", "dedup_key": "k"}'),
        ("POST", "faults", '{"effect": {"kind": "hang"}}'),
        ("POST", "keys", '{"provider": "pagerduty", "revoke": ["' + KEY + '"]}'),
        ("POST", "reset", ""),
        ("DELETE", "faults", ""),
    ],
)
async def test_nor_can_it_use_what_is_for_programs(
    browser: Browser, sandbox: Sandbox, method: str, path: str, body: str
) -> None:
    """A form, or a fetch without CORS, reaches a server on this machine: it has an Origin, and any text as body."""
    await browser.trigger("k")
    sandbox.faults.add(Fault(FaultyAnswer(status=500), dedup_key="other"))
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    async with browser.http.request(method, f"{browser.url}/_sandbox/{path}", data=body, headers=headers) as answer:
        assert answer.status == 403
    assert len(sandbox.open_incidents()) == 1
    assert len(sandbox.faults.armed()) == 1
    assert await browser.trigger("k2") == 202


# --- outages


async def test_an_outage_ends_by_itself() -> None:
    sandbox = Sandbox()
    outages = SandboxOutages(sandbox, seconds=0.02)
    outages.begin("pagerduty", "unavailable")
    assert outages.of("pagerduty") is not None
    async with asyncio.timeout(5):
        while outages.of("pagerduty") is not None:  # noqa: ASYNC110 - it is the loop's clock that ends it
            await asyncio.sleep(0.005)
    assert sandbox.faults.armed() == []


async def test_one_outage_takes_the_place_of_another_and_goes_before_other_faults() -> None:
    sandbox = Sandbox()
    outages = SandboxOutages(sandbox)
    sandbox.faults.add(Fault(FaultyAnswer(status=418)))
    outages.begin("pagerduty", "unavailable")
    outages.begin("pagerduty", "revoked")
    first, second = sandbox.faults.armed()
    assert isinstance(first.fault.effect, FaultyAnswer)
    assert (first.fault.effect.status, outages.others()) == (400, 1)
    sandbox.reset()
    assert (outages.of("pagerduty"), outages.others()) == (None, 0)
    outages.close()
    assert second.fault.provider is None


def test_a_broken_provider_answers_as_it_is_documented() -> None:
    assert ANSWERS["pagerduty"]["revoked"].body == b"Invalid routing key"
    assert ANSWERS["opsgenie"]["throttled"].headers["X-RateLimit-State"] == "THROTTLED"
