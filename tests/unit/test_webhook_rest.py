"""What the way back asks of PagerDuty's REST API, over loopback, and what follows from the answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from consumer.config import ConfigError, parse_config
from consumer.receivers.webhooks.subscriptions import SubscriptionWatch, goes_to
from providers.http import HttpSender, create_session
from providers.pagerduty.webhook_rest import Subscription, WebhookRest
from providers.webhook import LookupFailed

TOKEN = "rest-t0ken-0123456789"
PATH = "/v1/webhooks/pagerduty"


class Api:
    """PagerDuty's REST API as documented, as far as it is asked."""

    def __init__(self) -> None:
        self.alerts: dict[str, list[dict[str, Any]]] = {}
        self.subscriptions: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[str] = []

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        assert request.headers["Authorization"] == f"Token token={TOKEN}"
        if self.status != 200:
            return web.json_response({"error": {"message": f"no, {TOKEN}"}}, status=self.status)
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 25))
        match request.path.strip("/").split("/"):
            case ["incidents", incident, "alerts"] if incident in self.alerts:
                name, found = "alerts", self.alerts[incident]
            case ["webhook_subscriptions"]:
                name, found = "webhook_subscriptions", self.subscriptions
            case ["webhook_subscriptions", id, "enable"] if request.method == "POST":
                (one,) = [one for one in self.subscriptions if one["id"] == id]
                one["delivery_method"]["temporarily_disabled"] = False
                return web.json_response({"webhook_subscription": one})
            case _:
                return web.json_response({"error": {"message": "Not Found", "code": 2100}}, status=404)
        more = offset + limit < len(found)
        return web.json_response({name: found[offset : offset + limit], "more": more, "offset": offset})


def subscription(id: str, url: str = f"https://pages.example{PATH}", **method: Any) -> dict[str, Any]:
    delivery = {"id": "D", "type": "http_delivery_method", "url": url, "temporarily_disabled": False, **method}
    return {"id": id, "type": "webhook_subscription", "active": True, "delivery_method": delivery, "events": []}


@asynccontextmanager
async def rest() -> AsyncIterator[tuple[Api, WebhookRest]]:
    api = Api()
    runner = web.ServerRunner(web.Server(api.answer, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with create_session(4) as session:
            base = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield api, WebhookRest(HttpSender(session), base, SecretStr(TOKEN), 5.0)
    finally:
        await runner.cleanup()


async def test_the_keys_of_all_alerts_of_an_incident() -> None:
    async with rest() as (api, found):
        api.alerts["P1"] = [{"id": f"A{n}", "alert_key": f"key-{n % 12}"} for n in range(25)] + [{"alert_key": None}]
        assert await found.dedup_keys("P1") == [f"key-{n}" for n in range(12)]
        assert len(api.asked) == 3
        assert await found.dedup_keys("gone") == []
        assert await found.dedup_keys("../../v2/x?y") == []
        assert api.asked[-1] == "GET /incidents/../../v2/x?y/alerts"


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_what_cannot_be_looked_up_says_why_without_the_token(status: int) -> None:
    async with rest() as (api, found):
        api.status = status
        with pytest.raises(LookupFailed, match="GET /incidents/P1/alerts: ") as caught:
            await found.dedup_keys("P1")
        assert TOKEN not in str(caught.value)


class Log:
    def __init__(self) -> None:
        self.names: list[str] = []

    def warning(self, name: str, **fields: Any) -> None:
        assert TOKEN not in str(fields)
        self.names.append(name)

    info = warning


def watch(found: WebhookRest, log: Log, *, enable_again: bool) -> SubscriptionWatch:
    is_ours = goes_to(PATH, "https://pages.example")
    return SubscriptionWatch(found, is_ours, log, enable_again=enable_again)  # type: ignore[arg-type]


async def test_a_disabled_subscription_is_told_of_until_somebody_enables_it() -> None:
    async with rest() as (api, found):
        other = subscription("S2", "https://elsewhere.example/hook", temporarily_disabled=True)
        api.subscriptions = [other, subscription("S1", temporarily_disabled=True)]
        log = Log()
        looks = watch(found, log, enable_again=False)
        await looks.look()
        assert looks.notes == ["PagerDuty has disabled webhook subscription S1"]
        assert log.names == ["webhook_subscription_disabled"]
        await found.enable(Subscription("S1", "", True))
        await looks.look()
        assert looks.notes == []


async def test_one_that_somebody_has_switched_off_is_told_of_and_stays_off() -> None:
    async with rest() as (api, found):
        both = {**subscription("S2", temporarily_disabled=True), "active": False}
        api.subscriptions = [{**subscription("S1"), "active": False}, both]
        log = Log()
        looks = watch(found, log, enable_again=True)
        await looks.look()
        assert looks.notes == [f"PagerDuty webhook subscription {id} is switched off" for id in ("S1", "S2")]
        assert log.names == ["webhook_subscription_off"] * 2
        assert all(asked.startswith("GET ") for asked in api.asked)


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        (f"https://pages.example{PATH}", True),
        (f"https://PAGES.example:443{PATH}?token=t", True),
        (f"https://pages.example:8443{PATH}", False),
        (f"http://pages.example{PATH}", False),
        (f"https://other.example{PATH}", False),
        (f"https://pages.example/staging{PATH}", False),
        (f"https://pages.example:99999{PATH}", False),
    ],
)
async def test_what_goes_to_somebody_else_is_not_enabled(url: str, ours: bool) -> None:
    async with rest() as (api, found):
        api.subscriptions = [subscription("S1", url, temporarily_disabled=True)]
        await watch(found, Log(), enable_again=True).look()
        assert ("POST /webhook_subscriptions/S1/enable" in api.asked) is ours


def test_a_receiver_that_does_not_know_its_address_goes_by_the_path_and_enables_nothing() -> None:
    assert goes_to(PATH, None)(f"https://anywhere.example/prefix{PATH}")
    assert not goes_to(PATH, None)("https://anywhere.example/")
    assert not goes_to(PATH, None)("https://[bad/x")
    with pytest.raises(ConfigError, match=r"public_address: is required with pagerduty\.enable_again"):
        parse_config("webhooks: {pagerduty: {enable_again: true}}", {}, lambda path: "")


@pytest.mark.parametrize("url", ["https://[bad/x", "https://ex\u2100mple/", "", "\x00"])
async def test_an_address_that_is_none_stops_nothing(url: str) -> None:
    async with rest() as (api, found):
        api.subscriptions = [subscription("S2", url), subscription("S1")]
        log = Log()
        await watch(found, log, enable_again=True).look()
        assert log.names == []


async def test_it_is_enabled_again_if_so_wanted() -> None:
    async with rest() as (api, found):
        api.subscriptions = [subscription("S1", temporarily_disabled=True)]
        log = Log()
        looks = watch(found, log, enable_again=True)
        await looks.look()
        assert looks.notes == []
        assert log.names == ["webhook_subscription_disabled", "webhook_subscription_enabled"]
        assert not (await found.subscriptions())[0].is_disabled


async def test_what_is_not_known_changes_nothing() -> None:
    async with rest() as (api, found):
        api.subscriptions = [subscription("S1", temporarily_disabled=True)]
        log = Log()
        looks = watch(found, log, enable_again=False)
        await looks.look()
        api.status = 500
        await looks.look()
        assert looks.notes == ["PagerDuty has disabled webhook subscription S1"]
        assert log.names[-1] == "webhook_subscriptions_unknown"
        api.status, api.subscriptions = 200, []
        await looks.look()
        assert log.names[-1] == "webhook_subscription_missing"
