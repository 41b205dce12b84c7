"""The sandbox's OpsGenie answers, and lets alerts live, as documented."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from yarl import URL

from providers.sandbox import Sandbox, SandboxSettings, running_sandbox

KEY = {"Authorization": "GenieKey key-1"}
JSM = "/jsm/ops/integration"


def alert(alias: str | None = "secret_leak-sess-1", *, event_id: str = "e1", **changed: Any) -> dict[str, Any]:
    fields = {
        "message": "[secret_leak] Potential secrets detected",
        "alias": alias,
        "description": "## Security Violation Details",
        "responders": [{"type": "team", "name": "security"}, {"type": "user", "username": "a@example.com"}],
        "visibleTo": [{"type": "team", "id": "t-1"}],
        "actions": ["block"],
        "tags": ["guard:secret_leak", "severity:high"],
        "details": {"event_id": event_id, "allowed": "false"},
        "entity": "/etc/shadow",
        "source": "clawdstrike-agent-1",
        "priority": "P2",
    }
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


class Client:
    """A plain HTTP client of the sandbox."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http = http
        self.sandbox = sandbox

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        url = URL(self.sandbox.url + path, encoded=True)
        headers = KEY if headers is None else headers
        if not isinstance(body, bytes) and body is not None:
            body = orjson.dumps(body)
            headers = {"Content-Type": "application/json", **headers}
        async with self.http.request(method, url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def create(self, body: dict[str, Any], prefix: str = "") -> tuple[int, Any]:
        return await self.call("POST", f"{prefix}/v2/alerts", body)

    async def act(self, alias: str, action: str, body: Any = None, *, method: str = "POST") -> dict[str, Any]:
        """Returns what the request status says."""
        path = f"/v2/alerts/{quote(alias, safe='')}/{action}?identifierType=alias"
        status, answer = await self.call(method, path, {} if body is None else body)
        assert (status, answer["result"]) == (202, "Request will be processed")
        status, answer = await self.call("GET", f"/v2/alerts/requests/{answer['requestId']}")
        assert status == 200
        data: dict[str, Any] = answer["data"]
        return data


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    settings = SandboxSettings(heartbeats=frozenset({"clawdstrike"}))
    async with running_sandbox(settings) as sandbox, aiohttp.ClientSession() as http:
        yield Client(http, sandbox)


async def test_create_is_accepted_and_the_request_status_says_done(client: Client) -> None:
    status, answer = await client.create(alert("a"))
    assert status == 202
    assert answer["result"] == "Request will be processed"
    _, request = await client.call("GET", f"/v2/alerts/requests/{answer['requestId']}")
    [opened] = client.sandbox.incidents("opsgenie")
    assert request["data"]["success"] is request["data"]["isSuccess"] is True
    assert (request["data"]["alertId"], request["data"]["alias"]) == (opened.id, "a")
    assert (opened.severity, opened.event_ids, opened.key) == ("P2", ["e1"], "key-1")


async def test_repeated_create_counts_and_leaves_the_fields_as_they_were(client: Client) -> None:
    await client.create(alert("a", event_id="e1"))
    await client.create(alert("a", event_id="e2", message="other", priority="P1", tags=["x"], note="n"))
    _, answer = await client.call("GET", "/v2/alerts/a?identifierType=alias")
    shown = answer["data"]
    assert (shown["count"], shown["message"], shown["priority"]) == (2, alert()["message"], "P2")
    assert (shown["tags"], shown["details"]["event_id"]) == (alert()["tags"], "e1")
    [opened] = client.sandbox.incidents("opsgenie")
    assert (opened.triggers, opened.event_ids, opened.notes) == (2, ["e1", "e2"], [])


async def test_count_stops_at_a_hundred(client: Client) -> None:
    for _ in range(102):
        await client.create(alert("a"))
    _, answer = await client.call("GET", "/v2/alerts/a?identifierType=alias")
    assert answer["data"]["count"] == 100
    assert client.sandbox.incidents()[0].triggers == 102


async def test_acknowledged_alert_is_still_open_and_closed_one_opens_anew(client: Client) -> None:
    await client.create(alert("a", event_id="e1"))
    assert (await client.act("a", "acknowledge"))["success"] is True
    await client.create(alert("a", event_id="e2"))
    assert [one.status for one in client.sandbox.incidents()] == ["acknowledged"]
    assert (await client.act("a", "unacknowledge"))["success"] is True
    assert [one.status for one in client.sandbox.incidents()] == ["open"]
    assert (await client.act("a", "close", {"note": "quiet"}))["success"] is True
    await client.create(alert("a", event_id="e3"))
    first, second = client.sandbox.incidents("opsgenie")
    assert (first.status, first.ended_by, first.notes) == ("ended", "client", ["quiet"])
    assert client.sandbox.open_incidents() == [second]
    assert client.sandbox.extra_incidents() == []


async def test_priority_note_and_tags_change_the_alert(client: Client) -> None:
    await client.create(alert("a"))
    await client.act("a", "priority", {"priority": "P1"}, method="PUT")
    await client.act("a", "notes", {"note": "seen 3 times"})
    await client.act("a", "tags", {"tags": ["severity:high", "severity:critical"]})
    [opened] = client.sandbox.incidents()
    assert (opened.severity, opened.severities, opened.notes) == ("P1", ["P2", "P1"], ["seen 3 times"])
    assert opened.tags == ["guard:secret_leak", "severity:high", "severity:critical"]


async def test_without_priority_the_alert_is_p3_and_without_alias_it_has_its_own(client: Client) -> None:
    await client.create(alert(priority=None, alias=None))
    await client.create(alert(priority=None, alias=None))
    first, second = client.sandbox.incidents()
    assert first.severity == "P3"
    assert first.dedup_key != second.dedup_key


@pytest.mark.parametrize("action", ["close", "acknowledge", "unacknowledge"])
async def test_action_on_an_unknown_alias_is_accepted_and_fails_in_the_request_status(
    client: Client, action: str
) -> None:
    request = await client.act("nobody", action)
    assert (request["success"], request["isSuccess"], request["status"]) == (False, False, "Alert does not exist")


async def test_closed_alias_is_unknown_and_closed_id_is_already_closed(client: Client) -> None:
    await client.create(alert("a"))
    await client.act("a", "close")
    assert (await client.act("a", "close"))["status"] == "Alert does not exist"
    path = f"/v2/alerts/{client.sandbox.incidents()[0].id}/close"
    _, answer = await client.call("POST", path, {})
    _, request = await client.call("GET", f"/v2/alerts/requests/{answer['requestId']}")
    assert request["data"]["status"] == "Alert is already closed"


async def test_identifier_type_in_the_body_is_ignored(client: Client) -> None:
    await client.create(alert("a"))
    status, _ = await client.call("POST", "/v2/alerts/a/close", {"identifierType": "alias"})
    assert status == 202
    assert len(client.sandbox.open_incidents()) == 1


@pytest.mark.parametrize("alias", ["a/b", "secret_leak/v2/alerts?x#y", "50%", "ü ∂", "A", "requests", "a;b+c&d"])
async def test_alias_is_one_percent_encoded_segment(client: Client, alias: str) -> None:
    await client.create(alert(alias))
    await client.create(alert("a", event_id="e2"))
    assert (await client.act(alias, "close"))["success"] is True
    assert [one.dedup_key for one in client.sandbox.open_incidents()] == ["a"]
    assert client.sandbox.requests(action="close")[0].dedup_key == alias


@pytest.mark.parametrize("headers", [{}, {"Authorization": "GenieKey "}, {"Authorization": "Basic key-1"}])
async def test_without_a_key_nothing_is_done(client: Client, headers: dict[str, str]) -> None:
    status, answer = await client.call("POST", "/v2/alerts", alert(), headers)
    assert (status, answer["message"]) == (401, "Could not authenticate")
    assert client.sandbox.incidents() == []


async def test_revoked_key_is_unauthorized(client: Client) -> None:
    client.sandbox.opsgenie.keys.revoke("key-1")
    assert (await client.create(alert()))[0] == 401
    assert (await client.call("GET", "/v2/heartbeats/clawdstrike"))[0] == 401


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"message": None}, "message"),
        ({"message": ""}, "message"),
        ({"message": "m" * 131}, "message"),
        ({"alias": "a" * 513}, "alias"),
        ({"description": "d" * 15_001}, "description"),
        ({"description": 1}, "description"),
        ({"responders": [{"type": "team", "name": "t"}] * 51}, "responders"),
        ({"responders": {}}, "responders"),
        ({"responders": [{"type": "group", "name": "t"}]}, "responders[0].type"),
        ({"responders": [{"type": "team", "name": ""}]}, "responders[0]"),
        ({"responders": [{"type": "user", "name": "u"}]}, "responders[0]"),
        ({"responders": ["team"]}, "responders[0]"),
        ({"visibleTo": [{"type": "schedule", "name": "t"}]}, "visibleTo[0].type"),
        ({"visibleTo": [{"type": "team", "name": "t"}] * 51}, "visibleTo"),
        ({"actions": ["a"] * 11}, "actions"),
        ({"actions": ["a" * 51]}, "actions[0]"),
        ({"tags": ["t"] * 21}, "tags"),
        ({"tags": ["t" * 51]}, "tags[0]"),
        ({"tags": "t"}, "tags"),
        ({"details": {"k": "v" * 8_000}}, "details"),
        ({"details": {"allowed": False}}, "details"),
        ({"entity": "e" * 513}, "entity"),
        ({"source": "s" * 101}, "source"),
        ({"priority": "high"}, "priority"),
        ({"user": "u" * 101}, "user"),
        ({"note": "n" * 25_001}, "note"),
    ],
)
async def test_create_beyond_a_limit_is_not_processable(client: Client, changed: dict[str, Any], field: str) -> None:
    status, answer = await client.create({**alert(), **changed})
    assert status == 422
    assert list(answer["errors"]) == [field]
    assert {"message", "took", "requestId"} <= set(answer)
    assert client.sandbox.incidents() == []


async def test_create_at_every_limit_is_accepted(client: Client) -> None:
    body = alert(
        "a" * 512,
        message="m" * 130,
        description="d" * 15_000,
        responders=[{"type": "team", "name": "t"}] * 50,
        actions=["a" * 50] * 10,
        tags=["t" * 50] * 20,
        details={"k": "v" * 7_999},
        entity="e" * 512,
        source="s" * 100,
        user="u" * 100,
        note="n" * 25_000,
    )
    assert (await client.create(body))[0] == 202


@pytest.mark.parametrize(
    ("method", "action", "body", "field"),
    [
        ("POST", "notes", {}, "note"),
        ("POST", "close", {"note": "n" * 25_001}, "note"),
        ("POST", "acknowledge", {"user": "u" * 101}, "user"),
        ("PUT", "priority", {}, "priority"),
        ("PUT", "priority", {"priority": "P0"}, "priority"),
        ("POST", "tags", {"tags": []}, "tags"),
    ],
)
async def test_invalid_action_is_not_processable(
    client: Client, method: str, action: str, body: dict[str, Any], field: str
) -> None:
    status, answer = await client.call(method, f"/v2/alerts/a/{action}?identifierType=alias", body)
    assert (status, list(answer["errors"])) == (422, [field])


async def test_unreadable_bodies_wrong_methods_and_paths_are_refused(client: Client) -> None:
    json_type = {"Content-Type": "application/json", **KEY}
    assert (await client.call("POST", "/v2/alerts", b"{", json_type))[0] == 400
    assert (await client.call("POST", "/v2/alerts", b"[]", json_type))[0] == 400
    assert (await client.call("POST", "/v2/alerts", b"{}", {"Content-Type": "text/plain", **KEY}))[0] == 415
    assert (await client.call("PUT", "/v2/alerts", alert()))[0] == 405
    assert (await client.call("POST", "/v2/alerts/a/priority?identifierType=alias", {"priority": "P1"}))[0] == 405
    assert (await client.call("POST", "/v2/alerts/a/assign", {}))[0] == 404
    assert (await client.call("GET", "/v2/alerts/requests/no-such-request"))[0] == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
async def test_ping_is_accepted_whether_or_not_the_heartbeat_exists(client: Client, method: str) -> None:
    for name in ("clawdstrike", "nobody"):
        status, answer = await client.call(method, f"/v2/heartbeats/{name}/ping")
        assert (status, answer["result"]) == (202, "PONG - Heartbeat received")
    assert client.sandbox.opsgenie.pings == {"clawdstrike": 1, "nobody": 1}


async def test_only_an_existing_heartbeat_is_found(client: Client) -> None:
    assert (await client.call("GET", "/v2/heartbeats/clawdstrike"))[0] == 200
    assert (await client.call("GET", "/v2/heartbeats/nobody"))[0] == 404


async def test_jsm_has_what_is_documented_for_its_integrations(client: Client) -> None:
    assert (await client.create(alert("a"), JSM))[0] == 202
    by_alias = "identifierType=alias"
    for action, body in (("acknowledge", {}), ("notes", {"note": "n"}), ("close", {})):
        assert (await client.call("POST", f"{JSM}/v2/alerts/a/{action}?{by_alias}", body))[0] == 202
    assert (await client.call("PUT", f"{JSM}/v2/alerts/a/priority?{by_alias}", {"priority": "P1"}))[0] == 404
    assert (await client.call("POST", f"{JSM}/v2/alerts/a/unacknowledge?{by_alias}", {}))[0] == 404
    [opened] = client.sandbox.incidents()
    assert (opened.status, opened.acknowledgements, opened.notes) == ("ended", 1, ["n"])


async def test_jsm_can_have_everything() -> None:
    async with running_sandbox(SandboxSettings(jsm_full=True)) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox)
        await client.create(alert("a"), JSM)
        path = f"{JSM}/v2/alerts/a/priority?identifierType=alias"
        assert (await client.call("PUT", path, {"priority": "P1"}))[0] == 202
        assert sandbox.incidents()[0].severity == "P1"


async def test_until_it_is_processed_a_request_has_no_status() -> None:
    async with running_sandbox(SandboxSettings(processing=3600.0)) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox)
        _, answer = await client.create(alert("a"))
        url = f"{sandbox.url}/v2/alerts/requests/{answer['requestId']}"
        async with http.get(url, headers=KEY) as status:
            assert (status.status, status.headers["X-Opsgenie-Errortype"]) == (404, "RequestNotProcessed")
        async with http.get(f"{sandbox.url}/v2/alerts/requests/another", headers=KEY) as status:
            assert status.status == 404
            assert "X-Opsgenie-Errortype" not in status.headers


async def test_what_is_below_the_base_of_jsm_is_another_account(client: Client) -> None:
    await client.create(alert("a"))
    await client.create(alert("a"), JSM)
    assert [one.provider for one in client.sandbox.open_incidents()] == ["opsgenie", "jsm"]
    assert client.sandbox.extra_incidents() == []


async def test_calls_over_the_rate_are_throttled_as_documented() -> None:
    async with running_sandbox(SandboxSettings(opsgenie_rate=1)) as sandbox, aiohttp.ClientSession() as http:
        client = Client(http, sandbox)
        assert (await client.create(alert("a")))[0] == 202
        async with http.post(sandbox.url + "/v2/alerts", json=alert("b"), headers=KEY) as answer:
            assert answer.status == 429
            assert answer.headers["X-RateLimit-State"] == "THROTTLED"
            assert answer.headers["X-RateLimit-Period-In-Sec"] == "60"
            assert "Retry-After" not in answer.headers
        assert [one.dedup_key for one in sandbox.incidents()] == ["a"]


async def test_a_revoked_key_is_unknown_or_of_the_wrong_form(client: Client) -> None:
    keys = client.sandbox.keys("opsgenie")
    keys.revoke("key-1")
    status, answer = await client.create(alert())
    assert (status, answer["message"]) == (401, "Could not authenticate")
    keys.revoke("key-1", malformed=True)
    for status, answer in (await client.create(alert()), await client.call("POST", "/v2/alerts/a/close", {})):
        assert (status, answer["message"]) == (422, "Key format is not valid!")
    assert client.sandbox.incidents() == []
    keys.restore("key-1")
    assert (await client.create(alert()))[0] == 202
