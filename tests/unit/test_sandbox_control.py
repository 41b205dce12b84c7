"""The sandbox's journal, its control interface, and its process."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from providers.sandbox import Fault, FaultyAnswer, Sandbox, SandboxSettings, running_sandbox

KEY = "a" * 32


class Client:
    """A plain HTTP client of the sandbox and its control interface."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, json=body) as answer:
            return answer.status, await answer.json()

    async def event(self, action: str, dedup_key: str = "k", event_id: str = "e1") -> int:
        payload = {"summary": "s", "source": "a", "severity": "info", "custom_details": {"event_id": event_id}}
        event = {"routing_key": KEY, "event_action": action, "dedup_key": dedup_key, "payload": payload}
        return (await self.call("POST", "/v2/enqueue", event))[0]

    async def alert(self, alias: str = "k", event_id: str = "e1") -> int:
        body = {"message": "m", "alias": alias, "details": {"event_id": event_id}}
        headers = {"Authorization": "GenieKey g"}
        async with self.http.post(self.url + "/v2/alerts", json=body, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, sandbox.url)


async def test_journal_lists_everything_in_order(client: Client, sandbox: Sandbox) -> None:
    before, began = time.time(), time.monotonic()
    await client.event("trigger")
    await client.alert("x")
    await client.event("resolve")
    await client.call("GET", "/elsewhere?a=b")
    status, answer = await client.call("GET", "/_sandbox/requests")
    entries = answer["requests"]
    assert status == 200
    assert [(one["number"], one["provider"], one["action"], one["status"]) for one in entries] == [
        (1, "pagerduty", "trigger", 202),
        (2, "opsgenie", "create", 202),
        (3, "pagerduty", "resolve", 202),
        (4, None, "unknown", 404),
    ]
    first = entries[0]
    assert (first["method"], first["path"], first["key"]) == ("POST", "/v2/enqueue", KEY)
    assert (first["dedup_key"], first["event_id"], first["applied"]) == ("k", "e1", True)
    assert first["body"]["payload"]["source"] == "a"
    assert before <= first["at"] <= time.time()
    assert began <= first["monotonic"] <= first["answered_monotonic"] <= time.monotonic()
    assert entries[3]["path"] == "/elsewhere?a=b"
    assert [entry.number for entry in sandbox.requests("pagerduty", action="resolve")] == [3]


async def test_requests_over_http_are_filtered(client: Client) -> None:
    for number in range(3):
        await client.event("trigger", f"k{number}")
    _, answer = await client.call("GET", "/_sandbox/requests?provider=pagerduty&after=1&status=202")
    assert [one["dedup_key"] for one in answer["requests"]] == ["k1", "k2"]
    assert (await client.call("GET", "/_sandbox/requests?provder=pagerduty"))[0] == 400


async def test_incidents_over_http(client: Client) -> None:
    await client.event("trigger", "k1", "e1")
    await client.event("acknowledge", "k1")
    await client.event("resolve", "k1")
    await client.event("trigger", "k1", "e1")
    await client.alert("a1", "e1")
    _, answer = await client.call("GET", "/_sandbox/incidents")
    first, second, alert = answer["incidents"]
    assert first | {"ended_by": "client", "acknowledgements": 1, "event_ids": ["e1"], "status": "ended"} == first
    assert (second["status"], second["extra"]) == ("open", "event_told_before")
    assert (alert["provider"], alert["key"], alert["severity"], alert["extra"]) == ("opsgenie", "g", "P3", None)
    _, opened = await client.call("GET", "/_sandbox/incidents?provider=pagerduty&only=open")
    _, extra = await client.call("GET", "/_sandbox/incidents?only=extra")
    assert opened["incidents"] == extra["incidents"] == [second]


async def test_counts(client: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(FaultyAnswer(status=429), times=1))
    for action in ("trigger", "trigger", "resolve"):
        await client.event(action)
    await client.alert()
    _, counts = await client.call("GET", "/_sandbox/counts")
    assert counts == {
        "requests": {
            "received": 4,
            "unanswered": 0,
            "faults": 1,
            "answered": {
                "pagerduty": {"trigger": {"202": 1, "429": 1}, "resolve": {"202": 1}},
                "opsgenie": {"create": {"202": 1}},
            },
        },
        "incidents": {
            "pagerduty": {"opened": 1, "open": 0, "ended": 1, "extra": 0},
            "opsgenie": {"opened": 1, "open": 1, "ended": 0, "extra": 0},
        },
    }


async def test_a_person_closes_an_incident(client: Client, sandbox: Sandbox) -> None:
    await client.event("trigger", "k")
    await client.alert("k")
    assert await client.call("POST", "/_sandbox/close", {"provider": "pagerduty", "dedup_key": "k"}) == (
        200,
        {"closed": 1},
    )
    [incident] = sandbox.incidents("pagerduty")
    assert (incident.open, incident.ended_by) == (False, "person")
    assert len(sandbox.open_incidents("opsgenie")) == 1
    assert sandbox.close("pagerduty", "k") == 0
    assert sandbox.close("opsgenie", "k", key="another") == 0
    assert sandbox.close("opsgenie", "k", key="g") == 1


async def test_keys_are_revoked_and_restored_over_http(client: Client) -> None:
    await client.call("POST", "/_sandbox/keys", {"provider": "opsgenie", "revoke": ["g"]})
    assert await client.alert() == 401
    await client.call("POST", "/_sandbox/keys", {"provider": "opsgenie", "revoke": ["g"], "malformed": True})
    assert await client.alert() == 422
    await client.call("POST", "/_sandbox/keys", {"provider": "opsgenie", "restore": ["g"]})
    assert await client.alert() == 202


async def test_faults_are_scripted_over_http(client: Client) -> None:
    fault = {"effect": {"kind": "answer", "status": 429, "headers": {"Retry-After": "1"}}, "action": "trigger"}
    status, armed = await client.call("POST", "/_sandbox/faults", fault)
    assert (status, armed["hits"]) == (200, 0)
    assert await client.event("trigger") == 429
    assert await client.event("resolve") == 202
    _, answer = await client.call("GET", "/_sandbox/faults")
    assert [(one["id"], one["hits"]) for one in answer["faults"]] == [(armed["id"], 1)]
    assert (await client.call("DELETE", f"/_sandbox/faults/{armed['id']}"))[0] == 200
    assert (await client.call("DELETE", f"/_sandbox/faults/{armed['id']}"))[0] == 404
    pattern = {"effect": {"kind": "add_headers", "headers": [["Via", "x"]]}, "dedup_key_pattern": "^k1$"}
    status, armed = await client.call("POST", "/_sandbox/faults", pattern)
    assert (status, armed["fault"]["dedup_key_pattern"]) == (200, "^k1$")
    assert await client.event("trigger") == 202
    for kind in ("hang", "drop", "lose_answer"):
        assert (await client.call("POST", "/_sandbox/faults", {"effect": {"kind": kind}}))[0] == 200
    for kind in ("delay", "land_late"):
        late = {"effect": {"kind": kind, "seconds": 9}}
        assert (await client.call("POST", "/_sandbox/faults", late))[0] == 200
    await client.call("DELETE", "/_sandbox/faults")
    assert await client.event("trigger") == 202


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"effect": {"kind": "explode"}},
        {"effect": {"kind": "answer"}},
        {"effect": {"kind": "hang", "seconds": 1}},
        {"effect": {"kind": "hang"}, "route": KEY},
        {"effect": {"kind": "hang"}, "dedup_key_pattern": "("},
    ],
)
async def test_a_fault_that_is_not_understood_is_refused(client: Client, fault: dict[str, Any]) -> None:
    status, answer = await client.call("POST", "/_sandbox/faults", fault)
    assert status == 400
    assert answer["error"]
    assert await client.event("trigger") == 202


async def test_reset_forgets_everything(client: Client, sandbox: Sandbox) -> None:
    sandbox.keys("pagerduty").revoke("b" * 32)
    await client.event("trigger")
    sandbox.faults.add(Fault(FaultyAnswer(status=500)))
    assert await client.call("POST", "/_sandbox/reset") == (200, {})
    assert (sandbox.requests(), sandbox.incidents(), sandbox.faults.armed()) == ([], [], [])
    assert sandbox.keys("pagerduty").knows("b" * 32)
    assert await client.event("trigger") == 202
    assert [(one.number, one.triggers, one.extra) for one in sandbox.incidents()] == [(1, 1, None)]


async def test_unknown_control_path_is_not_found(client: Client) -> None:
    assert (await client.call("GET", "/_sandbox/elsewhere"))[0] == 404
    assert (await client.call("POST", "/_sandbox/counts"))[0] == 404


async def test_wait_for_returns_once_the_condition_holds(client: Client, sandbox: Sandbox) -> None:
    waiting = asyncio.create_task(sandbox.wait_for(lambda: len(sandbox.open_incidents()) == 2, timeout=5))
    await client.event("trigger", "k1")
    await asyncio.sleep(0)
    assert not waiting.done()
    await client.alert("k2")
    await waiting
    await sandbox.wait_for(lambda: True, timeout=0)


async def test_wait_for_says_what_was_seen_when_it_was_in_vain(client: Client, sandbox: Sandbox) -> None:
    await client.event("trigger")
    with pytest.raises(TimeoutError, match="'received': 1"):
        await sandbox.wait_for(lambda: False, timeout=0.02)


async def test_wait_for_raises_what_the_condition_raises(client: Client, sandbox: Sandbox) -> None:
    def condition() -> bool:
        if sandbox.requests():
            raise LookupError("no such thing")
        return False

    waiting = asyncio.create_task(sandbox.wait_for(condition, timeout=5))
    await asyncio.sleep(0)
    assert await client.event("trigger") == 202
    with pytest.raises(LookupError):
        await waiting


async def test_memory_is_bounded_and_the_counts_go_on() -> None:
    settings = SandboxSettings(keep_requests=3, keep_ended=2)
    async with running_sandbox(settings) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox.url)
        for number in range(5):
            await client.event("trigger", f"k{number}", f"e{number}")
            await client.event("resolve", f"k{number}")
        await client.event("trigger", "open", "e9")
        assert [entry.number for entry in sandbox.requests()] == [9, 10, 11]
        assert [one.dedup_key for one in sandbox.incidents()] == ["k3", "k4", "open"]
        assert sandbox.counts()["requests"]["received"] == 11
        assert sandbox.counts()["incidents"]["pagerduty"] == {"opened": 6, "open": 1, "ended": 5, "extra": 0}


async def test_light_mode_keeps_incidents_without_bodies() -> None:
    async with running_sandbox(SandboxSettings(keep_requests=0)) as sandbox, aiohttp.ClientSession() as http:
        await Client(http, sandbox.url).event("trigger")
        assert sandbox.requests() == []
        assert [(one.dedup_key, one.opened_with) for one in sandbox.incidents()] == [("k", None)]


async def test_latency_passes_before_every_answer() -> None:
    async with running_sandbox(SandboxSettings(latency=0.1)) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox.url)
        began = time.monotonic()
        await asyncio.gather(*(client.event("trigger", f"k{number}") for number in range(20)))
        assert time.monotonic() - began >= 0.1
        for entry, incident in zip(sandbox.requests(), sandbox.incidents(), strict=True):
            assert (entry.answered_monotonic or 0) - incident.opened_monotonic >= 0.1


@pytest.mark.slow
async def test_process_says_its_port_and_ends_at_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "providers.sandbox", "--port", "0", "--heartbeat", "clawdstrike"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = json.loads(await process.stdout.readline())["port"]
            async with aiohttp.ClientSession() as http:
                client = Client(http, f"http://127.0.0.1:{port}")
                assert await client.event("trigger") == 202
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
