"""Whatever a provider raises is an outage of it: in a payload, a check, a classification, a heartbeat."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from providers.answer import Accepted, Answer, Rejected, Unavailable
from providers.contained import Contained, ProviderFault
from providers.heartbeat import Heartbeat
from providers.notification import Notification, Resolve
from providers.notify import Classify, check, deliver
from providers.provider import HeartbeatCalls, Provider, Request, Verify
from providers.rate import Rate
from providers.verification import AlwaysVerified
from state.violation import Violation
from tests.support.shout.provider import Shout
from tests.support.shout.settings import ShoutSettings
from tests.unit.test_described_examples import trigger, violation

SECRET = "a-secret-token"


def raises(error: BaseException) -> Callable[..., Any]:
    def method(*args: Any) -> Any:
        raise error

    return method


FAULTS = [
    ValueError(SECRET),
    KeyError(SECRET),
    RecursionError(),
    MemoryError(),
    SystemExit(3),
    asyncio.CancelledError(),
]


def shout(**changed: Any) -> Shout:
    provider = Shout(ShoutSettings.model_validate({"token": SECRET}))
    for name, value in changed.items():
        setattr(provider, name, value)
    return provider


def contained(**changed: Any) -> Contained:
    """Shout, contained, whose attributes change after it has been looked at."""
    provider = shout()
    made = Contained("shout", provider)
    for name, value in changed.items():
        setattr(provider, name, value)
    return made


class Sender:
    """Answers everything with 200; what it has sent is kept."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        self.sent.append(request)
        return classify(200, {}, b"")


async def told(provider: Provider, sender: Any = None) -> Answer | None:
    return await deliver(sender or Sender(), provider, "default", trigger(), 1.0)


def test_a_provider_that_keeps_the_protocol_is_as_it_was() -> None:
    plain, provider = shout(), contained()
    assert provider.routes == plain.routes
    assert provider.requests("default", Resolve("k")) == tuple(plain.requests("default", Resolve("k")))
    assert provider.integration_of("default") == provider.integration_of("no such") == plain.integration_of("default")
    assert (provider.knows("default"), provider.knows("no such")) == (True, False)


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_a_payload_that_cannot_be_made_is_an_outage(error: BaseException) -> None:
    sender = Sender()
    answer = await told(contained(requests=raises(error)), sender)
    assert answer == Unavailable(None, f"the request cannot be made: {type(error).__name__}")
    assert sender.sent == []


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_an_answer_that_cannot_be_read_is_an_outage_and_may_have_been_taken(error: BaseException) -> None:
    answer = await told(contained(classify=raises(error)))
    assert answer == Unavailable(200, f"the answer cannot be read: {type(error).__name__}", unknown=True)


@pytest.mark.parametrize("meant", [*map(raises, FAULTS), lambda *_: None], ids=str)
async def test_a_request_that_cannot_read_its_own_answer_is_an_outage(meant: Callable[..., Any]) -> None:
    request = Request("POST", "https://shout.example", read=meant)
    answer = await told(contained(requests=lambda *_: [request]))
    assert isinstance(answer, Unavailable)
    assert (answer.status, answer.unknown) == (200, True)
    assert SECRET not in answer.reason


@pytest.mark.parametrize("meant", [*map(raises, FAULTS), lambda *_: None], ids=str)
async def test_a_question_that_cannot_read_its_answer_leaves_it_unverified(meant: Callable[..., Any]) -> None:
    verify = Verify(lambda receipt: Request("GET", "https://shout.example", read=meant), always=True)
    request = Request("POST", "https://shout.example", read=lambda *_: Accepted(receipt="r"), verify=verify)
    provider = contained(requests=lambda *_: [request])
    answer = await deliver(Sender(), provider, "default", trigger(), 0.2, verifier=AlwaysVerified)
    assert isinstance(answer, Accepted)
    assert answer.unverified is not None
    assert SECRET not in answer.unverified


@pytest.mark.parametrize("meant", [*map(raises, FAULTS), lambda *_: None], ids=str)
async def test_a_ping_that_cannot_read_its_answer_has_failed(meant: Callable[..., Any]) -> None:
    ping = Request("GET", "https://shout.example/ping", read=meant)
    calls = HeartbeatCalls("beat", 60.0, ping, 200, None, 0, lambda status, body: "")
    said: list[str] = []
    rounds = asyncio.Event()

    async def sleep(_: float) -> None:
        rounds.set()
        await asyncio.Event().wait()

    beat = Heartbeat(calls, sender=Sender(), healthy=lambda: None, log=Mock(), on_ping=said.append, sleep=sleep)
    beating = asyncio.create_task(beat.run())
    async with asyncio.timeout(5):
        await rounds.wait()
    beating.cancel()
    assert said == ["failed"]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_a_check_that_cannot_be_made_is_an_outage(error: BaseException) -> None:
    answer = await check(Sender(), contained(check=raises(error)), "default", 1.0)
    assert answer == Unavailable(None, f"the check cannot be made: {type(error).__name__}")


@pytest.mark.parametrize("made", [None, 7, [None], ["POST"], [{}]])
async def test_what_is_no_request_is_an_outage(made: Any) -> None:
    answer = await told(contained(requests=lambda *_: made))
    assert isinstance(answer, Unavailable)
    assert answer.reason.startswith(("the request cannot be made", "a request"))


@pytest.mark.parametrize("meant", [None, 200, "accepted", Accepted])
async def test_what_is_no_answer_is_an_outage(meant: Any) -> None:
    answer = await told(contained(classify=lambda *_: meant))
    assert isinstance(answer, Unavailable)
    assert answer.unknown


@pytest.mark.parametrize(
    "request_",
    [
        Request("POST", "https://h", body={"a": object()}),
        Request("POST", 7),  # type: ignore[arg-type]
        Request("POST", "https://h", headers=7),  # type: ignore[arg-type]
        Request("PO ST\r\n", "http://127.0.0.1:1/"),
        Request("POST", "http://127.0.0.1:1/", headers={"A": "b\r\nc"}),
    ],
    ids=range(5),
)
async def test_a_request_that_cannot_be_sent_raises_nothing(request_: Request) -> None:
    from providers.http import HttpSender, create_session

    async with create_session(1) as session:
        answer = await told(contained(requests=lambda *_: [request_]), HttpSender(session, proxy_of=lambda url: None))
    assert isinstance(answer, Unavailable | Rejected)


async def test_an_interrupt_is_no_fault_of_the_provider() -> None:
    with pytest.raises(KeyboardInterrupt):
        await told(contained(requests=raises(KeyboardInterrupt())))


async def test_a_cancelled_request_is_cancelled() -> None:
    class Waits:
        async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    task = asyncio.create_task(told(contained(), Waits()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("route_of", [raises(ValueError()), lambda violation: None, lambda violation: "nowhere"])
def test_a_route_that_cannot_be_said_is_the_default_one(route_of: Callable[[Violation], Any]) -> None:
    assert contained(route_of=route_of).route_of(violation()) == "default"


def test_a_heartbeat_that_cannot_be_read_says_the_status() -> None:
    ping = Request("GET", "https://shout.example/ping")
    beat = HeartbeatCalls("beat", 60.0, ping, 200, None, 0, raises(ValueError(SECRET)))
    provider = Contained("shout", shout(heartbeat=beat))
    assert provider.heartbeat is not None
    assert provider.heartbeat.read(500, b"") == "HTTP 500: the answer cannot be read: ValueError"


def test_no_fault_carries_what_it_quotes() -> None:
    with pytest.raises(ProviderFault) as caught:
        contained(requests=raises(ValueError(SECRET))).requests("default", Resolve("k"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "the request cannot be made: ValueError" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "pagerduty"}, "name: it is the provider 'pagerduty'"),
        ({"name": 7}, "name: must not be of the type int"),
        ({"key_limit": 10}, "key_limit: must be at least 64"),
        ({"key_limit": None}, "key_limit"),
        ({"documented_rate": 5}, "documented_rate"),
        ({"shares_alerts": None}, "shares_alerts"),
        ({"routes": ()}, "routes: the first must be the default one"),
        ({"routes": 7}, "TypeError"),
        ({"retired_routes": ("default",)}, "routes: the first must be the default one"),
        ({"integration_of": raises(SystemExit(0))}, "SystemExit"),
        ({"integration_of": lambda route: None}, "integration_of"),
        ({"knows": lambda route: "yes"}, "knows"),
        ({"heartbeat": "beat"}, "heartbeat"),
        ({"classify": None}, "classify: is no method"),
    ],
    ids=str,
)
def test_what_does_not_keep_the_protocol_cannot_be_used(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ProviderFault, match=why):
        Contained("shout", shout(**changed))


class Minimal:
    """What the protocol asks, and nothing more."""

    name = "minimal"
    heartbeat: HeartbeatCalls | None = None
    routes: Sequence[str] = ("default",)
    retired_routes: Sequence[str] = ()
    key_limit = 64
    documented_rate = Rate(1, 1)
    shares_alerts = False

    def integration_of(self, route: str) -> str:
        return "digest"

    def knows(self, route: str) -> bool:
        return True

    def route_of(self, violation: Violation) -> str:
        return "default"

    def requests(self, route: str, notification: Notification) -> Sequence[Request]:
        return ()

    def check(self, route: str) -> Request | None:
        return None

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        return Accepted()


async def test_what_is_not_told_is_accepted_and_a_key_that_cannot_be_checked_is_not() -> None:
    provider = Contained("minimal", Minimal())
    assert await told(provider) == Accepted()
    assert await check(Sender(), provider, "default", 1.0) == Unavailable(None, "its key cannot be checked")
    assert sys.exc_info() == (None, None, None)
