"""Every fault of the sandbox: what the client saw, and what took effect."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from providers.sandbox import (
    AddHeaders,
    Delay,
    Drop,
    Fault,
    FaultyAnswer,
    Hang,
    LandLate,
    LoseAnswer,
    Sandbox,
    running_sandbox,
)

KEY = "a" * 32
OTHER_KEY = "b" * 32


class Client:
    """A plain HTTP client of the sandbox: the status of a trigger, or the error it ended in."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox

    async def trigger(
        self, dedup_key: str = "k", *, key: str = KEY, timeout: float = 5.0, event_id: str | None = None
    ) -> int:
        details = {} if event_id is None else {"custom_details": {"event_id": event_id}}
        async with self.http.post(
            self.sandbox.url + "/v2/enqueue",
            json={
                "routing_key": key,
                "event_action": "trigger",
                "dedup_key": dedup_key,
                "payload": {"summary": "s", "source": "a", "severity": "info", **details},
            },
            timeout=aiohttp.ClientTimeout(total=timeout),
            allow_redirects=False,
        ) as answer:
            await answer.read()
            return answer.status

    @property
    def applied(self) -> int:
        return len(self.sandbox.incidents())


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as http:
        yield Client(http, sandbox)


@pytest.mark.parametrize("status", [200, 302, 401, 429, 500, 503])
async def test_answer_replaces_the_documented_one_and_nothing_takes_effect(client: Client, status: int) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=status), times=1))
    assert await client.trigger() == status
    assert client.applied == 0
    assert await client.trigger() == 202
    assert client.applied == 1
    [struck, passed] = client.sandbox.requests()
    assert (struck.fault, struck.status, struck.applied) == ("answer", status, False)
    assert (passed.fault, passed.status, passed.applied) == (None, 202, True)


async def test_what_was_told_once_can_be_spared(client: Client) -> None:
    assert await client.trigger(event_id="before") == 202
    client.sandbox.faults.add(Fault(FaultyAnswer(status=413), untold=True))
    assert [await client.trigger(event_id=event_id) for event_id in ("before", "new", "new")] == [202, 413, 413]
    assert await client.trigger() == 413
    assert [incident.event_ids for incident in client.sandbox.incidents()] == [["before"]]


async def test_answer_has_the_headers_and_body_it_is_given(client: Client) -> None:
    headers = {"Retry-After": "7", "Content-Type": "text/html", "Date": "Wed, 20 May 2026 14:00:00 GMT"}
    client.sandbox.faults.add(Fault(FaultyAnswer(status=429, headers=headers, body="<garbage")))
    async with client.http.post(client.sandbox.url + "/v2/enqueue", json={}) as answer:
        assert answer.status == 429
        assert {name: answer.headers[name] for name in headers} == headers
        assert await answer.text() == "<garbage"


async def test_answer_can_hide_that_the_request_took_effect(client: Client) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=500, applied=True)))
    assert await client.trigger() == 500
    assert client.applied == 1
    assert client.sandbox.requests()[0].applied


async def test_answer_can_come_late(client: Client) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=503, delay=0.05)))
    began = time.monotonic()
    assert await client.trigger() == 503
    assert time.monotonic() - began >= 0.05


async def test_delayed_request_takes_effect_at_once(client: Client) -> None:
    client.sandbox.faults.add(Fault(Delay(0.1)))
    assert await client.trigger() == 202
    [entry], [incident] = client.sandbox.requests(), client.sandbox.incidents()
    assert (entry.answered_monotonic or 0) - incident.opened_monotonic >= 0.1


async def test_client_that_gives_up_a_delayed_request_has_had_its_effect(client: Client) -> None:
    client.sandbox.faults.add(Fault(Delay(30)))
    with pytest.raises(TimeoutError):
        await client.trigger(timeout=0.05)
    assert client.applied == 1
    assert client.sandbox.requests()[0].status is None


async def test_late_request_lands_though_the_client_has_given_up(client: Client) -> None:
    client.sandbox.faults.add(Fault(LandLate(0.15), times=1))
    with pytest.raises(TimeoutError):
        await client.trigger(timeout=0.05)
    assert client.applied == 0
    await client.sandbox.wait_for(lambda: client.applied == 1, timeout=2)
    assert client.sandbox.requests()[0].status is None


async def test_late_request_is_answered_to_a_client_that_waits(client: Client) -> None:
    client.sandbox.faults.add(Fault(LandLate(0.05)))
    assert await client.trigger() == 202
    assert client.applied == 1


async def test_hanging_request_gets_nothing_and_does_nothing(client: Client) -> None:
    client.sandbox.faults.add(Fault(Hang(), times=1))
    with pytest.raises(TimeoutError):
        await client.trigger(timeout=0.05)
    assert await client.trigger() == 202
    assert [(entry.fault, entry.status) for entry in client.sandbox.requests()] == [("hang", None), (None, 202)]
    assert client.sandbox.incidents()[0].triggers == 1


async def test_request_that_hung_is_forgotten_when_its_client_leaves(client: Client) -> None:
    client.sandbox.faults.add(Fault(Hang()))
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await client.trigger(timeout=0.02)
    for _ in range(200):
        if len(asyncio.all_tasks()) <= tasks:
            break
        await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) <= tasks


async def test_sandbox_ends_although_requests_hang() -> None:
    async with aiohttp.ClientSession() as http:
        async with running_sandbox() as sandbox:
            sandbox.faults.add(Fault(Hang()))
            hanging = asyncio.create_task(Client(http, sandbox).trigger())
            await sandbox.wait_for(lambda: len(sandbox.requests()) == 1)
            began = time.monotonic()
        assert time.monotonic() - began < 2
        with pytest.raises(aiohttp.ClientConnectionError):
            await hanging


async def test_dropped_request_does_nothing(client: Client) -> None:
    client.sandbox.faults.add(Fault(Drop()))
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.trigger()
    assert client.applied == 0
    assert client.sandbox.requests()[0].fault == "drop"


async def test_lost_answer_is_of_a_request_that_took_effect(client: Client) -> None:
    client.sandbox.faults.add(Fault(LoseAnswer()))
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.trigger()
    assert client.applied == 1
    [entry] = client.sandbox.requests()
    assert (entry.status, entry.applied, entry.fault) == (None, True, "lose_answer")


@pytest.mark.parametrize(
    ("criteria", "struck"),
    [
        ({"provider": "pagerduty"}, [500, 500, 500]),
        ({"provider": "opsgenie"}, [202, 202, 202]),
        ({"key": OTHER_KEY}, [202, 202, 500]),
        ({"action": "trigger"}, [500, 500, 500]),
        ({"action": "resolve"}, [202, 202, 202]),
        ({"dedup_key": "k2"}, [202, 500, 202]),
        ({"dedup_key_pattern": re.compile("^k[13]$")}, [500, 202, 500]),
        ({"dedup_key_pattern": re.compile("^k$")}, [202, 202, 202]),
        ({"text": re.compile('"dedup_key":"k3"')}, [202, 202, 500]),
        ({"target_type": "alias"}, [202, 202, 202]),
        ({"times": 2}, [500, 500, 202]),
        ({"times": 1, "skip": 1}, [202, 500, 202]),
        ({"times": 0}, [202, 202, 202]),
    ],
)
async def test_fault_strikes_what_fits_as_often_as_it_says(
    client: Client, criteria: dict[str, Any], struck: list[int]
) -> None:
    armed = client.sandbox.faults.add(Fault(FaultyAnswer(status=500), **criteria))
    seen = [await client.trigger("k1"), await client.trigger("k2"), await client.trigger("k3", key=OTHER_KEY)]
    assert seen == struck
    assert armed.hits == struck.count(500)


async def test_removed_fault_strikes_no_more(client: Client) -> None:
    first = client.sandbox.faults.add(Fault(FaultyAnswer(status=500)))
    client.sandbox.faults.add(Fault(FaultyAnswer(status=503)))
    assert await client.trigger() == 500
    first.remove()
    first.remove()
    assert await client.trigger() == 503
    client.sandbox.faults.clear()
    assert await client.trigger() == 202


async def test_faults_in_a_row_are_a_script(client: Client) -> None:
    for status in (429, 500, 302):
        client.sandbox.faults.add(Fault(FaultyAnswer(status=status), times=1))
    assert [await client.trigger() for _ in range(4)] == [429, 500, 302, 202]


async def test_chance_is_the_same_for_the_same_seed(client: Client) -> None:
    async def seen(seed: int) -> list[int]:
        with_seed = client.sandbox.faults.add(Fault(FaultyAnswer(status=500), chance=0.5, seed=seed))
        statuses = [await client.trigger() for _ in range(20)]
        with_seed.remove()
        return statuses

    first = await seen(1)
    assert set(first) == {202, 500}
    assert await seen(1) == first
    assert await seen(2) != first


async def test_one_alert_is_refused_for_ever_and_the_others_never(client: Client) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=503), dedup_key_pattern=re.compile("^k1$")))
    for _ in range(3):
        assert [await client.trigger(key) for key in ("k1", "k10", "k2")] == [503, 202, 202]
    assert {incident.dedup_key for incident in client.sandbox.incidents()} == {"k10", "k2"}


async def test_what_an_alert_quotes_can_be_refused_on_the_way(client: Client) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=403), text=re.compile("/etc/shadow")))
    assert await client.trigger("k1", event_id="read /etc/shadow") == 403
    assert await client.trigger("k1", event_id="read /etc/hosts") == 202


async def test_actions_on_an_alias_can_be_answered_404(client: Client) -> None:
    client.sandbox.faults.add(Fault(FaultyAnswer(status=404), target_type="alias"))
    headers = {"Authorization": "GenieKey g"}

    async def post(path: str, body: dict[str, Any]) -> int:
        async with client.http.post(client.sandbox.url + path, json=body, headers=headers) as answer:
            return answer.status

    assert await post("/v2/alerts", {"message": "m", "alias": "a"}) == 202
    [alert] = client.sandbox.incidents("opsgenie")
    assert await post("/v2/alerts/a/close?identifierType=alias", {}) == 404
    assert await post(f"/v2/alerts/{alert.id}/close?identifierType=id", {}) == 202


async def test_an_answer_can_have_headers_that_proxies_add(client: Client) -> None:
    client.sandbox.faults.add(Fault(AddHeaders((("Via", "p" * 9000), ("Via", "q")))))
    async with aiohttp.ClientSession(max_field_size=65536) as http:
        body = {"routing_key": KEY, "event_action": "resolve", "dedup_key": "k"}
        async with http.post(client.sandbox.url + "/v2/enqueue", json=body) as answer:
            assert (answer.status, answer.headers.getall("Via")) == (202, ["p" * 9000, "q"])
    [entry] = client.sandbox.requests()
    assert (entry.status, entry.applied, entry.fault) == (202, True, "add_headers")


async def test_an_answer_can_have_its_length_twice(client: Client) -> None:
    answer = b'{"routing_key":"' + KEY.encode() + b'","event_action":"resolve","dedup_key":"k"}'
    head = f"POST /v2/enqueue HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(answer)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(client.sandbox.url.rpartition(":")[2]))
    client.sandbox.faults.add(Fault(AddHeaders((("Content-Length", "64"), ("Content-Length", "64")))))
    writer.write(head.encode() + answer)
    head_received, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head_received.lower().count(b"content-length: 64") == 2
    assert len(body) == 64
