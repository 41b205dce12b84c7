"""The sandbox's PagerDuty answers, and lets incidents live, as documented."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import pytest

from providers.sandbox import Sandbox, SandboxSettings, running_sandbox

KEY = "a" * 32
OTHER_KEY = "b" * 32


def trigger(dedup_key: str = "secret_leak:sess-1", *, event_id: str = "e1", **changed: Any) -> dict[str, Any]:
    event = {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": dedup_key,
        "client": "Clawdstrike",
        "links": [{"href": "https://clawdstrike.example/s/1", "text": "session"}],
        "images": [{"src": "https://clawdstrike.example/s/1.png"}],
        "payload": payload(event_id=event_id),
    }
    return {name: value for name, value in {**event, **changed}.items() if value is not None}


def payload(*, event_id: str = "e1", **changed: Any) -> dict[str, Any]:
    fields = {
        "summary": "[secret_leak] Potential secrets detected",
        "source": "clawdstrike-agent-1",
        "severity": "critical",
        "timestamp": "2026-05-20T14:00:00.123456789Z",
        "component": "secret_leak",
        "group": "default",
        "class": "secret_detected",
        "custom_details": {"event_id": event_id, "allowed": False},
    }
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


def action(name: str, dedup_key: str = "secret_leak:sess-1", key: str = KEY) -> dict[str, Any]:
    return {"routing_key": key, "event_action": name, "dedup_key": dedup_key}


class Client:
    """A plain HTTP client of the sandbox."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox

    async def send(self, event: Any, path: str = "/v2/enqueue", method: str = "POST") -> tuple[int, Any]:
        data = BytesIO(event if isinstance(event, bytes) else orjson.dumps(event))
        async with self.http.request(method, self.sandbox.url + path, data=data) as answer:
            body = await answer.read()
            return answer.status, orjson.loads(body) if answer.content_type == "application/json" else body.decode()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as http:
        yield Client(http, sandbox)


async def test_accepted_event_is_answered_as_documented(client: Client) -> None:
    assert await client.send(trigger("k")) == (
        202,
        {"status": "success", "message": "Event processed", "dedup_key": "k"},
    )


async def test_trigger_without_dedup_key_gets_one(client: Client) -> None:
    status, answer = await client.send(trigger(dedup_key=""))
    assert status == 202
    assert [one.dedup_key for one in client.sandbox.incidents("pagerduty")] == [answer["dedup_key"]]


@pytest.mark.parametrize("key", ["short", "a" * 33, 7, ["a" * 32]])
async def test_malformed_routing_key_is_answered_in_json(client: Client, key: Any) -> None:
    assert await client.send(trigger(routing_key=key)) == (
        400,
        {
            "status": "invalid event",
            "message": "Event object is invalid",
            "errors": ["Length of 'routing_key' is incorrect (should be 32 characters)"],
        },
    )


async def test_revoked_routing_key_is_answered_in_plain_text_until_restored(client: Client) -> None:
    client.sandbox.pagerduty.keys.revoke(KEY)
    assert await client.send(trigger()) == (400, "Invalid routing key")
    client.sandbox.pagerduty.keys.restore(KEY)
    assert (await client.send(trigger()))[0] == 202


async def test_only_configured_routing_keys_are_known() -> None:
    settings = SandboxSettings(pagerduty_keys=frozenset({KEY}))
    async with running_sandbox(settings) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox)
        assert (await client.send(trigger()))[0] == 202
        assert await client.send(trigger(routing_key=OTHER_KEY)) == (400, "Invalid routing key")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (trigger(routing_key=None), "'routing_key' is missing or blank"),
        (trigger(event_action=None), "'event_action' is missing or blank"),
        (trigger(event_action="annotate"), "'event_action' is invalid"),
        (trigger(event_action=["trigger"]), "'event_action' is invalid"),
        (trigger(dedup_key="k" * 256), "Length of 'dedup_key'"),
        (trigger() | {"dedup_key": 7}, "'dedup_key' must be a string"),
        ({**action("resolve"), "dedup_key": ""}, "'dedup_key' is missing or blank"),
        ({"routing_key": KEY, "event_action": "acknowledge"}, "'dedup_key' is missing or blank"),
        (trigger(payload=None), "'payload' is missing or blank"),
        (trigger(payload="text"), "'payload' must be an object"),
        (trigger(payload=payload(summary=None)), "'payload.summary' is missing or blank"),
        (trigger(payload=payload(summary="")), "'payload.summary' is missing or blank"),
        (trigger(payload=payload(summary="s" * 1025)), "Length of 'payload.summary'"),
        (trigger(payload=payload(source=None)), "'payload.source' is missing or blank"),
        (trigger(payload=payload(source=1)), "'payload.source' must be a string"),
        (trigger(payload=payload(severity=None)), "'payload.severity' is missing or blank"),
        (trigger(payload=payload(severity="high")), "'payload.severity' is invalid"),
        (trigger(payload=payload(severity=["info"])), "'payload.severity' is invalid"),
        (trigger(payload=payload(timestamp="yesterday")), "'payload.timestamp' is invalid"),
        (trigger(payload=payload(timestamp="2026-02-30T00:00:00Z")), "'payload.timestamp' is invalid"),
        (trigger(payload=payload(component=1)), "'payload.component' must be a string"),
        (trigger(payload=payload(custom_details="text")), "'payload.custom_details' must be an object"),
        (trigger(client=1), "'client' must be a string"),
        (trigger(links={}), "'links' must be a list"),
        (trigger(links=["x"]), "'links[0]' must be an object"),
        (trigger(links=[{"text": "x"}]), "'links[0].href' is missing or blank"),
        (trigger(links=[{"href": "not a url"}]), "'links[0].href' is not a URL"),
        (trigger(images=[{"href": "https://x.example"}]), "'images[0].src' is missing or blank"),
        (trigger(images=[{"src": "http://x.example/1.png"}]), "'images[0].src' must be served by https"),
    ],
)
async def test_invalid_event_is_rejected_with_its_error_and_opens_nothing(
    client: Client, event: dict[str, Any], error: str
) -> None:
    status, answer = await client.send(event)
    assert (status, answer["status"], answer["message"]) == (400, "invalid event", "Event object is invalid")
    assert len(answer["errors"]) == 1
    assert answer["errors"][0].startswith(error)
    assert client.sandbox.incidents() == []


@pytest.mark.parametrize(
    "timestamp",
    ["2015-07-17T08:42:58.315+0000", "2026-05-20T14:00:00+00:00Z", "2026-05-20T14:00:00.1Z", "2026-05-20"],
)
async def test_timestamps_of_all_clients_are_taken(client: Client, timestamp: str) -> None:
    assert (await client.send(trigger(payload=payload(timestamp=timestamp))))[0] == 202


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'"text"', b"\xff"])
async def test_what_is_no_json_object_is_unrecognized(client: Client, body: bytes) -> None:
    status, answer = await client.send(body)
    assert status == 400
    assert answer["status"] == "Unrecognized object"


@pytest.mark.parametrize("size", [512 * 1024 + 1, 3 * 1024 * 1024])
async def test_request_over_512_kb_is_too_large(client: Client, size: int) -> None:
    assert (await client.send(b"x" * size))[0] == 413
    assert [entry.status for entry in client.sandbox.requests("pagerduty")] == [413]


async def test_request_of_512_kb_is_taken(client: Client) -> None:
    event = trigger(payload=payload(custom_details={"text": ""}))
    event["payload"]["custom_details"]["text"] = "x" * (512 * 1024 - len(orjson.dumps(event)))
    assert (await client.send(event))[0] == 202


async def test_trigger_adds_to_the_open_incident(client: Client) -> None:
    await client.send(trigger(event_id="e1"))
    await client.send(trigger(payload=payload(event_id="e2", summary="again", severity="error")))
    [incident] = client.sandbox.incidents("pagerduty")
    assert (incident.triggers, incident.event_ids, incident.status) == (2, ["e1", "e2"], "open")
    assert incident.title == "[secret_leak] Potential secrets detected"
    assert (incident.severity, incident.severities) == ("error", ["critical", "error"])


async def test_trigger_leaves_an_acknowledged_incident_acknowledged(client: Client) -> None:
    for event in (trigger(), action("acknowledge"), trigger()):
        await client.send(event)
    [incident] = client.sandbox.incidents("pagerduty")
    assert (incident.status, incident.triggers, incident.acknowledgements) == ("acknowledged", 2, 1)


async def test_after_resolve_the_same_key_opens_a_new_incident(client: Client) -> None:
    for event in (trigger(event_id="e1"), action("resolve"), trigger(event_id="e2")):
        assert (await client.send(event))[0] == 202
    first, second = client.sandbox.incidents("pagerduty")
    assert (first.status, first.ended_by) == ("ended", "client")
    assert first.resolved_at is not None
    assert first.opened_at <= first.resolved_at <= second.opened_at
    assert client.sandbox.open_incidents() == [second]
    assert client.sandbox.extra_incidents() == []


@pytest.mark.parametrize("name", ["acknowledge", "resolve"])
async def test_action_on_an_unknown_key_is_accepted_and_does_nothing(client: Client, name: str) -> None:
    assert (await client.send(action(name)))[0] == 202
    assert client.sandbox.incidents() == []


async def test_resolve_through_another_routing_key_does_nothing(client: Client) -> None:
    await client.send(trigger())
    assert (await client.send(action("resolve", key=OTHER_KEY)))[0] == 202
    assert len(client.sandbox.open_incidents("pagerduty")) == 1


async def test_dedup_keys_are_case_sensitive(client: Client) -> None:
    await client.send(trigger("k"))
    await client.send(trigger("K", event_id="e2"))
    assert len(client.sandbox.open_incidents("pagerduty")) == 2


async def test_an_event_told_again_after_the_end_opens_an_extra_incident(client: Client) -> None:
    for event in (trigger(event_id="e1"), action("resolve"), trigger(event_id="e1")):
        await client.send(event)
    assert [(one.number, one.extra) for one in client.sandbox.extra_incidents()] == [(2, "event_told_before")]


async def test_the_same_problem_under_another_routing_key_opens_an_extra_incident(client: Client) -> None:
    await client.send(trigger(event_id="e1"))
    await client.send(trigger(event_id="e2", routing_key=OTHER_KEY))
    assert [(one.number, one.extra) for one in client.sandbox.extra_incidents()] == [(2, "open_elsewhere")]


async def test_change_event_is_accepted_and_opens_nothing(client: Client) -> None:
    event = {"routing_key": KEY, "payload": {"summary": "policy changed", "custom_details": {"ruleset": "x"}}}
    assert await client.send(event, "/v2/change/enqueue") == (
        202,
        {"status": "success", "message": "Change event processed"},
    )
    assert client.sandbox.incidents() == []
    assert [entry.action for entry in client.sandbox.requests()] == ["change"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"routing_key": "R" + "a" * 31}, "'routing_key' belongs to an event rule set"),
        ({"payload": {"source": "x"}}, "'payload.summary' is missing or blank"),
        ({"payload": {"summary": "s" * 1025}}, "Length of 'payload.summary'"),
        ({"payload": {"summary": "s", "timestamp": 1}}, "'payload.timestamp' is invalid"),
        ({"payload": {}}, "'payload' is missing or blank"),
    ],
)
async def test_invalid_change_event_is_rejected(client: Client, changed: dict[str, Any], error: str) -> None:
    event = {"routing_key": KEY, "payload": {"summary": "policy changed"}, **changed}
    status, answer = await client.send(event, "/v2/change/enqueue")
    assert status == 400
    assert answer["errors"][0].startswith(error)


async def test_other_methods_and_paths_are_refused(client: Client) -> None:
    assert (await client.send(b"", method="GET"))[0] == 405
    assert (await client.send(trigger(), "/v2/elsewhere"))[0] == 404
    assert (await client.send(trigger(), "/some/prefix/v2/enqueue"))[0] == 202


async def test_calls_over_the_rate_of_one_key_are_throttled() -> None:
    async with running_sandbox(SandboxSettings(pagerduty_rate=2)) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox)
        assert [(await client.send(trigger(f"k{n}")))[0] for n in range(4)] == [202, 202, 429, 429]
        assert (await client.send(trigger(routing_key=OTHER_KEY)))[0] == 202
        assert len(sandbox.incidents()) == 3
