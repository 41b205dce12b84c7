"""What has become of a request that OpsGenie accepted: how it is asked, and what the answers mean."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from providers.answer import Accepted, Answer, Rejected, RouteRefused, Throttled, Unavailable
from providers.http import HttpSender, create_session
from providers.notification import Acknowledge, Resolve
from providers.notify import deliver
from providers.provider import Classify, Request, Verify
from providers.sandbox import FailLater, Fault, SandboxSettings, running_sandbox
from providers.sandbox import FaultyAnswer as Says
from providers.verification import AlwaysVerified
from tests.unit.test_opsgenie import API_KEY, BASE, opsgenie, trigger

ALIAS = "clawdstrike-secret_leak-sess-1"


def question(*, is_action: bool = False, **settings: Any) -> Request:
    notification = Resolve(ALIAS) if is_action else trigger()
    (request,) = opsgenie(**{"verify": True, **settings}).requests("default", notification)
    assert request.verify is not None
    return request.verify.ask("43a29c5c/../3dbf")


def read(status: int, body: Any, headers: dict[str, str] | None = None, *, is_action: bool = False) -> Answer:
    reads = question(is_action=is_action).read
    assert reads is not None
    return reads(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


def test_the_question() -> None:
    asked = question()
    assert (asked.method, asked.url, asked.body) == ("GET", f"{BASE}/requests/43a29c5c%2F..%2F3dbf", None)
    assert asked.headers == {"Authorization": f"GenieKey {API_KEY}"}
    assert API_KEY not in repr(asked)


def test_the_receipt_is_the_request_id() -> None:
    body = b'{"result":"Request will be processed","took":0.302,"requestId":"43a29c5c-3dbf"}'
    date = {"Date": "Wed, 20 May 2026 14:00:00 GMT"}
    assert opsgenie().classify(202, date, body) == Accepted(1_779_285_600.0, "43a29c5c-3dbf")
    assert opsgenie(verify=False).classify(202, date, body) == Accepted(1_779_285_600.0)
    for other in (b"<html>", b"[]", b'{"requestId":7}', b'{"requestId":""}'):
        assert opsgenie().classify(202, {}, other) == Accepted()


@pytest.mark.parametrize(
    ("verify", "triggers", "actions"), [("first", False, None), (True, True, True), (False, None, None)]
)
def test_what_is_asked_about(verify: Any, triggers: bool | None, actions: bool | None) -> None:
    """By the value of ``always``; None: not at all. The default is ``first``."""
    provider = opsgenie(verify=verify)
    for notification, expected in ((trigger(), triggers), (Acknowledge("k"), actions), (Resolve("k"), actions)):
        (request,) = provider.requests("default", notification)
        assert (None if request.verify is None else request.verify.always) is expected
    (raised, *others) = provider.requests("default", trigger(again=True, raised=True))
    assert (raised.verify is None) is (triggers is None)
    assert all(request.verify is None for request in others)
    assert provider.check("default").verify is None
    assert (opsgenie().requests("default", trigger())[0].verify is None) is False


def test_integrations_of_jira_service_management_cannot_say_it() -> None:
    provider = opsgenie(verify=True, api_endpoint="https://api.atlassian.com/jsm/ops/integration")
    assert provider.requests("default", trigger())[0].verify is None


def data(succeeded: bool | None, status: str = "") -> dict[str, Any]:
    said = {"action": "Create", "status": status, "alertId": "", "alias": "a", "processedAt": "2026-05-20T14:00:00Z"}
    return {"data": said if succeeded is None else {**said, "isSuccess": succeeded, "success": succeeded}, "took": 0.1}


@pytest.mark.parametrize(
    ("text", "is_action", "expected"),
    [
        ("Alert does not exist", True, Rejected(202, "accepted, then failed: Alert does not exist", is_plain=True)),
        ("alert is already closed", True, Rejected(202, "accepted, then failed: alert is already closed", True)),
        ("Alert does not exist", False, Rejected(202, "accepted, then failed: Alert does not exist")),
        ("Integration is disabled", False, RouteRefused(202, "accepted, then failed: Integration is disabled")),
        ("apiKey is invalid", False, RouteRefused(202, "accepted, then failed: apiKey is invalid")),
        ("API key is not valid", False, RouteRefused(202, "accepted, then failed: API key is not valid")),
        ("You are not authorized", True, RouteRefused(202, "accepted, then failed: You are not authorized")),
        (
            "message: integration is disabled",
            False,
            Rejected(202, "accepted, then failed: message: integration is dis"),
        ),
        (f"no {API_KEY}\nhere", False, Rejected(202, "accepted, then failed: no [secret] here")),
        ("", False, Rejected(202, "accepted, then failed: without a reason")),
    ],
)
def test_a_failure_is_the_alerts_or_the_routes(text: str, is_action: bool, expected: Answer) -> None:
    """What an event may have said cannot refuse the key: a known text stands at the beginning."""
    answer = read(200, data(False, text), is_action=is_action)
    assert type(answer) is type(expected)
    assert isinstance(answer, Rejected | RouteRefused)
    assert isinstance(expected, Rejected | RouteRefused)
    assert answer.status == 202
    assert answer.reason.startswith(expected.reason)
    if isinstance(expected, Rejected) and isinstance(answer, Rejected):
        assert answer.is_plain is expected.is_plain


def test_what_has_come_about() -> None:
    assert read(200, data(True, "Created alert"), {"Date": "Wed, 20 May 2026 14:00:00 GMT"}) == Accepted(1779285600.0)
    assert read(200, {"data": {"success": True}}) == Accepted()


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (404, b"{}", {"X-Opsgenie-Errortype": "RequestNotProcessed"}, Unavailable(404, "not processed yet")),
        (404, b"{}", {"x-opsgenie-errortype": "RequestNotProcessed"}, Unavailable(404, "not processed yet")),
        (429, b"", {"Retry-After": "7"}, Throttled("HTTP 429", 7.0)),
        (503, b"", {}, Unavailable(503, "HTTP 503")),
    ],
)
def test_what_is_asked_again(status: int, body: bytes, headers: dict[str, str], expected: Answer) -> None:
    assert read(status, body, headers) == expected


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b'{"message":"no"}'), (403, b'{"message":"no"}'), (401, b""), (200, b"<html>"), (200, b'{"data":[]}'),
     (200, orjson.dumps(data(None)))],
)  # fmt: skip
def test_an_answer_that_says_nothing_of_the_request_says_nothing_of_its_key(status: int, body: bytes) -> None:
    answer = read(status, body)
    assert isinstance(answer, Accepted)
    assert answer.unverified


# at the sandbox


async def said(settings: SandboxSettings, *faults: Fault) -> tuple[Answer | None, list[str], int]:
    """What comes of a trigger, which calls it took, and how many alerts are open then."""
    async with running_sandbox(settings) as sandbox, create_session(1) as session:
        for fault in faults:
            sandbox.faults.add(fault)
        provider = opsgenie(api_endpoint=sandbox.url)
        answer = await deliver(HttpSender(session), provider, "default", trigger(), 5.0, verifier=AlwaysVerified)
        entries = sandbox.requests("opsgenie")
        assert {entry.dedup_key for entry in entries} == {ALIAS}
        return answer, [entry.action for entry in entries], len(sandbox.open_incidents("opsgenie"))


async def test_a_request_that_was_accepted_and_then_failed_is_a_failure() -> None:
    answer, actions, opened = await said(SandboxSettings(), Fault(FailLater("Team is over its limit"), action="create"))
    assert answer == Rejected(202, "accepted, then failed: Team is over its limit")
    assert actions == ["create", "request_status"]
    assert opened == 0


async def test_a_request_is_asked_about_until_it_is_processed() -> None:
    not_yet = Says(status=404, headers={"X-Opsgenie-Errortype": "RequestNotProcessed"}, body="{}")
    answer, actions, opened = await said(SandboxSettings(), Fault(not_yet, action="request_status", times=1))
    assert isinstance(answer, Accepted)
    assert answer.unverified is None
    assert actions == ["create", "request_status", "request_status"]
    assert opened == 1


async def test_a_key_that_may_not_read_is_no_failure() -> None:
    answer, actions, _ = await said(
        SandboxSettings(), Fault(Says(status=403, body='{"message":"no right to read"}'), action="request_status")
    )
    assert isinstance(answer, Accepted)
    assert answer.unverified == "its status cannot be asked for, HTTP 403: no right to read"
    assert actions == ["create", "request_status"]


class Taken:
    """A provider whose requests are accepted, and who asks what has become of them in a way of its own."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify

    def requests(self, route: str, notification: object) -> Sequence[Request]:
        return (Request("POST", "https://pager.example/", verify=self._verify),)

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return Accepted(receipt="r")


class Answers:
    """Every request is answered."""

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        return classify(202, {}, b"")


def _fails(*_: object) -> Any:
    raise KeyError("a-secret")


@pytest.mark.parametrize(
    "ask",
    [
        _fails,
        lambda receipt: Request("GET", "https://pager.example/r"),
        lambda receipt: Request("GET", "", read=_fails),
    ],
)
async def test_what_a_question_raises_makes_no_failure_of_what_was_accepted(ask: Callable[[str], Request]) -> None:
    provider: Any = Taken(Verify(ask, always=True))
    answer = await deliver(Answers(), provider, "default", trigger(), 5.0, verifier=AlwaysVerified)
    assert isinstance(answer, Accepted)
    assert answer.unverified is not None
    assert "a-secret" not in answer.unverified
