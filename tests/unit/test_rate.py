"""The token bucket of a route."""

import asyncio

from providers.answer import Accepted, Answer
from providers.delivery import Delivery, Dispatch, Offer
from providers.notification import Resolve
from providers.notify import Classify
from providers.provider import Request
from providers.rate import Rate
from providers.retry import Backoff
from state.violation import Severity
from tests.support.waiting import wait_until


class FakeProvider:
    name = "fake"
    routes = ("default", "other")
    key_limit = 100
    documented_rate = Rate(1, 1)

    def requests(self, route: str, notification: Resolve) -> list[Request]:
        return [Request("POST", f"{route}/{notification.dedup_key}")]

    def classify(self, status: int, headers: object, body: bytes) -> Answer:
        return Accepted()


class FakeSender:
    def __init__(self) -> None:
        self.sent: list[tuple[float, str]] = []

    async def send(self, request: Request, classify: Classify, timeout: float) -> Answer:
        self.sent.append((asyncio.get_running_loop().time(), request.url))
        return Accepted()


class FakeOutbox:
    def dispatch(self, dedup_key: str, route: str) -> Dispatch:
        return Dispatch(dedup_key, route, Resolve(dedup_key), None)

    def answered(self, dispatch: Dispatch, answer: Answer, failures: int) -> None:
        pass

    def withheld(self, dedup_key: str) -> None:
        pass


class Nothing:
    def answered(self, dispatch: Dispatch, answer: Answer, seconds: float) -> None:
        pass

    def failed(self, dispatch: Dispatch, error: BaseException) -> None:
        raise error


def delivery(sender: FakeSender, rate: Rate) -> Delivery:
    return Delivery(
        provider=FakeProvider(),  # type: ignore[arg-type]
        sender=sender,
        timeout=1,
        may_send=lambda: True,
        backoff=Backoff(1, 1, 1, lambda: 0.5),
        max_in_flight=100,
        observer=Nothing(),
        rate=rate,
    )


async def test_a_route_sends_its_burst_at_once_and_then_at_its_rate_the_worst_first() -> None:
    sender, outbox = FakeSender(), FakeOutbox()
    sending = delivery(sender, Rate(requests_per_second=20, burst_size=3))
    for number in range(6):
        sending.offer(Offer(outbox, f"high-{number}", "default", Severity.HIGH, float(number)))
    sending.offer(Offer(outbox, "critical", "default", Severity.CRITICAL, 99.0))
    for number in range(3):
        sending.offer(Offer(outbox, f"other-{number}", "other", Severity.LOW, float(number)))
    await wait_until(lambda: len(sender.sent) == 10, "all are sent")
    await sending.close()
    of_default = [(at, url) for at, url in sender.sent if url.startswith("default")]
    assert [url for _, url in of_default[:3]] == ["default/high-0", "default/high-1", "default/high-2"]
    assert of_default[3][1] == "default/critical", "it overtakes what waits"
    start = of_default[0][0]
    assert of_default[2][0] - start < 0.04
    assert of_default[6][0] - start >= 0.19, "four more at twenty a second"
    others = [at for at, url in sender.sent if url.startswith("other")]
    assert max(others) - start < 0.1, "each route has a bucket of its own"


async def test_a_member_takes_its_share_of_the_rate() -> None:
    sender, outbox = FakeSender(), FakeOutbox()
    sending = delivery(sender, Rate(requests_per_second=40, burst_size=4))
    sending.set_share(0.25)
    for number in range(4):
        sending.offer(Offer(outbox, f"key-{number}", "default", Severity.HIGH, float(number)))
    await wait_until(lambda: len(sender.sent) == 4, "all are sent")
    await sending.close()
    assert sender.sent[-1][0] - sender.sent[0][0] >= 0.29, "one at once, then ten a second"
