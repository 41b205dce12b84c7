"""Jira Service Management and Compass: what their integrations take, and what goes through Atlassian's cloud API."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.heartbeat import Heartbeat
from providers.http import HttpSender, create_session
from providers.notification import Acknowledge, Resolve, Trigger
from providers.notify import deliver
from providers.opsgenie.jsm import Jsm
from providers.opsgenie.settings import JsmSettings
from providers.provider import Request
from providers.sandbox import FailLater, Fault, Sandbox, SandboxSettings, running_sandbox
from providers.sandbox import FaultyAnswer as Says
from providers.verification import AlwaysVerified
from state.violation import Severity
from tests.support.log import RecordedLog
from tests.unit.test_opsgenie import body_of, opsgenie, trigger

KEY = "0f1e2d3c-jsm-key"
TOKEN = "an-api-token-of-atlassian"
CLOUD = {"cloud_id": "11-aa", "email": "bot@example.com", "token": TOKEN}
BASIC = f"Basic {b64encode(f'bot@example.com:{TOKEN}'.encode()).decode()}"
BASE = "https://api.atlassian.com/jsm/ops/integration/v2/alerts"
API = "https://api.atlassian.com/jsm/ops/api/11-aa/v1"
ALIAS = "clawdstrike-secret_leak-sess-1"
RAISED = trigger(severity=Severity.CRITICAL, again=True, raised=True)
HEARTBEAT = {"enabled": True, "name": "prod 1", "interval_minutes": 5, "team_id": "t/1"}


def settings(**given: Any) -> JsmSettings:
    return JsmSettings.model_validate({"api_key": KEY, **given})


def jsm(**given: Any) -> Jsm:
    return Jsm(settings(**given), now=lambda: 0.0)


def found(request: Request, id: str = "a1-17") -> list[Request]:
    assert request.followed_by is not None
    return [*request.followed_by(id)]


# requests


def test_integrations_take_what_opsgenie_takes_below_their_own_base() -> None:
    configured = {"responders": [{"type": "team", "name": "security"}], "tags": ["env:prod"], "note": "n", "user": "u"}
    (request,) = jsm(**configured).requests("default", trigger())
    (same,) = opsgenie(**configured).requests("default", trigger())
    assert (request.method, request.url) == ("POST", BASE)
    assert request.headers == {"Authorization": f"GenieKey {KEY}"}
    assert request.body == same.body
    for notification, path in ((Acknowledge("a/b"), "a%2Fb/acknowledge"), (Resolve("a/b"), "a%2Fb/close")):
        (request,) = jsm().requests("default", notification)
        (same,) = opsgenie().requests("default", notification)
        assert (request.method, request.url) == ("POST", f"{BASE}/{path}?identifierType=alias")
        assert request.body == same.body
    assert "/close?identifierType=alias" in jsm().check("default").url


def test_without_the_cloud_api_a_note_alone_tells_that_it_has_become_worse() -> None:
    create, note = jsm().requests("default", RAISED)
    assert (create.url, note.url) == (BASE, f"{BASE}/{ALIAS}/notes?identifierType=alias")
    assert body_of(note)["note"].startswith("Severity raised to critical, priority P1.")
    assert create.verify is None
    assert jsm().heartbeat is None


def test_with_it_the_alert_is_looked_up_and_gets_its_priority_and_tag() -> None:
    provider = jsm(cloud=CLOUD)
    create, lookup, note = provider.requests("default", RAISED)
    assert (create.url, note.url) == (BASE, f"{BASE}/{ALIAS}/notes?identifierType=alias")
    assert (lookup.method, lookup.url, lookup.body) == ("GET", f"{API}/alerts/alias?alias={ALIAS}", None)
    priority, tags = found(lookup, "a/1")
    assert (priority.method, priority.url) == ("PATCH", f"{API}/alerts/a%2F1/priority")
    assert body_of(priority) == {"priority": "P1"}
    assert (tags.method, tags.url) == ("POST", f"{API}/alerts/a%2F1/tags")
    assert body_of(tags) == {"tags": ["severity:critical"]}
    for request in (lookup, priority, tags):
        assert request.headers == {"Authorization": BASIC}
        assert TOKEN not in repr(request)
    assert create.headers == note.headers == {"Authorization": f"GenieKey {KEY}"}
    hostile = trigger(dedup_key="a&b=c/ä?#", severity=Severity.CRITICAL, again=True, raised=True)
    assert provider.requests("default", hostile)[1].url == f"{API}/alerts/alias?alias=a%26b%3Dc%2F%C3%A4%3F%23"


def test_the_status_is_asked_of_the_cloud_api() -> None:
    (create,) = jsm(cloud=CLOUD).requests("default", trigger())
    assert create.verify is not None
    assert not create.verify.always
    question = create.verify.ask("r/1")
    assert (question.method, question.url) == ("GET", f"{API}/alerts/requests/r%2F1")
    assert question.headers == {"Authorization": BASIC}


def test_compass_has_the_same_calls_below_another_base() -> None:
    provider = jsm(cloud={**CLOUD, "product": "compass"}, heartbeat=HEARTBEAT)
    base = "https://api.atlassian.com/compass/cloud/11-aa/ops/v1"
    _, lookup, _ = provider.requests("default", RAISED)
    assert lookup.url == f"{base}/alerts/alias?alias={ALIAS}"
    assert found(lookup)[0].url == f"{base}/alerts/a1-17/priority"
    assert provider.heartbeat is not None
    assert provider.heartbeat.ping.url == f"{base}/teams/t%2F1/heartbeats/ping?name=prod%201"


def test_its_heartbeat_is_a_teams() -> None:
    calls = jsm(cloud=CLOUD, heartbeat=HEARTBEAT).heartbeat
    assert calls is not None
    assert (calls.name, calls.interval) == ("prod 1", 300.0)
    ping = f"{API}/teams/t%2F1/heartbeats/ping?name=prod%201"
    assert (calls.ping.method, calls.ping.url) == ("GET", ping)
    assert calls.ping_otherwise is not None
    assert (calls.ping_otherwise.method, calls.ping_otherwise.url) == ("POST", ping)
    assert calls.exists is not None
    assert (calls.exists.method, calls.exists.url) == ("GET", f"{API}/teams/t%2F1/heartbeats")
    assert calls.ping.headers == calls.exists.headers == {"Authorization": BASIC}


# what answers mean


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"id":"a1-17","alias":"x"}', Accepted(receipt="a1-17")),
        (200, b"<html>", Rejected(200, "the alert that was looked up has no id")),
        (200, b'{"id":7}', Rejected(200, "the alert that was looked up has no id")),
        (404, b'{"message":"no such alert"}', Rejected(404, "no such alert")),
        (401, f"{TOKEN} is wrong".encode(), Rejected(401, "[secret] is wrong")),
        (429, b"slower", Unavailable(429, "slower", 9.0)),
        (503, b"", Unavailable(503, "HTTP 503", 9.0)),
    ],
)
def test_what_a_lookup_is_answered(status: int, body: bytes, expected: Answer) -> None:
    """A limit, or a refusal, of the cloud API is none of the integration's key."""
    read = jsm(cloud=CLOUD).requests("default", RAISED)[1].read
    assert read is not None
    assert read(status, {"Retry-After": "9"}, body) == expected


def test_a_404_of_a_status_is_later_whatever_it_says() -> None:
    verify = jsm(cloud=CLOUD).requests("default", trigger())[0].verify
    assert verify is not None
    read = verify.ask("r").read
    assert read is not None
    assert read(404, {}, b'{"message":"unknown"}') == Unavailable(404, "unknown")
    assert read(200, {}, b'{"isSuccess":true,"status":"Created"}') == Accepted(), "without a wrapper"
    failed = read(200, {}, b'{"isSuccess":false,"status":"no"}')
    assert failed == Rejected(202, "accepted, then failed: no")
    assert read(429, {}, b"slower") == Unavailable(429, "slower"), "it is no limit of the integration's key"


# settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heartbeat": {"enabled": True, "team_id": "t"}}, "cloud is needed"),
        ({"heartbeat": {"enabled": True}, "cloud": CLOUD}, "heartbeat.team_id is needed"),
        ({"heartbeat": HEARTBEAT, "cloud": CLOUD, "plan": "standard"}, "the plan standard has none"),
        ({"cloud": {**CLOUD, "cloud_id": "a/b"}}, "cloud_id"),
        ({"cloud": {**CLOUD, "email": "a:b@example.com"}}, "email"),
    ],
)
def test_what_does_not_fit_is_a_mistake(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        settings(**given)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            {},
            [
                ("verified", "nothing: the cloud API alone says what has become of a request"),
                ("heartbeat", "none"),
                ("cloud API", "none: no priority and tags of what is open, no heartbeat"),
                ("plan", "not given: Free and Standard have no heartbeats,"),
                ("", "and outgoing webhooks need Premium or Enterprise"),
            ],
        ),
        (
            {"cloud": CLOUD, "plan": "standard"},
            [
                ("verified", "until one alert has come about after a start, and send-test"),
                ("heartbeat", "none"),
                ("cloud API", "jsm 11-aa, as bot@example.com"),
                ("plan", "standard: no heartbeats, and no outgoing webhooks"),
            ],
        ),
        (
            {"cloud": CLOUD, "plan": "premium", "heartbeat": HEARTBEAT, "verify": True},
            [
                ("verified", "each request: one call more, or several"),
                ("heartbeat", "prod 1, every 5 min"),
                ("cloud API", "jsm 11-aa, as bot@example.com"),
                ("plan", "premium"),
            ],
        ),
    ],
)
def test_check_config_says_what_it_lacks(given: dict[str, Any], lines: list[tuple[str, str]]) -> None:
    assert list(settings(**given).described()) == lines


# at the sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    known = SandboxSettings(
        jsm_keys=frozenset({KEY}), jsm_users=frozenset({f"bot@example.com:{TOKEN}"}), heartbeats=frozenset({"prod 1"})
    )
    async with running_sandbox(known) as sandbox:
        yield sandbox


def at(sandbox: Sandbox, **given: Any) -> Jsm:
    cloud = {**CLOUD, "api_endpoint": sandbox.url}
    return jsm(**{"api_endpoint": f"{sandbox.url}/jsm/ops/integration", "cloud": cloud, **given})


async def say(sandbox: Sandbox, provider: Jsm, *said: Trigger | Acknowledge | Resolve) -> tuple[list[Any], list[Any]]:
    """The answers, and the follow-ups that were rejected."""
    rejected = list[Any]()
    async with create_session(1) as session:
        send = partial(
            deliver, HttpSender(session), provider, "default", timeout=5.0,
            follow_up_rejected=rejected.append, verifier=AlwaysVerified,
        )  # fmt: skip
        answers = [await send(notification=one) for one in said]
    return answers, rejected


@pytest.mark.parametrize("product", ["jsm", "compass"])
async def test_the_life_of_an_alert(product: str, sandbox: Sandbox) -> None:
    provider = at(sandbox, cloud={**CLOUD, "api_endpoint": sandbox.url, "product": product})
    answers, rejected = await say(sandbox, provider, trigger(), RAISED, Acknowledge(ALIAS), Resolve(ALIAS))
    assert rejected == []
    assert all(isinstance(answer, Accepted) and answer.unverified is None for answer in answers)
    (alert,) = sandbox.incidents("jsm")
    assert sandbox.incidents("opsgenie") == []
    assert (alert.status, alert.severities, alert.triggers) == ("ended", ["P2", "P1"], 2)
    assert "severity:critical" in alert.tags
    assert alert.acknowledgements == 1
    assert [entry.action for entry in sandbox.requests("jsm")] == [
        *("create", "request_status"),
        *("create", "request_status", "find", "priority", "tags", "note"),
        *("acknowledge", "close"),
    ]


async def test_what_goes_wrong_at_the_cloud_api_is_a_follow_up_that_was_rejected(sandbox: Sandbox) -> None:
    provider = at(sandbox, cloud={**CLOUD, "api_endpoint": sandbox.url, "token": "a-token-that-is-wrong"})
    answers, rejected = await say(sandbox, provider, RAISED)
    assert [answer.status for answer in rejected] == [401]
    (answer,) = answers
    assert isinstance(answer, Accepted)
    assert answer.unverified == "its status cannot be asked for, HTTP 401: Unauthorized"
    assert sandbox.incidents("jsm")[0].notes != []


async def test_what_fails_later_is_a_failure(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(FailLater("Integration is disabled"), provider="jsm", action="create"))
    answers, _ = await say(sandbox, at(sandbox), trigger())
    assert [answer.reason for answer in answers] == ["accepted, then failed: Integration is disabled"]
    assert sandbox.incidents() == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_ping_finds_the_method_that_is_taken(method: Any) -> None:
    async with (
        running_sandbox(SandboxSettings(jsm_ping_by=method, heartbeats=frozenset({"prod 1"}))) as sandbox,
        create_session(1) as session,
    ):
        calls = at(sandbox, heartbeat=HEARTBEAT).heartbeat
        assert calls is not None
        told: list[str] = []
        log = RecordedLog()

        async def sleep(seconds: float) -> None:
            if len(told) == 2:
                raise asyncio.CancelledError

        heartbeat = Heartbeat(
            calls, sender=HttpSender(session), healthy=lambda: None, log=log, on_ping=told.append, sleep=sleep
        )
        with pytest.raises(asyncio.CancelledError):
            await heartbeat.run()
        assert told == ["accepted", "accepted"]
        assert [level for level, _, _ in log.lines if level == "warning"] == []
        assert sandbox.jsm.pings == {"prod 1": 2}
        pings = [entry.method for entry in sandbox.requests("jsm", action="ping")]
        assert pings == (["GET", "GET"] if method == "GET" else ["GET", "POST", "POST"]), "it is remembered"


@pytest.mark.parametrize(
    ("name", "answer"),
    [("prod 1", None), ("nobody", None), ("nobody", Says(status=200, body='{"values":[],"links":{"next":"…"}}'))],
)
async def test_a_heartbeat_that_is_not_the_teams_is_known(name: str, answer: Says | None, sandbox: Sandbox) -> None:
    """Where not all of them were told, nothing is said."""
    if answer is not None:
        sandbox.faults.add(Fault(answer, action="heartbeats"))
    calls = at(sandbox, heartbeat={**HEARTBEAT, "name": name}).heartbeat
    assert calls is not None
    assert calls.exists is not None
    assert calls.exists.read is not None
    async with create_session(1) as session:
        said = await HttpSender(session).send(calls.exists, calls.exists.read, 5.0)
    if name == "prod 1" or answer is not None:
        assert isinstance(said, Accepted)
    else:
        assert said == Rejected(404, "the team has no heartbeat nobody")


async def test_a_cloud_api_that_is_down_makes_no_failure_of_an_alert_that_was_accepted(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(Says(status=503), provider="jsm", action="find"))
    answers, rejected = await say(sandbox, at(sandbox), RAISED)
    assert [type(answer) for answer in answers] == [Accepted]
    assert [answer.status for answer in rejected] == [503]
    assert sandbox.incidents("jsm")[0].notes != [], "the note goes through the integration"


async def test_what_goes_through_the_cloud_api_is_given_to_who_makes_it_by_itself(sandbox: Sandbox) -> None:
    given = list[Any]()
    async with create_session(1) as session:
        answer = await deliver(
            HttpSender(session), at(sandbox), "default", RAISED, timeout=5.0, beside=given.append,
        )  # fmt: skip
    assert isinstance(answer, Accepted)
    assert [[request.method for request in requests] for requests in given] == [["GET"]]
    assert [entry.action for entry in sandbox.requests("jsm")] == ["create", "note"]
