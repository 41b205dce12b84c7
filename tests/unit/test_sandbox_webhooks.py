"""The sandbox's webhooks: in order, signed, again where nobody took them, and what befalls them on demand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import aiohttp
import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from consumer.feedback.records import FromProvider
from consumer.receivers.webhooks.subscriptions import SubscriptionWatch, goes_to
from providers.http import HttpSender, create_session
from providers.opsgenie.webhook import read as read_opsgenie
from providers.pagerduty.webhook import SIGNATURE, WEBHOOK_ID, is_signed
from providers.pagerduty.webhook import read as read_pagerduty
from providers.pagerduty.webhook_rest import Subscription, WebhookRest
from providers.sandbox import Mischief, Sandbox, SandboxSubscription, running_sandbox
from providers.sandbox import webhooks as module
from providers.webhook import LookupFailed, Said
from state.provider_feedback import What
from tests.support.waiting import wait_until
from tests.support.webhooks import SECRET as RECEIVERS_SECRET
from tests.support.webhooks import running_webhooks

KEY, SECRET, TOKEN = "d" * 32, "whsec", "t0ken"


@dataclass
class Receiver:
    """Takes webhooks, and answers what is next in ``answers``, then 200."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def post(self, request: web.BaseRequest) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    @property
    def types(self) -> list[str]:
        return [orjson.loads(body)["event"]["event_type"].partition(".")[2] for _, body in self.got]


@asynccontextmanager
async def subscribed(provider: Any = "pagerduty", *answers: int) -> AsyncIterator[tuple[Sandbox, Receiver]]:
    receiver = Receiver(list(answers))
    runner = web.ServerRunner(web.Server(receiver.post, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with running_sandbox() as sandbox:
            secret, token = (SECRET, None) if provider == "pagerduty" else (None, TOKEN)
            sandbox.webhooks.subscribe(
                SandboxSubscription(provider=provider, url=receiver.url, secret=secret, token=token)
            )
            yield sandbox, receiver
    finally:
        await runner.cleanup()


async def trigger(sandbox: Sandbox, key: str = "k1", action: str = "trigger") -> None:
    payload = {"summary": "s", "source": "x", "severity": "critical"}
    body = {"routing_key": KEY, "event_action": action, "dedup_key": key, "payload": payload}
    async with aiohttp.ClientSession() as http, http.post(f"{sandbox.url}/v2/enqueue", json=body) as response:
        assert response.status == 202


async def test_what_happens_is_sent_signed_and_in_order() -> None:
    async with subscribed() as (sandbox, receiver):
        await trigger(sandbox)
        assert sandbox.acknowledge("pagerduty", "k1") == 1
        assert sandbox.close("pagerduty", "k1") == 1
        await wait_until(lambda: len(receiver.got) == 3, "all have come")
        assert receiver.types == ["triggered", "acknowledged", "resolved"]
        assert all(is_signed(body, headers[SIGNATURE], [SECRET]) for headers, body in receiver.got)
        assert len({headers[WEBHOOK_ID] for headers, _ in receiver.got}) == 3
        found = read_pagerduty(receiver.got[2][1])
        assert isinstance(found, Said)
        (incident,) = sandbox.incidents()
        assert (found.dedup_key, found.it.what, found.it.incident) == ("k1", What.RESOLVED, incident.id)
        assert incident.resolved_at is not None
        assert abs(found.it.at - incident.resolved_at) < 0.001
        assert (found.it.by_integration, found.by) == (False, "A person at the sandbox")


async def test_what_the_service_does_itself_is_told_as_an_integration_s() -> None:
    async with subscribed() as (sandbox, receiver):
        await trigger(sandbox)
        await trigger(sandbox, action="resolve")
        await wait_until(lambda: len(receiver.got) == 2, "all have come")
        found = read_pagerduty(receiver.got[1][1])
        assert isinstance(found, Said)
        assert (found.it.what, found.it.by_integration) == (What.RESOLVED, True)


async def test_opsgenie_s_have_a_token_and_opsgenie_s_form() -> None:
    async with subscribed("opsgenie") as (sandbox, receiver):
        headers = {"Authorization": "GenieKey k"}
        async with aiohttp.ClientSession(headers=headers) as http:
            await http.post(f"{sandbox.url}/v2/alerts", json={"message": "m", "alias": "a1"})
        sandbox.close("opsgenie", "a1")
        await wait_until(lambda: len(receiver.got) == 2, "both have come")
        assert receiver.got[1][0]["Authorization"] == f"Bearer {TOKEN}"
        found = read_opsgenie(receiver.got[1][1])
        assert isinstance(found, Said)
        (alert,) = sandbox.incidents("opsgenie")
        assert alert.resolved_at is not None
        assert (found.dedup_key, found.it.what, found.it.by_integration) == ("a1", What.RESOLVED, False)
        assert abs(found.it.at - alert.resolved_at) < 0.001


async def test_what_nobody_took_is_sent_again_and_the_rest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.01,))
    async with subscribed("pagerduty", 503, 429) as (sandbox, receiver):
        await trigger(sandbox)
        sandbox.close("pagerduty", "k1")
        await wait_until(lambda: len(receiver.got) == 4, "all have come")
        assert receiver.types == ["triggered"] * 3 + ["resolved"]
        assert len({headers[WEBHOOK_ID] for headers, _ in receiver.got[:3]}) == 1
        await wait_until(lambda: [one.answers for one in sandbox.webhooks.sent] == [[503, 429, 200], [200]], "answered")


async def test_three_refusals_in_a_row_disable_the_subscription() -> None:
    async with subscribed("pagerduty", 401, 400, 404) as (sandbox, receiver):
        for number in range(4):
            await trigger(sandbox, f"k{number}")
        await wait_until(lambda: sandbox.webhooks.is_disabled("pagerduty"), "it is disabled")
        await wait_until(lambda: not sandbox.webhooks.waiting, "its queue is discarded")
        assert len(receiver.got) == 3
        sandbox.webhooks.enable("pagerduty")
        await trigger(sandbox, "k9")
        await wait_until(lambda: len(receiver.got) == 4, "it goes on")


async def test_they_can_be_held_back_turned_round_and_doubled() -> None:
    async with subscribed() as (sandbox, receiver):
        sandbox.webhooks.hold()
        await trigger(sandbox)
        sandbox.close("pagerduty", "k1")
        assert receiver.got == []
        sandbox.webhooks.release(reverse=True, times=2)
        await wait_until(lambda: len(receiver.got) == 4, "all have come")
        assert receiver.types == ["resolved", "resolved", "triggered", "triggered"]


async def test_mischief() -> None:
    async with subscribed() as (sandbox, receiver), aiohttp.ClientSession() as http:
        url = f"{sandbox.url}/_sandbox/webhooks"
        async with http.post(f"{url}/mischief", json={"lost": 1.0}) as response:
            assert response.status == 200
        await trigger(sandbox, "k1")
        sandbox.webhooks.mischief = Mischief(doubled=1.0, late=0.1)
        for number in range(2, 12):
            await trigger(sandbox, f"k{number}")
        await wait_until(lambda: len(receiver.got) == 20, "all have come, twice")
        keys = [orjson.loads(body)["event"]["data"]["incident_key"] for _, body in receiver.got]
        assert "k1" not in keys
        assert keys != sorted(keys, key=lambda key: int(key[1:])), "they overtake each other"
        async with http.get(url) as response:
            told = (await response.json())["webhooks"]
        assert (told[0]["dedup_key"], told[0]["answers"]) == ("k1", [])


async def test_another_process_may_subscribe_and_acknowledge() -> None:
    async with subscribed() as (sandbox, receiver), aiohttp.ClientSession() as http:
        more = {"provider": "pagerduty", "url": receiver.url, "names_keys": False}
        async with http.post(f"{sandbox.url}/_sandbox/webhooks", json=more) as response:
            assert response.status == 200
        await trigger(sandbox)
        asked = {"provider": "pagerduty", "dedup_key": "k1"}
        async with http.post(f"{sandbox.url}/_sandbox/acknowledge", json=asked) as response:
            assert await response.json() == {"acknowledged": 1}
        await wait_until(lambda: len(receiver.got) == 4, "each has come to both")
        keys = [orjson.loads(body)["event"]["data"]["incident_key"] for _, body in receiver.got]
        assert sorted(map(str, keys)) == ["None", "None", "k1", "k1"]


async def test_a_subscription_that_was_disabled_is_enabled_again_by_the_service() -> None:
    async with subscribed("pagerduty", 401, 401, 401) as (sandbox, receiver), create_session(2) as session:
        rest = WebhookRest(HttpSender(session), sandbox.url, SecretStr("a-token"), 5.0)
        address = receiver.url.rstrip("/")
        looks = SubscriptionWatch(rest, goes_to("/", address), Mock(), enable_again=True)
        others = SubscriptionWatch(rest, goes_to("/", f"{address}/other"), Mock(), enable_again=True)
        await looks.look()
        assert looks.notes == []

        await trigger(sandbox)
        sandbox.acknowledge("pagerduty", "k1")
        sandbox.close("pagerduty", "k1")
        await wait_until(lambda: sandbox.webhooks.is_disabled("pagerduty"), "three were refused")
        sandbox.webhooks.switch("pagerduty", on=False)
        await looks.look()
        assert looks.notes == ["PagerDuty webhook subscription PWHS001 is switched off"]
        sandbox.webhooks.switch("pagerduty", on=True)
        await others.look()
        assert sandbox.webhooks.is_disabled("pagerduty"), "another receiver leaves it alone"
        await looks.look()
        assert not sandbox.webhooks.is_disabled("pagerduty")
        assert looks.notes == []

        await trigger(sandbox, "k2")
        await wait_until(lambda: len(receiver.got) == 4, "it is sent again")
        with pytest.raises(LookupFailed, match="PNONE/enable: "):
            await rest.enable(Subscription("PNONE", "", True))


async def test_a_webhook_without_a_key_is_matched_by_what_the_rest_api_says() -> None:
    async with running_sandbox() as sandbox, create_session(2) as session:
        rest = WebhookRest(HttpSender(session), sandbox.url, SecretStr("a-token"), 5.0)
        async with running_webhooks(dedup_keys=rest) as webhooks:
            url = f"http://127.0.0.1:{webhooks.port}/v1/webhooks/pagerduty"
            sandbox.webhooks.subscribe(
                SandboxSubscription(provider="pagerduty", url=url, secret=RECEIVERS_SECRET, names_keys=False)
            )
            await trigger(sandbox)
            sandbox.acknowledge("pagerduty", "k1")
            await wait_until(lambda: webhooks.count("pagerduty", "written") == 1, "it is matched")
            (feedback,) = webhooks.feedback
            assert isinstance(feedback, FromProvider)
            assert (feedback.dedup_key, feedback.it.what) == ("k1", What.ACKNOWLEDGED)
